//! Calls with a key that were done. Who repeats one within a day is told so, and nothing is done again.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::numbers::Numbers;
use crate::event::{Actor, Entry};
use crate::once::{Digest, Once};

/// So long a call is known by its key.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// Calls of one caller at most; beyond that his oldest are forgotten sooner …
const MOST_OF_ONE: usize = 2_000;
/// … and of all callers.
const MOST: usize = 50_000;

/// The calls of the last day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    by_key: BTreeMap<Digest, DoneOnce>,
    in_order: BTreeMap<u64, Digest>,
    of: Numbers<Actor>,
}

/// A call that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneOnce {
    /// What was called, and with what.
    pub call: Digest,
    /// The number of the first event that it made.
    pub seq: u64,
    /// What that is about, where it is a request or a grant.
    pub about: Option<String>,
    at: Timestamp,
    by: Actor,
}

impl Calls {
    /// The call of that key, where it was done in the day before `now`.
    #[must_use]
    pub fn find(&self, key: &Digest, now: Timestamp) -> Option<&DoneOnce> {
        let done = self.by_key.get(key)?;
        (!is_over(done.at, now)).then_some(done)
    }

    /// An event that was made by a call with a key. What is forgotten depends on events alone, so every replay knows the same calls.
    pub(super) fn done(&mut self, once: &Once, entry: &Entry) {
        self.forget_before(entry.at);
        // A record in which a key is another call's, too, takes nothing from the first.
        if self.by_key.contains_key(&once.key) {
            return;
        }
        let about = entry.event.request().map(ToString::to_string);
        let about = about.or_else(|| entry.event.grant().map(ToString::to_string));
        let about = about.or_else(|| entry.event.change().map(ToString::to_string));
        let done = DoneOnce {
            call: once.call,
            seq: entry.seq,
            about,
            at: entry.at,
            by: entry.actor.clone(),
        };
        self.by_key.insert(once.key, done);
        self.in_order.insert(entry.seq, once.key);
        self.of.add(&entry.actor, entry.seq);
        while self.of.count(&entry.actor) > MOST_OF_ONE {
            let Some(oldest) = self.of.of(&entry.actor).next().copied() else {
                break;
            };
            self.forget(oldest);
        }
        while self.in_order.len() > MOST {
            let Some((oldest, _)) = self.in_order.first_key_value() else {
                break;
            };
            self.forget(*oldest);
        }
    }

    /// Whoever has the name later has nothing of the calls of whoever had it.
    pub(super) fn forget_caller(&mut self, caller: &Actor) {
        let his: Vec<u64> = self.of.of(caller).copied().collect();
        for seq in his {
            self.forget(seq);
        }
    }

    fn forget_before(&mut self, now: Timestamp) {
        while let Some((seq, key)) = self.in_order.first_key_value() {
            let done = self.by_key.get(key);
            if done.is_some_and(|done| !is_over(done.at, now)) {
                break;
            }
            self.forget(*seq);
        }
    }

    fn forget(&mut self, seq: u64) {
        let key = self.in_order.remove(&seq);
        if let Some(done) = key.and_then(|key| self.by_key.remove(&key)) {
            self.of.remove(&done.by, seq);
        }
    }
}

fn is_over(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) >= REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::once::Key;

    fn begin() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn actor(name: &str) -> Actor {
        Actor::Principal(name.parse().unwrap())
    }

    fn once(name: &str, key: u64) -> Once {
        let key = Key::parse(format!("k{key}").as_bytes()).unwrap();
        Once::of(&actor(name), &key, "POST", "/v1/requests", b"{}")
    }

    fn done(calls: &mut Calls, name: &str, key: u64, seq: u64, at: Timestamp) {
        let entry = Entry {
            seq,
            at,
            actor: actor(name),
            event: Event::Withdrawn {
                request: "r7".parse().unwrap(),
            },
            via: None,
        };
        calls.done(&once(name, key), &entry);
    }

    #[test]
    fn a_call_is_known_for_a_day_and_then_nothing_of_it_is_left() {
        let mut calls = Calls::default();
        done(&mut calls, "alice", 1, 17, begin());
        let key = once("alice", 1).key;
        let found = calls.find(&key, begin()).unwrap();
        assert_eq!((found.seq, found.about.as_deref()), (17, Some("r7")));
        let almost = begin() + REMEMBERED - SignedDuration::from_nanos(1);
        assert!(calls.find(&key, almost).is_some());
        assert!(calls.find(&key, begin() + REMEMBERED).is_none());
        // Its key may be used again then.
        done(&mut calls, "alice", 1, 18, begin() + REMEMBERED);
        assert_eq!(calls.find(&key, begin() + REMEMBERED).unwrap().seq, 18);
        assert_eq!((calls.by_key.len(), calls.in_order.len()), (1, 1));
        assert_eq!(calls.of.count(&actor("alice")), 1);
    }

    #[test]
    fn a_record_in_which_a_key_comes_twice_takes_nothing_from_the_first() {
        let mut calls = Calls::default();
        done(&mut calls, "alice", 1, 17, begin());
        done(&mut calls, "alice", 1, 18, begin());
        assert_eq!(calls.find(&once("alice", 1).key, begin()).unwrap().seq, 17);
    }

    #[test]
    fn who_makes_many_calls_pushes_out_his_own_and_nobody_else_s() {
        let mut calls = Calls::default();
        done(&mut calls, "bob", 1, 1, begin());
        for number in 0..MOST_OF_ONE as u64 + 10 {
            done(&mut calls, "alice", number, number + 2, begin());
        }
        assert_eq!(calls.of.count(&actor("alice")), MOST_OF_ONE);
        assert!(calls.find(&once("alice", 9).key, begin()).is_none());
        assert!(calls.find(&once("alice", 10).key, begin()).is_some());
        assert!(calls.find(&once("bob", 1).key, begin()).is_some());
    }

    #[test]
    fn however_many_call_so_many_calls_are_known() {
        let mut calls = Calls::default();
        for number in 0..MOST as u64 + 5 {
            let name = format!("user{}", number % 100);
            done(&mut calls, &name, number, number + 1, begin());
        }
        assert_eq!((calls.by_key.len(), calls.in_order.len()), (MOST, MOST));
        assert!(calls.find(&once("user4", 4).key, begin()).is_none());
        assert!(calls.find(&once("user5", 5).key, begin()).is_some());
    }

    #[test]
    fn whoever_has_a_name_later_has_nothing_of_the_calls_before() {
        let mut calls = Calls::default();
        done(&mut calls, "alice", 1, 1, begin());
        done(&mut calls, "bob", 1, 2, begin());
        calls.forget_caller(&actor("alice"));
        assert!(calls.find(&once("alice", 1).key, begin()).is_none());
        assert!(calls.find(&once("bob", 1).key, begin()).is_some());
    }
}
