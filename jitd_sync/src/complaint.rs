//! What goes wrong goes into the log once, not as often as it is tried.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use crate::error::SyncError;

/// The same is said again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// What one errand said last.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    last: Option<(String, Instant)>,
}

impl Complaint {
    /// Says what went wrong, unless it was said a moment ago. True where it said so.
    pub(crate) fn about(&mut self, error: &SyncError) -> bool {
        let text = error.to_string();
        let now = Instant::now();
        let said =
            |(last, at): &(String, Instant)| *last == text && now.duration_since(*at) < AGAIN;
        if self.last.as_ref().is_some_and(said) {
            debug!("{text}");
            return false;
        }
        warn!("{text}");
        self.last = Some((text, now));
        true
    }

    /// It works again: the next failure is news.
    pub(crate) fn settled(&mut self) {
        self.last = None;
    }
}
