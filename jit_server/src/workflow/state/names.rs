//! Since when a name is somebody's: whoever has the name of somebody who was removed has nothing of his, and sees nothing of it.

use jiff::Timestamp;
use jit_grant::Principal;

use super::{Request, State, number};
use crate::event::{Actor, Entry};

/// Where the record was when a name became somebody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Since {
    /// The number of the event.
    seq: u64,
    /// When. Servers whose clocks differ may have recorded something earlier after it.
    at: Timestamp,
    /// The number of the request to come.
    request: u64,
}

impl State {
    /// Call it before the directory has the user.
    pub(super) fn name_taken(&mut self, name: &Principal, entry: &Entry) {
        if self.directory.user(name).is_some() {
            return;
        }
        let since = Since {
            seq: entry.seq,
            at: entry.at,
            request: self.next_request(),
        };
        self.since.insert(name.clone(), since);
    }

    /// True where what the record has under this number came when the name was already that of whoever has it now, or had it last.
    #[must_use]
    pub fn is_since(&self, name: &Principal, seq: u64) -> bool {
        self.since.get(name).is_some_and(|since| seq >= since.seq)
    }

    /// True where whoever has the name now asked for it.
    #[must_use]
    pub fn is_own(&self, name: &Principal, request: &Request) -> bool {
        let asked = number(request.asked.request.as_str());
        let since = self.since.get(name);
        request.asked.principal == *name && since.is_some_and(|since| asked >= Some(since.request))
    }

    /// True where whoever has the name now approved or denied it.
    #[must_use]
    pub fn has_decided(&self, name: &Principal, request: &Request) -> bool {
        let Some(since) = self.since.get(name) else {
            return false;
        };
        let denied = request.denied.as_ref();
        let mut approvals = request.approvals.iter();
        approvals.any(|given| given.by == *name && given.at >= since.at)
            || denied.is_some_and(|said| {
                said.by == Actor::Principal(name.clone()) && said.at >= since.at
            })
    }
}
