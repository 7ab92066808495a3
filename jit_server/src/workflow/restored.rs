//! After an older copy of the database was put back.
//!
//! Nobody can tell what was taken away after the copy: grants, tokens, locks, rights. So whatever could have been has ended, by the event
//! itself (see [`State::apply`](super::State::apply)), and nobody may ask or approve until an administrator has locked, removed and
//! changed again what the copy does not know.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jit_grant::HostName;

use super::command::Desk;
use super::{State, WorkflowError};
use crate::event::{Actor, Restored};

/// Numbers of ids begin anew at a multiple of this and at least so far above those given, so that none is given twice: a copy is not that
/// far behind.
const IDS_STEP: u64 = 10_000;

/// A restoration that is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The event.
    pub restored: Restored,
    /// When it was noticed.
    pub at: Timestamp,
    /// By whom.
    pub by: Actor,
    /// Hosts that were told something after the copy was made, and the revision that they held when they came back.
    pub ahead: BTreeMap<HostName, u64>,
}

impl Unconfirmed {
    /// True where a host that holds revision `held` was told so after the copy was made and before it was put back: a revision is the
    /// time of the event that made it, in Unix milliseconds.
    pub(crate) fn is_ahead(&self, held: u64) -> bool {
        let milliseconds = |at: Timestamp| u64::try_from(at.as_millisecond()).unwrap_or(0);
        milliseconds(self.restored.copy_at) < held && held < milliseconds(self.at)
    }
}

impl State {
    /// The number above which ids go on after an older copy was put back.
    #[must_use]
    pub fn ids_after_restoring(&self) -> u64 {
        let given = [
            self.next_request(),
            self.next_grant(),
            self.tokens.next(),
            self.user_tokens.next(),
            self.next_change(),
        ];
        let highest = given.into_iter().max().unwrap_or(0);
        (highest + IDS_STEP).next_multiple_of(IDS_STEP)
    }
}

impl Desk<'_> {
    pub(super) fn check_not_restored(&self) -> Result<(), WorkflowError> {
        match self.state.unconfirmed() {
            None => Ok(()),
            Some(unconfirmed) => Err(WorkflowError::Restored { at: unconfirmed.at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unconfirmed() -> Unconfirmed {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        Unconfirmed {
            restored: Restored {
                copy_seq: 7,
                copy_at: at("2026-11-22T10:00:00Z"),
                mark: Some(9),
                ids_above: 10_000,
                reason: "put back".to_owned().try_into().unwrap(),
            },
            at: at("2026-11-22T12:00:00Z"),
            by: Actor::Server,
            ahead: BTreeMap::new(),
        }
    }

    #[test]
    fn a_host_is_ahead_that_was_told_something_between_the_copy_and_its_return() {
        let restored = unconfirmed();
        let milliseconds = |text: &str| {
            let at: Timestamp = text.parse().unwrap();
            u64::try_from(at.as_millisecond()).unwrap()
        };
        assert!(restored.is_ahead(milliseconds("2026-11-22T11:00:00Z")));
        assert!(
            !restored.is_ahead(milliseconds("2026-11-22T10:00:00Z")),
            "the copy knows of it"
        );
        assert!(
            !restored.is_ahead(milliseconds("2026-11-22T12:00:00Z")),
            "told since"
        );
        assert!(!restored.is_ahead(0));
    }

    #[test]
    fn ids_go_on_above_all_that_were_given_each_time() {
        let mut state = State::default();
        assert_eq!(state.ids_after_restoring(), 20_000);
        state.tokens.end_all(9_996);
        assert_eq!(
            state.ids_after_restoring(),
            20_000,
            "also right below a multiple"
        );
        state.tokens.end_all(20_000);
        assert_eq!(state.ids_after_restoring(), 40_000);
        state.user_tokens.end_all(39_999, Timestamp::UNIX_EPOCH);
        assert_eq!(state.ids_after_restoring(), 50_000, "of all kinds");
    }
}
