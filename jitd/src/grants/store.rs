//! What is kept on disk: the last good bundle, the highest revision and time seen, and, for this boot only, the last word heard.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::{Bundle, HostId, Uses};
use serde::{Deserialize, Serialize};

use super::Places;
use super::freshness::{self, Heard};
use super::uses;
use crate::atomic;
use crate::clock::Clock;

const SMALL: u64 = 16 * 1024;
/// More than all grants of a bundle come to.
const MOST_USES: u64 = 1024 * 1024;

/// `state.json`: what must never go backwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) host_id: HostId,
    pub(super) highest_revision: u64,
    pub(super) highest_time: Timestamp,
}

#[derive(Debug)]
pub(super) struct Store {
    places: Places,
}

impl Store {
    pub(super) fn new(places: Places) -> Self {
        Self { places }
    }

    pub(super) fn state(&self) -> Option<Kept> {
        let text = atomic::read(&self.state_path(), SMALL).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The document as it was taken; it is verified again before it counts.
    pub(super) fn bundle(&self) -> Option<Vec<u8>> {
        atomic::read(&self.bundle_path(), Bundle::MAX_BYTES as u64).ok()
    }

    /// The bundle goes first: a crash between the two leaves a newer bundle than the revision says, which is believed. Where there
    /// is no room for the bundle the revision is still raised, so that the older bundle on disk never counts again.
    pub(super) fn write(&self, kept: Option<&Kept>, document: Option<&[u8]>) -> io::Result<()> {
        let bundle = document.map_or(Ok(()), |document| {
            atomic::write(&self.bundle_path(), document)
        });
        if let Some(kept) = kept {
            atomic::write(&self.state_path(), &serde_json::to_vec(kept)?)?;
        }
        bundle
    }

    /// The last word heard and how far the clock had come, where they are of this boot and about this host.
    pub(super) fn heard(&self, host_id: &HostId, now: Duration) -> Option<(Heard, Timestamp)> {
        let text = atomic::read(&self.heard_path(), SMALL).ok()?;
        let kept: freshness::Kept = serde_json::from_slice(&text).ok()?;
        let heard = kept.heard(&self.places.boot_id, host_id, now)?;
        Some((heard, kept.highest_time(now)))
    }

    pub(super) fn keep_heard(
        &self,
        host_id: &HostId,
        heard: Heard,
        revision: u64,
        clock: &Clock,
    ) -> io::Result<()> {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let kept = freshness::Kept {
            boot_id: self.places.boot_id.clone(),
            host_id: host_id.clone(),
            revision,
            made_at_ms: milliseconds(heard.made_at),
            highest_time: clock.highest(),
            kept_at_ms: milliseconds(clock.boot()),
        };
        atomic::write(&self.heard_path(), &serde_json::to_vec(&kept)?)
    }

    /// Which grants for one login are used up, where that is known of `host_id`.
    pub(super) fn uses(&self, host_id: &HostId) -> Option<Uses> {
        let text = atomic::read(&self.uses_path(), MOST_USES).ok()?;
        let kept: uses::Kept = serde_json::from_slice(&text).ok()?;
        (kept.host_id == *host_id).then_some(kept.uses)
    }

    pub(super) fn write_uses(&self, kept: &uses::Kept) -> io::Result<()> {
        atomic::write(&self.uses_path(), &serde_json::to_vec(kept)?)
    }

    fn uses_path(&self) -> PathBuf {
        self.places.state.join("uses.json")
    }

    fn state_path(&self) -> PathBuf {
        self.places.state.join("state.json")
    }

    fn bundle_path(&self) -> PathBuf {
        self.places.state.join("bundle.jws")
    }

    fn heard_path(&self) -> PathBuf {
        self.places.run.join("heard.json")
    }
}
