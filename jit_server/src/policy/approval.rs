//! Who has to approve: one stage of approvers after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::repeat_n;

use jiff::SignedDuration;
use jit_grant::Principal;

use super::enough::could_be_together;
use super::{People, Role};
use crate::event::UserSet;
use crate::text::Grounds;

/// Stages of one role at most.
pub(super) const MOST_STAGES: usize = 5;
/// Times at which more people may approve one stage at most.
pub(super) const MOST_LATER: usize = 5;

/// How a request for a role is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    /// By people, stage after stage; one at least.
    Stages(Vec<Stage>),
    /// By nobody: it is granted at once, and this says why that is safe.
    Auto(Grounds),
    /// By nobody: it is granted at once, everybody is told, and what was done is reviewed.
    BreakGlass(Review),
}

/// How the use of a break-glass role is looked at afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Who may review it; nobody his own use.
    pub reviewers: People,
    /// How long after its end at the latest. Seconds.
    pub within_seconds: u32,
}

/// One stage. It begins when the one before it is done, and is done when enough have approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Who may approve it.
    pub approvers: People,
    /// How many of them must, each of them another person.
    pub count: u32,
    /// Whoever approved a stage before this one may approve this one, too.
    pub same_person_again: bool,
    /// Who may approve it, too, once it has been due for a while; those who wait longer come later.
    pub later: Vec<Later>,
}

/// More approvers of a stage that is not done in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// The stage has been due for so long. Seconds.
    pub after_seconds: u32,
    /// Who may approve it then, beside all those before.
    pub approvers: People,
}

impl Stage {
    /// True where `user` may approve it when it has been due for `waited`.
    #[must_use]
    pub fn includes(&self, user: &UserSet, waited: SignedDuration) -> bool {
        let due = |later: &&Later| waited >= SignedDuration::from_secs(later.after_seconds.into());
        let later = self.later.iter().filter(due);
        self.approvers.entrust(user) || later.into_iter().any(|then| then.approvers.entrust(user))
    }

    /// True where `user` may approve it at once or later.
    #[must_use]
    pub fn ever_includes(&self, user: &UserSet) -> bool {
        self.includes(user, SignedDuration::MAX)
    }

    /// All who may approve it at once or later. None where some of them come by group, or by attributes
    /// alone: who does, a policy does not say.
    pub(crate) fn all_named(&self) -> Option<BTreeSet<&Principal>> {
        let later = self.later.iter().map(|later| &later.approvers);
        let all: Vec<&People> = [&self.approvers].into_iter().chain(later).collect();
        let named: Option<Vec<_>> = all.iter().map(|people| people.all_named()).collect();
        Some(named?.into_iter().flatten().collect())
    }
}

impl Role {
    /// Its stages, in order. None where nobody approves it.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        match &self.approval {
            Approval::Stages(stages) => stages,
            Approval::Auto(_) | Approval::BreakGlass(_) => &[],
        }
    }

    /// How its use is reviewed. None where it is not.
    #[must_use]
    pub fn review(&self) -> Option<&Review> {
        match &self.approval {
            Approval::BreakGlass(review) => Some(review),
            Approval::Stages(_) | Approval::Auto(_) => None,
        }
    }

    /// True where `user` may review its use.
    #[must_use]
    pub fn has_reviewer(&self, user: &UserSet) -> bool {
        self.review()
            .is_some_and(|review| review.reviewers.entrust(user))
    }

    /// True where `user` has to do with other people's use of it: as one who approves or reviews, he sees it and may revoke it.
    #[must_use]
    pub fn is_overseen_by(&self, user: &UserSet) -> bool {
        self.has_approver(user) || self.has_reviewer(user)
    }

    /// True where `user` may approve some stage of it.
    #[must_use]
    pub fn has_approver(&self, user: &UserSet) -> bool {
        self.stages().iter().any(|stage| stage.ever_includes(user))
    }
}

/// True where people could do all of `stages`, each with those who could approve it. Who approved one stage is no help with a later one that
/// takes nobody again; so each stage has to be done by other people than all of those after it that don't, and all of them by one choice of
/// people. Where that choice is among too many to try, the answer is yes.
pub(crate) fn could_be_done(stages: &[(&Stage, BTreeSet<&Principal>)]) -> bool {
    each_could_be_done(stages) && (!have_different_needs(stages) || could_be_together(stages))
}

/// True where for each of `stages` there are other people than for those after it that take nobody again.
fn each_could_be_done(stages: &[(&Stage, BTreeSet<&Principal>)]) -> bool {
    (0..stages.len()).all(|first| {
        let rest = stages.iter().skip(first);
        let apart = rest
            .enumerate()
            .filter(|(later, (stage, _))| *later == 0 || !stage.same_person_again);
        could_be_different(apart.map(|(_, stage)| stage))
    })
}

/// True where a stage takes people again and one after it does not. Else whoever does the others is of use to all that take people again.
fn have_different_needs(stages: &[(&Stage, BTreeSet<&Principal>)]) -> bool {
    let later = stages.iter().map(|(stage, _)| stage).skip(1);
    let mut from_again = later.skip_while(|stage| !stage.same_person_again);
    from_again.any(|stage| !stage.same_person_again)
}

/// True where nobody is needed for two of `stages`.
fn could_be_different<'s, 'p: 's>(
    stages: impl Iterator<Item = &'s (&'s Stage, BTreeSet<&'p Principal>)>,
) -> bool {
    let seats = stages.flat_map(|(stage, able)| {
        let count = usize::try_from(stage.count).unwrap_or(usize::MAX);
        repeat_n(able, count)
    });
    let seats: Vec<_> = seats.collect();
    let mut seated = BTreeMap::new();
    (0..seats.len()).all(|seat| fill(seat, &seats, &mut seated, &mut BTreeSet::new()))
}

/// Finds somebody for `seat`, where need be by giving whoever has another seat a third one (Kuhn's algorithm for bipartite matching).
fn fill<'p>(
    seat: usize,
    seats: &[&BTreeSet<&'p Principal>],
    seated: &mut BTreeMap<&'p Principal, usize>,
    tried: &mut BTreeSet<&'p Principal>,
) -> bool {
    let able = seats.get(seat).into_iter().flat_map(|able| able.iter());
    for person in able.copied() {
        if !tried.insert(person) {
            continue;
        }
        let free = match seated.get(person).copied() {
            None => true,
            Some(other) => fill(other, seats, seated, tried),
        };
        if free {
            seated.insert(person, seat);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn could(stages: &[(u32, bool, &[&str])]) -> bool {
        let stages: Vec<(Stage, Vec<Principal>)> = stages
            .iter()
            .map(|(count, same_person_again, able)| {
                let stage = Stage {
                    approvers: People::default(),
                    count: *count,
                    same_person_again: *same_person_again,
                    later: Vec::new(),
                };
                (
                    stage,
                    able.iter().map(|name| name.parse().unwrap()).collect(),
                )
            })
            .collect();
        let stages: Vec<_> = stages
            .iter()
            .map(|(stage, able)| (stage, able.iter().collect()))
            .collect();
        could_be_done(&stages)
    }

    #[test]
    fn whoever_is_needed_for_one_stage_is_no_help_with_another() {
        assert!(could(&[
            (1, false, &["bob", "carol"]),
            (1, false, &["bob"])
        ]));
        assert!(could(&[
            (1, false, &["bob", "carol"]),
            (1, false, &["carol", "dave"]),
            (1, false, &["bob"])
        ]));
        assert!(!could(&[(1, false, &["bob"]), (1, false, &["bob"])]));
        assert!(!could(&[
            (2, false, &["bob", "carol"]),
            (1, false, &["bob", "carol"])
        ]));
        assert!(could(&[(1, false, &["bob"]), (1, true, &["bob"])]));
        assert!(!could(&[(1, false, &["bob"]), (2, true, &["bob"])]));
    }

    #[test]
    fn who_did_a_stage_that_takes_people_again_is_no_help_with_a_later_one_that_does_not() {
        assert!(!could(&[
            (1, false, &["carol"]),
            (1, true, &["bob"]),
            (1, false, &["bob"])
        ]));
        assert!(could(&[
            (1, false, &["carol"]),
            (1, true, &["bob", "carol"]),
            (1, false, &["bob"])
        ]));
        assert!(could(&[
            (1, false, &["carol"]),
            (1, false, &["bob"]),
            (1, true, &["bob"])
        ]));
    }
}
