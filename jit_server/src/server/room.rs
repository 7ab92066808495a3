//! How much of the record each host may fill. It is kept for ever, and whoever has a host's key can write lines of its chain without end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use jit_grant::HostId;

/// Bytes of lines that a host may have kept at one time, and again as many each day: more than ten times what a busy host writes in one,
/// and more than a host keeps itself, so that one that is enrolled anew can send all that it has.
pub(super) const BYTES: u64 = 512 << 20;
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// More hosts than so many, and those that filled nothing lately are forgotten: nothing is lost by that.
const MANY: usize = 4_096;

/// What hosts filled of late. A restart forgets it.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<HashMap<HostId, Filled>>);

#[derive(Debug)]
struct Filled {
    bytes: u64,
    at: Timestamp,
    /// When it was told last that it is too much.
    told: Option<Timestamp>,
}

impl Filled {
    fn bytes_at(&self, now: Timestamp) -> u64 {
        let since = now.duration_since(self.at).as_millis().max(0);
        let free = since.saturating_mul(i128::from(BYTES)) / DAY.as_millis();
        let free = u64::try_from(free).unwrap_or(u64::MAX);
        self.bytes.saturating_sub(free)
    }

    fn is_told(&self, now: Timestamp) -> bool {
        self.told.is_some_and(|told| now.duration_since(told) < DAY)
    }
}

impl Room {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Filled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for `bytes` more of `host`.
    pub(super) fn has(&self, host: &HostId, bytes: u64, now: Timestamp) -> bool {
        let filled = self
            .hosts()
            .get(host)
            .map_or(0, |filled| filled.bytes_at(now));
        filled.saturating_add(bytes) <= BYTES
    }

    /// So many bytes of `host` were kept.
    pub(super) fn fill(&self, host: &HostId, bytes: u64, now: Timestamp) {
        let mut hosts = self.hosts();
        if hosts.len() >= MANY {
            hosts.retain(|_, filled| filled.bytes_at(now) > 0 || filled.is_told(now));
        }
        let filled = hosts.entry(host.clone()).or_insert(Filled {
            bytes: 0,
            at: now,
            told: None,
        });
        filled.bytes = filled.bytes_at(now).saturating_add(bytes);
        filled.at = now;
    }

    /// There was no room for something of `host`. True where that is to be told of: once a day. Call [`Self::was_not_told`] where it can't be.
    pub(super) fn is_to_be_told(&self, host: &HostId, now: Timestamp) -> bool {
        let mut hosts = self.hosts();
        let Some(filled) = hosts.get_mut(host).filter(|filled| !filled.is_told(now)) else {
            return false;
        };
        filled.told = Some(now);
        true
    }

    pub(super) fn was_not_told(&self, host: &HostId) {
        if let Some(filled) = self.hosts().get_mut(host) {
            filled.told = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jit_grant::SigningKey;

    use super::*;
    use crate::alarm::Alarm;
    use crate::clock::Clock;
    use crate::error::Error;
    use crate::event::Event;
    use crate::mark::Mark;
    use crate::server::Server;
    use crate::signer;
    use crate::store::{Kept, SqliteStore};

    const NOON: Timestamp = Timestamp::constant(1_795_608_000, 0);

    fn host(digit: &str) -> HostId {
        format!("h{}", digit.repeat(32)).parse().unwrap()
    }

    #[test]
    fn a_host_fills_so_much_a_day_and_no_other_hosts_room() {
        let room = Room::default();
        let (one, other) = (host("1"), host("2"));
        assert!(room.has(&one, BYTES, NOON) && !room.has(&one, BYTES + 1, NOON));
        room.fill(&one, BYTES, NOON);
        assert!(!room.has(&one, 1, NOON) && room.has(&other, BYTES, NOON));
        let later = NOON + DAY / 4;
        assert!(room.has(&one, BYTES / 4, later) && !room.has(&one, BYTES / 4 + 1, later));
        room.fill(&one, BYTES / 4, later);
        assert!(!room.has(&one, 1, later));
        assert!(room.has(&one, BYTES, later + DAY));
    }

    #[test]
    fn that_there_is_no_room_is_told_once_a_day() {
        let room = Room::default();
        room.fill(&host("1"), BYTES, NOON);
        let told = |hours| room.is_to_be_told(&host("1"), NOON + SignedDuration::from_hours(hours));
        assert_eq!(
            [told(0), told(1), told(23), told(24)],
            [true, false, false, true]
        );
        room.was_not_told(&host("1"));
        assert!(told(25));
    }

    #[test]
    fn hosts_that_filled_nothing_lately_are_forgotten_where_there_are_many() {
        let room = Room::default();
        for number in 0..MANY {
            room.fill(&format!("h{number:032x}").parse().unwrap(), 1, NOON);
        }
        room.fill(&host("f"), 1, NOON + DAY);
        assert_eq!(room.hosts().len(), 1);
    }

    #[derive(Debug)]
    struct AtNoon;

    impl Clock for AtNoon {
        fn now(&self) -> Timestamp {
            NOON
        }
    }

    #[tokio::test]
    async fn a_host_without_room_is_told_to_wait_and_is_one_alarm() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("db")).await.unwrap();
        let signing = folder.path().join("signing.key");
        signer::make(&signing).unwrap();
        let server = Server::start(
            Box::new(store),
            signer::load(&signing).unwrap(),
            Mark::open(&folder.path().join("mark")).unwrap(),
            folder.path().join("policy.toml"),
            |_| -> Box<dyn Clock> { Box::new(AtNoon) },
        )
        .await
        .unwrap();
        let key = SigningKey::generate().unwrap();
        let enrolled = server.enrol("web-1".parse().unwrap(), key.public()).await;
        let id = enrolled.unwrap().host.host_id;
        let keep = |lines: &[&str]| {
            let lines = lines.iter().map(ToString::to_string).collect();
            server.keep_host_lines(id.clone(), lines, String::new())
        };
        server.room.fill(&id, BYTES, NOON);
        for _ in 0..3 {
            let refused = keep(&["a line"]).await.unwrap_err();
            assert!(matches!(refused, Error::TooManyLines), "{refused}");
        }
        let record = server.record(0, 100).await.unwrap().found;
        let is_alarm = |kept: &&Kept| {
            matches!(kept, Kept::Own(entry) if matches!(
                &entry.event, Event::Alarm { host: Some(_), alarm: Alarm::ChainRefused { .. }, .. }
            ))
        };
        assert_eq!(record.iter().filter(is_alarm).count(), 1);
        let _turn = Arc::clone(&server.writer).lock_owned().await;
        assert_eq!(
            keep(&[]).await.unwrap(),
            0,
            "nobody waits for his turn to ask"
        );
    }
}
