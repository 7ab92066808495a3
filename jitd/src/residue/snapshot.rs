//! What there was at one moment, and what differs between two. Pure.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::kind::{Change, Place};

/// Stands for all that is known of a file but its name: it differs where device, inode, size, times, mode or owner do.
pub(crate) type Mark = u64;

/// What there is, in the order of its places, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot(Vec<(Place, Mark)>);

/// One place where two snapshots differ: the mark before and the mark after, None where there was nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) place: Place,
    pub(crate) before: Option<Mark>,
    pub(crate) after: Option<Mark>,
}

impl Snapshot {
    /// Of places seen in any order; one that was seen twice counts as it was seen first.
    pub(crate) fn new(mut seen: Vec<(Place, Mark)>) -> Self {
        seen.sort_by(|(a, _), (b, _)| a.cmp(b));
        seen.dedup_by(|(later, _), (first, _)| later == first);
        seen.shrink_to_fit();
        Self(seen)
    }

    /// The mark of what is there.
    pub(crate) fn mark(&self, place: &Place) -> Option<Mark> {
        let found = self
            .0
            .binary_search_by(|(other, _)| other.cmp(place))
            .ok()?;
        self.0.get(found).map(|(_, mark)| *mark)
    }

    /// Every place where `later` differs, once, in order.
    pub(crate) fn compare(&self, later: &Self) -> Vec<Difference> {
        let (mut before, mut after) = (self.0.iter().peekable(), later.0.iter().peekable());
        let mut differences = Vec::new();
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => return differences,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let old = before.next_if(|_| order.is_le());
            let new = after.next_if(|_| order.is_ge());
            let marks = (old.map(|(_, mark)| *mark), new.map(|(_, mark)| *mark));
            if let Some((place, _)) = old.or(new).filter(|_| marks.0 != marks.1) {
                differences.push(Difference {
                    place: place.clone(),
                    before: marks.0,
                    after: marks.1,
                });
            }
        }
    }
}

/// What became of something. None where it is as it was.
pub(crate) fn change(before: Option<Mark>, after: Option<Mark>) -> Option<Change> {
    match (before, after) {
        (None, Some(_)) => Some(Change::New),
        (Some(_), None) => Some(Change::Gone),
        (a, b) => (a != b).then_some(Change::Changed),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::residue::kind::Kind;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    pub(crate) fn place(name: u8) -> Place {
        let kind = if name.is_multiple_of(2) {
            Kind::Unit
        } else {
            Kind::Cron
        };
        Place {
            kind,
            path: format!("/{name}").into(),
        }
    }

    fn of(places: &BTreeMap<u8, Mark>) -> Snapshot {
        Snapshot::new(
            places
                .iter()
                .map(|(name, mark)| (place(*name), *mark))
                .collect(),
        )
    }

    pub(crate) fn any_places() -> impl Strategy<Value = BTreeMap<u8, Mark>> {
        prop::collection::btree_map(0u8..12, 0u64..3, 0..8)
    }

    pub(crate) fn any_snapshot() -> impl Strategy<Value = Snapshot> {
        any_places().prop_map(|places| of(&places))
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself(a in any_snapshot()) {
            prop_assert_eq!(a.compare(&a), vec![]);
        }

        #[test]
        fn every_difference_is_listed_once_and_nothing_else(a in any_places(), b in any_places()) {
            let mut listed = of(&a).compare(&of(&b)).into_iter();
            let mut expected: Vec<Place> = (0..12).filter(|name| a.get(name) != b.get(name)).map(place).collect();
            expected.sort();
            for place in expected {
                let found = listed.next().unwrap();
                prop_assert_eq!(&found.place, &place);
                prop_assert_eq!((found.before, found.after), (of(&a).mark(&place), of(&b).mark(&place)));
                prop_assert!(change(found.before, found.after).is_some());
            }
            prop_assert_eq!(listed.next(), None);
        }
    }
}
