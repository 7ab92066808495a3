//! How often each of many may do something, whatever connections they do it on.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::time::Instant;

use super::limits::{Allowance, Rate};

/// More than so many, and those that used nothing of theirs lately are forgotten: nothing is lost by that.
const MANY: usize = 4_096;

/// How often each may do it. Each is somebody known, so there are no more of them than hosts, users and their tokens.
#[derive(Debug)]
pub(super) struct Allowances<K> {
    rate: Rate,
    left: HashMap<K, Allowance>,
}

impl<K: Eq + Hash + Clone> Allowances<K> {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            left: HashMap::new(),
        }
    }

    /// Counts one of `whose`. False where there was none left.
    pub(super) fn take(&mut self, whose: &K, now: Instant) -> bool {
        if self.left.len() >= MANY {
            self.left.retain(|_, left| !left.is_full(now));
        }
        let fresh = || Allowance::full(self.rate, now);
        let left = self.left.entry(whose.clone()).or_insert_with(fresh);
        left.take(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RATE: Rate = Rate {
        burst: 2.0,
        a_second: 1.0,
    };

    #[test]
    fn each_has_its_own_and_who_rested_is_forgotten_where_there_are_many() {
        let mut allowances = Allowances::new(RATE);
        let now = Instant::now();
        let taken = |allowances: &mut Allowances<usize>, who| {
            (0..5).filter(|_| allowances.take(&who, now)).count()
        };
        assert_eq!([1, 2].map(|who| taken(&mut allowances, who)), [2, 2]);
        for who in 0..MANY {
            allowances.take(&who, now);
        }
        let later = now + Duration::from_secs(60);
        assert!(allowances.take(&1, later));
        assert_eq!(allowances.left.len(), 1, "nothing lasts");
    }
}
