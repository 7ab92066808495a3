//! Telling people at a session's terminals why it ends, without ever waiting for a terminal (T22).

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use jit_grant::Code;
use nix::libc::{O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};

use super::cgroup::Cgroup;
use super::process::Stat;

/// No session is told on more terminals than this.
const MOST_TERMINALS: usize = 16;

/// Processes of a session that are asked for their terminal: those that have one came early.
const MOST_ASKED: usize = 256;

/// Writes to the pseudo terminals that processes in `cgroups` have. True where something was written.
pub(crate) fn show(cgroups: &[Cgroup], code: Code) -> bool {
    let text = text(code);
    let terminals = terminals(cgroups);
    let told = terminals.into_iter().filter(|number| write(*number, &text));
    told.count() > 0
}

/// The pseudo terminals of processes in `cgroups`, by the N of /dev/pts/N.
pub(crate) fn terminals(cgroups: &[Cgroup]) -> Vec<u32> {
    let processes = cgroups.iter().flat_map(Cgroup::pids).take(MOST_ASKED);
    let terminals: BTreeSet<u32> = processes
        .filter_map(|pid| Stat::of(pid).ok()?.pseudo_terminal())
        .collect();
    terminals.into_iter().take(MOST_TERMINALS).collect()
}

fn text(code: Code) -> String {
    format!(
        "\r\n\u{7}jit: {} ({code}).\r\n{}\r\n",
        code.title(),
        code.remedy()
    )
}

/// A terminal that nobody reads takes what fits and no more. Permission is the group tty's, as for wall(1): `mesg n` refuses it.
pub(crate) fn write(number: u32, text: &str) -> bool {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .custom_flags(O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    let Ok(mut terminal) = options.open(format!("/dev/pts/{number}")) else {
        return false;
    };
    let is_terminal = terminal
        .metadata()
        .is_ok_and(|metadata| metadata.file_type().is_char_device());
    is_terminal && terminal.write(text.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_printable_ascii_and_ends_its_lines_for_a_raw_terminal() {
        for code in Code::ALL {
            let text = text(*code);
            let plain = text.replace("\r\n", "").replace('\u{7}', "");
            assert!(
                plain
                    .bytes()
                    .all(|byte| byte == b' ' || byte.is_ascii_graphic()),
                "{plain:?}"
            );
            assert!(text.contains(code.as_str()));
        }
    }
}
