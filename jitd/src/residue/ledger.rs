//! What has changed while elevations were open. Pure.
//!
//! There is one snapshot for all of them, the newest, and beside it what changed from one look to the next, for as long as an
//! elevation that was open then is of interest. So a thousand open elevations cost one snapshot and not a thousand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::kind::{Item, Place};
use super::snapshot::{Mark, Snapshot, change};

/// Of more changes than this the oldest are forgotten; who needed them is told that the list is not complete.
const MOST_CHANGES: usize = 4096;

/// The longest tick of a kernel is 10 ms (HZ=100).
const TICK: Duration = Duration::from_millis(10);

/// Which elevation or login, and whose, as every event about it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whose {
    pub(crate) id: String,
    pub(crate) login: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) principal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) grant: Option<String>,
    /// Of a login, the groups that it had by grants: nothing but programs that run as one of these is looked for. None of an elevation.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) gids: BTreeSet<u32>,
}

impl Whose {
    /// True of a login. What is not root's can only be left by way of its groups.
    pub(crate) fn is_login(&self) -> bool {
        !self.gids.is_empty()
    }
}

/// An elevation, from the look before it to the last word about what it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) whose: Whose,
    /// The look before it.
    look: u64,
    /// Wall time of that look: files' times are of that clock.
    pub(crate) from: Timestamp,
    /// False until its caller was told yes. What never was is of no interest.
    let_in: bool,
    /// Root could act before the look was done, or there was none.
    late: bool,
    /// Another one was open at the same time: what is found may be of either.
    pub(crate) one_of_several: bool,
    /// Wall time of its end.
    pub(crate) ended: Option<Timestamp>,
    /// Only the search for setuid files is still due.
    compared: bool,
}

/// What one elevation left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) items: Vec<Item>,
    /// False where there may be more than was found.
    pub(crate) complete: bool,
}

impl Left {
    /// Nobody looked.
    pub(crate) fn unknown() -> Self {
        Self {
            items: Vec::new(),
            complete: false,
        }
    }
}

/// The newest snapshot and how it came to be. Kept on disk, since a restart of jitd must not hide anything.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Number of the newest look, from 1.
    look: u64,
    snapshot: Snapshot,
    changes: VecDeque<Changed>,
    /// Changes up to this look have been forgotten.
    forgotten: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Changed {
    /// The look that found it.
    look: u64,
    place: Place,
    /// What was there at the look before.
    before: Option<Mark>,
}

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) seen: Seen,
    pub(crate) windows: BTreeMap<String, Window>,
}

impl Ledger {
    /// A look has been had. True where it found anything new, so that it is worth keeping.
    pub(crate) fn saw(&mut self, snapshot: Snapshot) -> bool {
        let seen = &mut self.seen;
        let differences = match seen.look {
            0 => Vec::new(),
            _ => seen.snapshot.compare(&snapshot),
        };
        let first = seen.look == 0;
        seen.look += 1;
        let look = seen.look;
        let found = !differences.is_empty();
        seen.changes
            .extend(differences.into_iter().map(|difference| Changed {
                look,
                place: difference.place,
                before: difference.before,
            }));
        seen.snapshot = snapshot;
        self.trim();
        first || found
    }

    /// An elevation is about to be opened, just after a look; without one where `looked` is false.
    pub(crate) fn open(&mut self, whose: Whose, from: Timestamp, looked: bool) {
        let mut one_of_several = false;
        let others = self.windows.values_mut();
        for other in others.filter(|other| other.ended.is_none()) {
            // What runs as a group may have been made by root. What else an elevation leaves, no login did.
            other.one_of_several |= other.whose.is_login() || !whose.is_login();
            one_of_several |= whose.is_login() || !other.whose.is_login();
        }
        let window = Window {
            look: self.seen.look,
            from,
            let_in: false,
            late: !looked,
            one_of_several,
            ended: None,
            compared: false,
            whose,
        };
        self.windows.insert(window.whose.id.clone(), window);
    }

    /// Its caller is being told yes: `in_time` where the look was done before.
    pub(crate) fn let_in(&mut self, id: &str, in_time: bool) {
        if let Some(window) = self.windows.get_mut(id) {
            window.let_in = true;
            window.late |= !in_time;
        }
    }

    /// Nothing is left of it. False where that is of no interest.
    pub(crate) fn end(&mut self, id: &str, at: Timestamp) -> bool {
        let Some(window) = self.windows.get_mut(id) else {
            return false;
        };
        if window.let_in {
            window.ended.get_or_insert(at);
            window.compared |= window.whose.is_login();
        } else {
            self.windows.remove(id);
        }
        self.windows.contains_key(id)
    }

    /// Ends all but these: jitd was away.
    pub(crate) fn end_others(&mut self, open: &BTreeSet<String>, at: Timestamp) {
        let ids: Vec<String> = self.windows.keys().cloned().collect();
        for id in ids.iter().filter(|id| !open.contains(*id)) {
            self.end(id, at);
        }
    }

    /// Ended, and not compared yet.
    pub(crate) fn waits_for_a_look(&self) -> bool {
        self.windows
            .values()
            .any(|window| window.ended.is_some() && !window.compared)
    }

    /// Compares every elevation that has ended with the newest look, which was had after that; nothing is compared where `looked` is
    /// false. What comes out of it is asked for once.
    pub(crate) fn compare_ended(&mut self, looked: bool) -> Vec<(Window, Left)> {
        let mut all = Vec::new();
        let ended = |window: &&mut Window| window.ended.is_some() && !window.compared;
        for window in self.windows.values_mut().filter(ended) {
            window.compared = true;
            let left = if looked {
                Left {
                    items: self.seen.since(window.look),
                    complete: !window.late && window.look >= self.seen.forgotten,
                }
            } else {
                Left::unknown()
            };
            all.push((window.clone(), left));
        }
        self.trim();
        all
    }

    /// Those for which setuid files are to be looked for, with the earliest of their beginnings.
    pub(crate) fn to_scan(&self) -> Option<(Timestamp, BTreeSet<String>)> {
        let due = || self.windows.iter().filter(|(_, window)| window.compared);
        let since = due().map(|(_, window)| window.earliest()).min()?;
        Some((since, due().map(|(id, _)| id.clone()).collect()))
    }

    /// The snapshots that all of them began with are lost.
    pub(crate) fn forget_looks(&mut self) {
        self.windows
            .values_mut()
            .for_each(|window| window.late = true);
    }

    /// The last word about it has been said.
    pub(crate) fn close(&mut self, id: &str) -> Option<Window> {
        self.windows.remove(id)
    }

    /// Of more than so many that wait for a search those that ended first.
    pub(crate) fn close_beyond(&mut self, most: usize) -> Vec<Window> {
        let waiting = self.windows.iter().filter(|(_, window)| window.compared);
        let mut ends: Vec<_> = waiting
            .map(|(id, window)| (window.ended, id.clone()))
            .collect();
        let many = ends.len().saturating_sub(most);
        ends.sort_unstable();
        let oldest = ends.iter().take(many);
        oldest
            .filter_map(|(_, id)| self.windows.remove(id))
            .collect()
    }

    fn trim(&mut self) {
        let open = self.windows.values().filter(|window| !window.compared);
        let oldest = open.map(|window| window.look).min();
        let needed = |changed: &Changed| oldest.is_some_and(|oldest| changed.look > oldest);
        while self
            .seen
            .changes
            .front()
            .is_some_and(|first| !needed(first))
        {
            self.seen.changes.pop_front();
        }
        let many = self.seen.changes.len().saturating_sub(MOST_CHANGES);
        for changed in self.seen.changes.drain(..many) {
            self.seen.forgotten = changed.look;
        }
    }
}

impl Window {
    /// True where a program of this group is of interest, None for one that does not run as its group.
    pub(crate) fn looks_for(&self, runs_as: Option<u32>) -> bool {
        let gids = &self.whose.gids;
        gids.is_empty() || runs_as.is_some_and(|gid| gids.contains(&gid))
    }

    /// True where a file that changed at `at`, and was made at `made` where that is known, may have changed while it was open. Files are
    /// stamped with the time of the last tick. The owner of what a login left can change it once more at any time (`touch`), without the
    /// group, but not make it: so there it counts when it was made.
    pub(crate) fn holds(&self, at: Timestamp, made: Option<Timestamp>) -> bool {
        let from = self.earliest().checked_sub(TICK).unwrap_or(self.from);
        let last = if self.whose.is_login() {
            made
        } else {
            Some(at)
        };
        let ended = self.ended.map(|ended| ended.max(self.from));
        at >= from && last.zip(ended).is_none_or(|(last, ended)| last <= ended)
    }

    /// Where the clock was set back meanwhile, its end lies before its beginning.
    pub(crate) fn earliest(&self) -> Timestamp {
        self.ended.map_or(self.from, |ended| ended.min(self.from))
    }
}

impl Seen {
    /// What differs now from what was there at that look, each place once: what was undone meanwhile does not.
    fn since(&self, look: u64) -> Vec<Item> {
        let mut first: BTreeMap<&Place, Option<Mark>> = BTreeMap::new();
        for changed in self.changes.iter().filter(|changed| changed.look > look) {
            first.entry(&changed.place).or_insert(changed.before);
        }
        let item = |(place, before): (&Place, Option<Mark>)| {
            let change = change(before, self.snapshot.mark(place))?;
            Some(Item {
                place: place.clone(),
                change,
            })
        };
        first.into_iter().filter_map(item).collect()
    }
}

#[cfg(test)]
mod tests;
