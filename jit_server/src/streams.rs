//! Who is listening: one watch a host, which holds the newest revision only, so that a slow host costs nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jit_grant::HostId;
use tokio::sync::watch;

/// Streams of one host at most; a host needs one, and a second while it reconnects.
const MOST_STREAMS: usize = 4;

/// The hosts' streams.
#[derive(Debug, Default)]
pub struct Streams {
    hosts: Mutex<HashMap<HostId, Line>>,
}

#[derive(Debug)]
struct Line {
    newest: watch::Sender<u64>,
    last_seen: Option<Timestamp>,
}

impl Streams {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Line>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever listens for `host` that there is a newer bundle.
    pub fn announce(&self, host: &HostId, revision: u64) {
        let mut hosts = self.hosts();
        let line = hosts.entry(host.clone()).or_insert_with(|| Line {
            newest: watch::Sender::new(revision),
            last_seen: None,
        });
        line.newest.send_replace(revision);
    }

    /// Listens for `host`. None where too many do already, or the host is not known.
    pub fn listen(&self, host: &HostId) -> Option<watch::Receiver<u64>> {
        let hosts = self.hosts();
        let line = hosts.get(host)?;
        (line.newest.receiver_count() < MOST_STREAMS).then(|| line.newest.subscribe())
    }

    /// The host has just shown that it is alive.
    pub fn saw(&self, host: &HostId, now: Timestamp) {
        if let Some(line) = self.hosts().get_mut(host) {
            line.last_seen = Some(now);
        }
    }

    /// Whether somebody listens for `host`, and when it was last heard of since this server runs.
    pub fn standing(&self, host: &HostId) -> (bool, Option<Timestamp>) {
        let hosts = self.hosts();
        hosts.get(host).map_or((false, None), |line| {
            (line.newest.receiver_count() > 0, line.last_seen)
        })
    }

    /// Forgets every host but those that `known` knows; their streams end.
    pub fn keep_only(&self, known: impl Fn(&HostId) -> bool) {
        self.hosts().retain(|host, _| known(host));
    }
}
