//! What each login showed who it is with, from its first session line to its last (T2).
//!
//! A login that enforces and whose last line never comes (another module's refusal, which sshd does not take for the end of the
//! connection) is held by nobody. So what was let in half-way is ended.
//!
//! Only the first line reads it from sshd: between the two pam_env may let a person set variables of his own choice, SSH_AUTH_INFO_0
//! too (`user_readenv=1`, as Debian 12 has it in /etc/pam.d/sshd), and on a shared login that would be anybody's key.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_grant::Credential;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::peer::Peer;
use crate::subject::Unclear;

/// Logins remembered beyond this many are looked through for processes that have gone.
const MANY: usize = 256;

type Credentials = Result<Credential, Unclear>;

#[derive(Debug)]
struct HalfOpen {
    peer: Peer,
    credential: Credentials,
    /// On the boot clock: when it is ended without its last line. None where the line does not enforce.
    end_at: Option<Duration>,
}

/// Logins between their session lines, by the process that serves them: pid and start time.
#[derive(Debug, Default)]
pub struct Shown {
    half_open: Mutex<HashMap<(i32, u64), HalfOpen>>,
    grown: Notify,
}

impl Shown {
    /// The first session line of `peer` has come, with this.
    pub(super) fn remember(&self, peer: &Peer, credential: Credentials, end_at: Option<Duration>) {
        // Known before a clone is kept: a process that has gone by the time it is asked for again must not have another.
        let key = (peer.pid, peer.start_time());
        let login = HalfOpen {
            peer: peer.clone(),
            credential,
            end_at,
        };
        let mut half_open = self.half_open();
        if half_open.len() >= MANY {
            half_open.retain(|_, login| login.peer.still_there());
        }
        half_open.insert(key, login);
        self.grown.notify_one();
    }

    /// What the first session line of `peer` came with; asked once, by the last.
    pub(super) fn take(&self, peer: &Peer) -> Credentials {
        let login = self.half_open().remove(&(peer.pid, peer.start_time()));
        let missing = "the session line of pam_jit that comes first did not come";
        login.map_or_else(
            || Err(Unclear(missing.to_owned())),
            |login| login.credential,
        )
    }

    /// Waits for a login whose last line has not come in time, and forgets it.
    pub(super) async fn overdue(&self, clock: &Clock) -> Peer {
        loop {
            let grown = self.grown.notified();
            let next = {
                let mut half_open = self.half_open();
                let due = |login: &HalfOpen| {
                    Some((login.end_at?, (login.peer.pid, login.peer.start_time())))
                };
                match half_open.values().filter_map(due).min() {
                    Some((at, key)) if at <= clock.boot() => {
                        if let Some(login) = half_open.remove(&key) {
                            return login.peer;
                        }
                        continue;
                    }
                    next => next.map(|(at, _)| at),
                }
            };
            let due = async {
                match next {
                    Some(at) => sleep(at.saturating_sub(clock.boot())).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = grown => {}
            }
        }
    }

    fn half_open(&self) -> MutexGuard<'_, HashMap<(i32, u64), HalfOpen>> {
        self.half_open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::caller;
    use std::sync::{Arc, OnceLock};

    #[test]
    fn logins_that_went_away_half_way_are_not_kept_for_ever() {
        let (shown, one) = (Shown::default(), caller(0));
        for start_time in 0..10_000 {
            let peer = Peer {
                started: Arc::new(OnceLock::from(start_time)),
                pidfd: None,
                ..one.clone()
            };
            shown.remember(&peer, Ok(Credential::Pending), None);
        }
        assert!(shown.half_open().len() <= MANY);
    }

    #[tokio::test]
    async fn a_login_without_its_last_line_falls_due_and_one_that_had_it_does_not() {
        let (shown, clock) = (Shown::default(), Clock::start(None));
        let login = |start_time| Peer {
            started: Arc::new(OnceLock::from(start_time)),
            ..caller(0)
        };
        let soon = clock.boot() + Duration::from_millis(30);
        shown.remember(&login(1), Ok(Credential::Pending), Some(soon));
        shown.remember(&login(2), Ok(Credential::Pending), Some(soon));
        shown.remember(&login(3), Ok(Credential::Pending), None);
        assert!(shown.take(&login(1)).is_ok());
        assert_eq!(shown.overdue(&clock).await.start_time(), 2);
        assert!(clock.boot() >= soon);
        assert!(shown.take(&login(2)).is_err());
        assert!(shown.take(&login(3)).is_ok());
    }
}
