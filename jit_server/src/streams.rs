//! Who is listening: one watch a host, which holds the newest revision only, so that a slow host costs nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::HostId;
use tokio::sync::watch;
use tokio::time::Instant;

/// Streams of one host at most. A host needs one; after a cut the server may hold some for a while that nobody reads any more, so the
/// oldest make way.
const MOST_STREAMS: u64 = 4;

/// The hosts' streams.
#[derive(Debug, Default)]
pub struct Streams {
    hosts: Mutex<HashMap<HostId, Line>>,
}

#[derive(Debug)]
struct Line {
    newest: watch::Sender<Newest>,
    last_seen: Option<Timestamp>,
    /// When it last was seen, or became known here. Clocks that are set and machines that sleep make nobody silent.
    heard: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    revision: u64,
    /// Streams that were ever opened.
    opened: u64,
}

/// One stream of a host.
#[derive(Debug)]
pub struct Listening {
    newest: watch::Receiver<Newest>,
    number: u64,
}

impl Listening {
    /// The newest revision. None where the stream is over: later ones took its place.
    pub fn revision(&mut self) -> Option<u64> {
        let newest = *self.newest.borrow_and_update();
        (newest.opened < self.number + MOST_STREAMS).then_some(newest.revision)
    }

    /// Waits for news. None where the stream is over: the host is not known any more.
    pub async fn changed(&mut self) -> Option<()> {
        self.newest.changed().await.ok()
    }
}

impl Streams {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Line>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever listens for `host` that there is a newer bundle.
    pub fn announce(&self, host: &HostId, revision: u64) {
        let mut hosts = self.hosts();
        let line = hosts.entry(host.clone()).or_insert_with(|| Line {
            newest: watch::Sender::new(Newest {
                revision,
                opened: 0,
            }),
            last_seen: None,
            heard: Instant::now(),
        });
        line.newest.send_modify(|newest| newest.revision = revision);
    }

    /// Listens for `host`. None where the host is not known.
    pub fn listen(&self, host: &HostId) -> Option<Listening> {
        let hosts = self.hosts();
        let line = hosts.get(host)?;
        line.newest.send_modify(|newest| newest.opened += 1);
        let newest = line.newest.subscribe();
        let number = newest.borrow().opened;
        Some(Listening { newest, number })
    }

    /// The host has just shown that it is alive.
    pub fn saw(&self, host: &HostId, now: Timestamp) {
        if let Some(line) = self.hosts().get_mut(host) {
            line.last_seen = Some(now);
            line.heard = Instant::now();
        }
    }

    /// Whether somebody listens for `host`, and when it was last heard of since this server runs.
    pub fn standing(&self, host: &HostId) -> (bool, Option<Timestamp>) {
        let hosts = self.hosts();
        hosts.get(host).map_or((false, None), |line| {
            (line.newest.receiver_count() > 0, line.last_seen)
        })
    }

    /// Whether somebody listens for `host`, or it showed within `time` that it is alive. A host that is only known was not heard.
    pub fn was_heard_within(&self, host: &HostId, time: Duration) -> bool {
        self.hosts().get(host).is_some_and(|line| {
            let was_seen = line.last_seen.is_some() && line.heard.elapsed() < time;
            was_seen || line.newest.receiver_count() > 0
        })
    }

    /// For how long nothing was heard of `host` while nobody listens for it. None while somebody does.
    pub fn silent_for(&self, host: &HostId) -> Option<Duration> {
        let hosts = self.hosts();
        let line = hosts.get(host)?;
        (line.newest.receiver_count() == 0).then(|| line.heard.elapsed())
    }

    /// Forgets every host but those that `known` knows; their streams end.
    pub fn keep_only(&self, known: impl Fn(&HostId) -> bool) {
        self.hosts().retain(|host, _| known(host));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_was_heard_since_it_was_seen_or_while_it_listens_and_not_since_it_is_known() {
        let streams = Streams::default();
        let host: HostId = format!("h{}", "0".repeat(32)).parse().unwrap();
        let time = Duration::from_secs(20);
        assert!(!streams.was_heard_within(&host, time));
        streams.announce(&host, 7);
        assert!(!streams.was_heard_within(&host, time));
        let open = streams.listen(&host);
        tokio::time::advance(2 * time).await;
        assert!(streams.was_heard_within(&host, time));
        drop(open);
        assert!(!streams.was_heard_within(&host, time));
        streams.saw(&host, Timestamp::UNIX_EPOCH);
        assert!(streams.was_heard_within(&host, time));
        tokio::time::advance(time).await;
        assert!(!streams.was_heard_within(&host, time));
    }

    #[tokio::test]
    async fn a_host_that_comes_back_again_and_again_is_always_heard_and_its_oldest_streams_end() {
        let streams = Streams::default();
        let host: HostId = format!("h{}", "0".repeat(32)).parse().unwrap();
        assert!(streams.listen(&host).is_none());
        streams.announce(&host, 7);
        let mut open: Vec<_> = (0..10).map(|_| streams.listen(&host).unwrap()).collect();
        for stream in &mut open[..6] {
            assert!(stream.changed().await.is_some(), "woken, to end");
            assert_eq!(stream.revision(), None);
        }
        for stream in &mut open[6..] {
            assert_eq!(stream.revision(), Some(7));
        }
        streams.announce(&host, 8);
        assert_eq!(open[9].revision(), Some(8));
        streams.keep_only(|_| false);
        assert!(open[9].changed().await.is_none());
    }
}
