//! Whether the grants on this host are still the server's word (T24).
//!
//! Withholding is all that a lying middle can do, so grants count only for a while after the server was last heard. A word is
//! heard when it answers a nonce of ours, and its age runs on the boot clock from the making of that nonce: whatever lay
//! between, the word is no younger than that. After a reboot nothing has been heard; after a mere restart of jitd in the same
//! boot, what was heard still counts.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::{Code, DocumentRefused, HostId, Nonce, Word};
use serde::{Deserialize, Serialize};

/// Nonces that wait for their word; of more the oldest is forgotten.
const MOST_NONCES: usize = 16;

/// A word that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    /// The revision that it names.
    pub(super) revision: u64,
    /// When the nonce that it answers was made, on the boot clock.
    pub(super) made_at: Duration,
}

/// What was heard, and what is being waited for.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    heard: Option<Heard>,
    /// Heard, but about a bundle that has not arrived.
    ahead: Option<Heard>,
    nonces: VecDeque<(Nonce, Duration)>,
}

impl Freshness {
    /// Remembers a nonce that was made at `made_at` on the boot clock.
    pub(super) fn expect(&mut self, nonce: Nonce, made_at: Duration) {
        while self.nonces.len() >= MOST_NONCES {
            self.nonces.pop_front();
        }
        self.nonces.push_back((nonce, made_at));
    }

    /// Takes a verified word, while the bundle of `held` revision is in force.
    pub(super) fn hear(&mut self, word: &Word, held: u64) -> Result<Heard, DocumentRefused> {
        let place = self
            .nonces
            .iter()
            .position(|(nonce, _)| *nonce == word.nonce)
            .ok_or(DocumentRefused::NotOurNonce)?;
        let (nonce, made_at) = self
            .nonces
            .remove(place)
            .ok_or(DocumentRefused::NotOurNonce)?;
        let heard = Heard {
            revision: word.revision,
            made_at,
        };
        match word.answers(&nonce, held) {
            Ok(()) => {
                raise(&mut self.heard, heard);
                Ok(heard)
            }
            Err(refused) => {
                raise(&mut self.ahead, heard);
                Err(refused)
            }
        }
    }

    /// A newer bundle is in force. What was heard about an older one still counts: at that time the server had nothing newer, and
    /// this came later. What was heard ahead of this bundle counts now.
    pub(super) fn bundle_changed(&mut self, revision: u64) {
        if let Some(ahead) = self.ahead.take_if(|ahead| ahead.revision <= revision) {
            raise(&mut self.heard, ahead);
        }
    }

    /// What was heard before this start, where it still counts: in this boot, and about the bundle held or an older one.
    pub(super) fn restore(&mut self, heard: Heard) {
        raise(&mut self.heard, heard);
    }

    /// Forgets everything: another server, or none.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn heard(&self) -> Option<Heard> {
        self.heard
    }

    /// When the grants stop counting, on the boot clock, unless another word comes.
    pub(super) fn until(&self, max_staleness: Duration) -> Option<Duration> {
        self.heard
            .map(|heard| heard.made_at.saturating_add(max_staleness))
    }

    /// Whether grants of the bundle of `held` revision count at `now` on the boot clock.
    pub(super) fn check(
        &self,
        held: u64,
        now: Duration,
        max_staleness: Duration,
    ) -> Result<(), Code> {
        match self.heard {
            None => Err(Code::NoWord),
            // Only where state was lost: the server once said there is a newer bundle than the one on disk.
            Some(heard) if heard.revision > held => Err(Code::NewerRevision),
            Some(heard) if now.saturating_sub(heard.made_at) > max_staleness => Err(Code::Stale),
            Some(_) => Ok(()),
        }
    }
}

fn raise(slot: &mut Option<Heard>, heard: Heard) {
    if slot.is_none_or(|known| known.made_at < heard.made_at) {
        *slot = Some(heard);
    }
}

/// [`Heard`] as kept under /run/jit for a restart of jitd, with the time that the clock had reached. It dies with the boot that it is
/// about, and says so besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) boot_id: String,
    pub(super) host_id: HostId,
    /// Revision in force then; not lower than the word's.
    pub(super) revision: u64,
    pub(super) made_at_ms: u64,
    /// [`Clock::highest`](crate::clock::Clock::highest) …
    pub(super) highest_time: Timestamp,
    /// … at this time of the boot clock.
    pub(super) kept_at_ms: u64,
}

impl Kept {
    /// What it says, where it is about this boot and this host, and not about a time to come.
    pub(super) fn heard(&self, boot_id: &str, host_id: &HostId, now: Duration) -> Option<Heard> {
        let made_at = Duration::from_millis(self.made_at_ms);
        let kept_at = Duration::from_millis(self.kept_at_ms);
        let ours =
            self.boot_id == boot_id && self.host_id == *host_id && made_at <= now && kept_at <= now;
        ours.then_some(Heard {
            revision: self.revision,
            made_at,
        })
    }

    /// How far the clock has come since, in the same boot.
    pub(super) fn highest_time(&self, now: Duration) -> Timestamp {
        let since = now.saturating_sub(Duration::from_millis(self.kept_at_ms));
        self.highest_time
            .checked_add(since)
            .unwrap_or(self.highest_time)
    }
}
