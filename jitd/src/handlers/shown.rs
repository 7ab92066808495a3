//! What each login showed who it is with, from its first session line to its last (T2).
//!
//! Only the first line reads it from sshd: between the two pam_env may let a person set variables of his own choice, SSH_AUTH_INFO_0
//! too (`user_readenv=1`, as Debian 12 has it in /etc/pam.d/sshd), and on a shared login that would be anybody's key.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jit_grant::Credential;

use crate::peer::Peer;
use crate::subject::Unclear;

/// Logins remembered beyond this many are looked through for processes that have gone.
const MANY: usize = 256;

type Seen = Result<Credential, Unclear>;

/// Credentials by the process that serves the login: pid and start time.
#[derive(Debug, Default)]
pub struct Shown(Mutex<HashMap<(i32, u64), Seen>>);

impl Shown {
    /// The first session line of `peer` has come, with this.
    pub(super) fn remember(&self, peer: &Peer, credential: Seen) {
        let mut seen = self.seen();
        if seen.len() >= MANY {
            seen.retain(|key, _| is_there(*key));
        }
        seen.insert((peer.pid, peer.start_time), credential);
    }

    /// What the first session line of `peer` came with; asked once, by the last.
    pub(super) fn take(&self, peer: &Peer) -> Seen {
        let seen = self.seen().remove(&(peer.pid, peer.start_time));
        let missing = "the session line of pam_jit that comes first did not come";
        seen.unwrap_or_else(|| Err(Unclear(missing.to_owned())))
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<(i32, u64), Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_there((pid, start_time): (i32, u64)) -> bool {
    let process = Peer {
        pid,
        start_time,
        pidfd: None,
        uid: 0,
        real_uid: 0,
    };
    process.still_there()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::caller;

    #[test]
    fn logins_that_went_away_half_way_are_not_kept_for_ever() {
        let shown = Shown::default();
        for start_time in 0..10_000 {
            let peer = Peer {
                start_time,
                ..caller(0)
            };
            shown.remember(&peer, Ok(Credential::Pending));
        }
        assert!(shown.seen().len() <= MANY);
    }
}
