//! Numbers of requests or grants by what they have in common, so that finding a few does not take a look at all of them.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers<K>(BTreeMap<K, BTreeSet<u64>>);

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Numbers<K> {
    pub(super) fn add(&mut self, key: &K, number: u64) {
        self.0.entry(key.clone()).or_default().insert(number);
    }

    pub(super) fn remove(&mut self, key: &K, number: u64) {
        if let Some(numbers) = self.0.get_mut(key) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// Those of `key`, in order.
    pub(super) fn of(&self, key: &K) -> impl DoubleEndedIterator<Item = &u64> {
        self.0.get(key).into_iter().flatten()
    }

    /// How many those are.
    pub(super) fn count(&self, key: &K) -> usize {
        self.0.get(key).map_or(0, BTreeSet::len)
    }

    /// Keeps those that `keeps` says yes to.
    pub(super) fn retain(&mut self, keeps: impl Fn(&u64) -> bool) {
        self.0.retain(|_, numbers| {
            numbers.retain(&keeps);
            !numbers.is_empty()
        });
    }
}
