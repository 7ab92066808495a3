//! Ending one connection that was refused in its session phase: sshd alone would keep it open (`ssh -N`).
//!
//! Its cgroup may be that of sshd itself, with the listener and everybody else's connection in it (T14). So the connection is
//! what descends from the process that asked, each known by pid and start time, and nothing else.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

use super::process::{Process, send, tree};

/// For sshd to pass the refusal on to its client.
const TO_SHOW_WHY: Duration = Duration::from_millis(500);

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// A tree that is stopped can't grow. More rounds than this of finding new members mean somebody else is thawing it.
const ROUNDS: usize = 16;

pub(super) async fn end(connection: Process) {
    sleep(TO_SHOW_WHY).await;
    let asked = tree(connection);
    signal(&asked, Signal::TERM);
    sleep(GRACE).await;
    kill(connection, asked);
}

/// Kills the tree. A member that lost its parent meanwhile is still known from the first look.
fn kill(connection: Process, mut members: Vec<Process>) {
    for _ in 0..ROUNDS {
        let roots = members.iter().copied().chain([connection]);
        let found: Vec<Process> = roots.flat_map(tree).collect();
        let new: Vec<Process> = found
            .into_iter()
            .filter(|process| !members.contains(process))
            .collect();
        signal(&members, Signal::STOP);
        if new.is_empty() {
            break;
        }
        members.extend(new);
    }
    signal(&members, Signal::KILL);
}

fn signal(processes: &[Process], signal: Signal) {
    for pidfd in processes.iter().filter_map(|process| process.open()) {
        send(&pidfd, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{earlier, waiting};
    use super::super::process::Stat;
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[tokio::test]
    async fn a_connection_that_ignores_sigterm_dies_with_its_children_and_its_neighbour_lives() {
        let (mut connection, process) = waiting("trap '' TERM; sh -c 'read line; :'; :");
        let (mut neighbour, _) = waiting("read line; exit 7");
        let child = loop {
            if let [_, child] = tree(process)[..] {
                break child;
            }
        };
        end(process).await;
        assert_eq!(connection.wait().unwrap().signal(), Some(9));
        assert!(child.open().is_none() || Stat::of(child.pid).is_ok_and(|stat| stat.parent == 1));
        drop(neighbour.stdin.take());
        assert_eq!(neighbour.wait().unwrap().code(), Some(7));
    }

    #[tokio::test]
    async fn a_connection_that_has_gone_is_nobody_else_s_end() {
        let (mut child, process) = waiting("read line; exit 7");
        end(earlier(process)).await;
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}
