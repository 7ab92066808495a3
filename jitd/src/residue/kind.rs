//! What may be left behind, and how a place is named.

use std::path::Path;

use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

/// What kind of thing was left. The names are those of the record and of `jitctl show`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A unit of systemd's, a drop-in, a link that enables one, or a generator of units.
    Unit,
    /// The same of users' service managers.
    UserUnit,
    /// A unit that runs outside of all logins and did not before: what `sudo systemd-run` starts.
    Service,
    /// A kernel module.
    Module,
    /// A file of cron's under /etc.
    Cron,
    /// Somebody's crontab.
    Crontab,
    /// A job of at's.
    AtJob,
    /// What ssh lets in or runs by a file in a home.
    AuthorizedKeys,
    /// sudo's rules.
    Sudoers,
    /// Accounts, their passwords and groups, and where they are looked up.
    Account,
    /// PAM's stacks and modules.
    Pam,
    /// sshd's settings and keys.
    Ssh,
    /// What is loaded into every program.
    Loader,
    /// What every login shell runs.
    Profile,
    /// A user manager that runs without a login.
    Linger,
    /// polkit's rules.
    Polkit,
    /// Anything else that some other program runs or obeys: udev, apt, dhcp, rc.local.
    Hook,
    /// jit itself.
    Jit,
    /// A file that runs as its owner.
    Setuid,
    /// A file that runs as its group.
    Setgid,
    /// A file with capabilities.
    Capability,
    /// A file that a login's process may write to by a descriptor, and could not have opened.
    Descriptor,
}

/// What became of it between before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    New,
    Changed,
    Gone,
}

/// Something that can be there or not. The path is as [`written`]: of a module or service the name stands for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) path: Box<str>,
}

impl Place {
    pub(crate) fn new(kind: Kind, path: &Path) -> Self {
        let path = written(path.as_os_str().as_bytes());
        Self { kind, path }
    }
}

/// Something left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) change: Change,
}

/// A name that root chose, as text: what is not UTF-8, control characters, and characters that hide or turn others around (T22) are
/// percent-encoded, and `%` with them, so that two names never read the same.
pub(crate) fn written(name: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if shown(letter) {
                text.push(letter);
            } else {
                encode(&mut text, letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        encode(&mut text, chunk.invalid());
    }
    text.into_boxed_str()
}

fn shown(letter: char) -> bool {
    let misleading = matches!(letter, '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    letter != '%' && !letter.is_control() && !misleading
}

fn encode(text: &mut String, bytes: &[u8]) {
    for digits in bytes.iter().map(|byte| format!("%{byte:02X}")) {
        text.push_str(&digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn t22_no_two_names_read_the_same_and_none_hides_anything(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(written(&a) == written(&b), a == b);
            prop_assert!(written(&a).chars().all(|letter| letter == '%' || shown(letter)));
        }
    }

    #[test]
    fn plain_names_are_written_as_they_are() {
        assert_eq!(
            &*written("/etc/müll/a b\\x2dc".as_bytes()),
            "/etc/müll/a b\\x2dc"
        );
        assert_eq!(
            &*written(b"100%\n\xff\xe2\x80\xae"),
            "100%25%0A%FF%E2%80%AE"
        );
    }
}
