//! Whether so many people as there are could do all stages of an approval together.

use std::collections::{BTreeMap, BTreeSet};

use jit_grant::Principal;

use super::Stage;

/// States that are looked at before the search is given up; then nothing is said against the stages. It is exact for what policies say:
/// three stages with three seats each need some thousands.
const MOST_LOOKED_AT: usize = 100_000;

/// How many have approved each stage so far, of those that it needs.
type Had = Vec<u32>;
/// Stages, by their place in the order.
type Places = BTreeSet<usize>;

/// True where one choice of people does all of `stages`, each with those who could approve it: whoever approved one counts for no later
/// one, unless that takes people again.
///
/// People matter only by which stages they could approve. So they are gone through by that, one after the other, with all that could come
/// of the approvals of those before.
pub(super) fn could_be_together(stages: &[(&Stage, BTreeSet<&Principal>)]) -> bool {
    let needed: Had = stages.iter().map(|(stage, _)| stage.count).collect();
    let mut reached = BTreeSet::from([vec![0; stages.len()]]);
    let mut looked_at = 0;
    for (able, people) in kinds(stages) {
        let choices = choices(&able, stages);
        for _ in 0..people {
            if reached.contains(&needed) {
                return true;
            }
            let next: BTreeSet<Had> = reached
                .iter()
                .flat_map(|had| choices.iter().map(|chosen| with(had, chosen, &needed)))
                .collect();
            looked_at += next.len();
            if looked_at > MOST_LOOKED_AT {
                return true;
            }
            // Nobody else of them is of use.
            if next == reached {
                break;
            }
            reached = next;
        }
    }
    reached.contains(&needed)
}

/// How many people could approve these stages and no others.
fn kinds(stages: &[(&Stage, BTreeSet<&Principal>)]) -> BTreeMap<Places, usize> {
    let mut able: BTreeMap<&Principal, Places> = BTreeMap::new();
    for (place, (_, people)) in stages.iter().enumerate() {
        for person in people {
            able.entry(person).or_default().insert(place);
        }
    }
    let mut kinds = BTreeMap::new();
    for places in able.into_values() {
        *kinds.entry(places).or_default() += 1;
    }
    kinds
}

/// Which stages one person could approve together, of those that he could approve at all: one to begin with, and each later one that takes
/// people again. What another choice has beside more is left out.
fn choices(able: &Places, stages: &[(&Stage, BTreeSet<&Principal>)]) -> Vec<Places> {
    let again = |place: &usize| {
        let stage = stages.get(*place);
        stage.is_some_and(|(stage, _)| stage.same_person_again)
    };
    let from = |first: usize| -> Places {
        let places = able.range(first..).copied();
        places
            .filter(|place| *place == first || again(place))
            .collect()
    };
    let mut choices: Vec<Places> = Vec::new();
    for choice in able.iter().map(|first| from(*first)) {
        // Each begins later than those before it, so it may be a part of one of them and none of them is a part of it.
        if !choices.iter().any(|other| choice.is_subset(other)) {
            choices.push(choice);
        }
    }
    choices
}

/// `had`, and what one more person approves.
fn with(had: &[u32], approved: &Places, needed: &[u32]) -> Had {
    let each = had.iter().zip(needed).enumerate();
    each.map(|(place, (had, needed))| {
        let more = u32::from(approved.contains(&place));
        (had + more).min(*needed)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{People, could_be_done};
    use super::*;

    /// How many have to approve, whether it takes people again, and who could, as bits.
    type Written = (u32, bool, u8);

    fn stage((count, same_person_again, _): &Written) -> Stage {
        Stage {
            approvers: People::default(),
            count: *count,
            same_person_again: *same_person_again,
            later: Vec::new(),
        }
    }

    fn could(written: &[Written]) -> bool {
        let people: Vec<Principal> = (0..8).map(|n| format!("p{n}").parse().unwrap()).collect();
        let each: Vec<Stage> = written.iter().map(stage).collect();
        let able = |able: u8| (0..8).filter(move |n| able & (1 << n) != 0);
        let stages: Vec<_> = each
            .iter()
            .zip(written)
            .map(|(stage, (_, _, who))| (stage, able(*who).map(|n| &people[n]).collect()))
            .collect();
        could_be_done(&stages)
    }

    /// Each choice among five people for the first of `stages`, and then for those after it, when `used` have approved before.
    fn tried(stages: &[Written], used: u8) -> bool {
        let Some(((count, again, able), rest)) = stages.split_first() else {
            return true;
        };
        (0_u8..32).any(|chosen| {
            chosen.count_ones() == *count
                && chosen & !able == 0
                && (*again || chosen & used == 0)
                && tried(rest, used | chosen)
        })
    }

    const BOB: u8 = 1;
    const CAROL: u8 = 2;

    #[test]
    fn stages_that_need_somebody_for_two_of_them_are_never_done_though_each_could_be() {
        assert!(!could(&[
            (1, false, BOB),
            (1, true, CAROL),
            (1, false, BOB | CAROL)
        ]));
        assert!(could(&[
            (1, false, BOB),
            (1, true, BOB | CAROL),
            (1, false, BOB | CAROL)
        ]));
    }

    #[test]
    fn stages_with_many_seats_are_judged_and_none_is_refused_for_being_too_many_to_try() {
        let everybody = (10, false, u8::MAX);
        assert!(!could(&[everybody]));
        let people: Vec<Principal> = (0..400).map(|n| format!("p{n}").parse().unwrap()).collect();
        let each: Vec<Stage> = (0..5).map(|n| stage(&(10, n % 2 == 1, 0))).collect();
        let stages: Vec<_> = each
            .iter()
            .enumerate()
            .map(|(place, stage)| {
                let able = people.iter().enumerate();
                let able = able.filter(|(n, _)| n & (1 << place) != 0);
                (stage, able.map(|(_, person)| person).collect())
            })
            .collect();
        assert!(could_be_done(&stages));
    }

    proptest! {
        #[test]
        fn what_could_be_done_is_what_some_choice_of_people_does(
            stages in proptest::collection::vec((1_u32..3, any::<bool>(), 0_u8..32), 1..6)
        ) {
            prop_assert_eq!(could(&stages), tried(&stages, 0), "{:?}", stages);
        }
    }
}
