//! Hosts that other servers hear. A host that is silent here may talk to another server, so nobody takes it for silent before it is silent
//! everywhere. Only hosts that are removed when they fall silent matter.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jit_grant::HostId;
use tokio::time::Instant;

use super::Server;
use crate::error::Error;

/// So often servers tell one another whom they heard. A host that falls silent is removed that much later.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// What other servers say that they heard.
#[derive(Debug, Default)]
pub(super) struct Others(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    asked: Option<Instant>,
    /// The number of each host, and when it last was another than before. Clocks that are set make nobody silent.
    beats: HashMap<HostId, (i64, Instant)>,
}

impl Heard {
    fn take_in(&mut self, beats: Vec<(HostId, i64)>, now: Instant) {
        let before = std::mem::take(&mut self.beats);
        let since = |host: &HostId, beat: i64| match before.get(host) {
            Some((known, since)) if *known == beat => *since,
            _ => now,
        };
        let beats = beats.into_iter();
        self.beats = beats
            .map(|(host, beat)| {
                let since = since(&host, beat);
                (host, (beat, since))
            })
            .collect();
        self.asked = Some(now);
    }
}

impl Server {
    /// Tells other servers whom this one heard, and takes in whom they did. False where that is not due yet: then nobody is known to be
    /// silent. Call it with the turn, and before anybody is removed.
    pub(super) async fn hear_others(&self) -> Result<bool, Error> {
        if !self.store.is_shared() {
            return Ok(true);
        }
        let lately = |asked: Instant| asked.elapsed() < TELL_AGAIN;
        if self.others().asked.is_some_and(lately) {
            return Ok(false);
        }
        let known: Vec<HostId> = self.look(|state| {
            let hosts = state.directory.hosts();
            let lapsing = hosts.filter(|host| host.enrolled.lapse_seconds.is_some());
            lapsing.map(|host| host.enrolled.host_id.clone()).collect()
        });
        // Not since this server knows of it: else each that starts would speak for hosts that are gone.
        let here = |host: &&HostId| self.streams.was_heard_within(host, TELL_AGAIN + TELL_AGAIN);
        let heard: Vec<HostId> = known.iter().filter(here).cloned().collect();
        let beats = self.store.exchange_heard(&known, &heard).await?;
        self.others().take_in(beats, Instant::now());
        Ok(true)
    }

    /// For how long no other server heard `host`, as far as this one knows. None: none ever did.
    pub(super) fn silent_elsewhere(&self, host: &HostId) -> Option<Duration> {
        let others = self.others();
        others.beats.get(host).map(|(_, since)| since.elapsed())
    }

    fn others(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.others.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_is_silent_elsewhere_since_its_number_last_rose_here() {
        let host: HostId = format!("h{}", "0".repeat(32)).parse().unwrap();
        let mut heard = Heard::default();
        let begin = Instant::now();
        let mut since = |beat: i64| {
            heard.take_in(vec![(host.clone(), beat)], Instant::now());
            heard.beats[&host].1 - begin
        };
        assert_eq!(since(7), Duration::ZERO, "not known before, so heard now");
        tokio::time::advance(TELL_AGAIN).await;
        assert_eq!(since(7), Duration::ZERO);
        tokio::time::advance(TELL_AGAIN).await;
        assert_eq!(since(8), 2 * TELL_AGAIN);
        tokio::time::advance(TELL_AGAIN).await;
        assert_eq!(since(1), 3 * TELL_AGAIN, "begun anew is heard, too");
    }
}
