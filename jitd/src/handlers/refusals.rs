//! How much of the record refused documents, and what jitd-sync says, may fill. Whoever is in jitd-sync's place can have something refused
//! or say something new without end, and the record drops its oldest lines where it must: what he does must not push out what he did.

use std::time::Duration;

/// So many are recorded one by one, …
const BURST: u64 = 20;
/// … and after that one in so long. It has the number of those that were left out.
const EVERY: Duration = Duration::from_secs(60);

/// What was refused of late.
#[derive(Debug)]
pub struct Refusals {
    /// Refusals that may be recorded at once now.
    room: u64,
    /// Up to when room was made, on the boot clock.
    at: Duration,
    left_out: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            room: BURST,
            at: Duration::ZERO,
            left_out: 0,
        }
    }
}

impl Refusals {
    /// Something is refused `now`, on the boot clock. Some: it is to be recorded, with the number of those that were not since the
    /// last one that was.
    pub(super) fn another(&mut self, now: Duration) -> Option<u64> {
        let passed = now.saturating_sub(self.at).as_secs() / EVERY.as_secs();
        if self.room.saturating_add(passed) >= BURST {
            (self.room, self.at) = (BURST, now);
        } else {
            self.room += passed;
            self.at += Duration::from_secs(passed * EVERY.as_secs());
        }
        match self.room.checked_sub(1) {
            Some(room) => {
                self.room = room;
                Some(std::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_few_are_recorded_one_by_one_and_a_flood_by_its_number() {
        let mut refusals = Refusals::default();
        let begin = Duration::from_secs(1000);
        for _ in 0..BURST {
            assert_eq!(refusals.another(begin), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(refusals.another(begin), None);
        }
        assert_eq!(refusals.another(begin + EVERY), Some(500));
        assert_eq!(refusals.another(begin + EVERY), None);
        let quiet = begin + EVERY + EVERY * 100;
        assert_eq!(refusals.another(quiet), Some(1));
        for _ in 1..BURST {
            assert_eq!(refusals.another(quiet), Some(0));
        }
        assert_eq!(refusals.another(quiet), None);
    }

    proptest! {
        #[test]
        fn none_goes_uncounted_and_no_more_are_recorded_than_there_is_room(waits in prop::collection::vec(0_u64..90_000, 0..400)) {
            let mut refusals = Refusals::default();
            let (mut now, mut recorded, mut counted) = (Duration::from_secs(5), 0, 0);
            let begin = now;
            for wait in &waits {
                now += Duration::from_millis(*wait);
                if let Some(left_out) = refusals.another(now) {
                    recorded += 1;
                    counted += left_out + 1;
                }
            }
            prop_assert_eq!(counted + refusals.left_out, waits.len() as u64);
            let room = BURST + (now - begin).as_secs() / EVERY.as_secs() + 1;
            prop_assert!(recorded <= room, "{} of {}", recorded, room);
        }
    }
}
