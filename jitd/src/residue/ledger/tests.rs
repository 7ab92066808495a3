use super::super::snapshot::tests::{any_snapshot, place};
use super::*;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn whose(id: &str) -> Whose {
    Whose {
        id: id.to_owned(),
        login: "ann".to_owned(),
        principal: None,
        grant: None,
        gids: BTreeSet::new(),
    }
}

fn with(names: &[u8]) -> Snapshot {
    Snapshot::new(names.iter().map(|name| (place(*name), 1)).collect())
}

fn opened(ledger: &mut Ledger, id: &str) {
    ledger.open(whose(id), at(10), true);
    ledger.let_in(id, true);
}

proptest! {
    #[test]
    fn what_is_left_since_a_look_is_what_the_two_snapshots_differ_in(
        snapshots in prop::collection::vec(any_snapshot(), 2..12), opening in 0usize..11
    ) {
        let opening = opening % (snapshots.len() - 1);
        let mut ledger = Ledger::default();
        for (number, snapshot) in snapshots.iter().enumerate() {
            ledger.saw(snapshot.clone());
            if number == opening {
                opened(&mut ledger, "a");
            }
        }
        ledger.end("a", at(20));
        let left = ledger.compare_ended(true).remove(0).1;
        let expected: Vec<Item> = snapshots[opening]
            .compare(&snapshots[snapshots.len() - 1])
            .into_iter()
            .filter_map(|found| Some(Item { change: change(found.before, found.after)?, place: found.place }))
            .collect();
        prop_assert_eq!(left, Left { items: expected, complete: true });
    }

    #[test]
    fn with_nobody_open_no_change_is_kept(snapshots in prop::collection::vec(any_snapshot(), 1..12)) {
        let mut ledger = Ledger::default();
        for snapshot in snapshots {
            ledger.saw(snapshot);
            prop_assert!(ledger.seen.changes.is_empty());
        }
    }
}

#[test]
fn two_that_overlap_both_list_it_and_one_before_and_one_after_do_not() {
    let mut ledger = Ledger::default();
    ledger.saw(with(&[1]));
    opened(&mut ledger, "before");
    ledger.end("before", at(11));
    ledger.saw(with(&[1]));
    assert!(ledger.compare_ended(true)[0].1.items.is_empty());
    opened(&mut ledger, "a");
    ledger.saw(with(&[1]));
    opened(&mut ledger, "b");
    ledger.saw(with(&[1, 2]));
    opened(&mut ledger, "after");
    for id in ["a", "b", "after"] {
        ledger.end(id, at(20));
    }
    ledger.saw(with(&[1, 2]));
    let told: BTreeMap<String, (usize, bool)> = ledger
        .compare_ended(true)
        .into_iter()
        .map(|(window, left)| {
            (
                window.whose.id.clone(),
                (left.items.len(), window.one_of_several),
            )
        })
        .collect();
    assert_eq!(told["a"], (1, true));
    assert_eq!(told["b"], (1, true));
    assert_eq!(told["after"], (0, true));
    assert_eq!(ledger.compare_ended(true), vec![], "told once");
}

#[test]
fn a_caller_who_was_never_let_in_is_of_no_interest() {
    let mut ledger = Ledger::default();
    ledger.saw(with(&[]));
    ledger.open(whose("a"), at(10), true);
    assert!(!ledger.end("a", at(11)));
    assert!(ledger.windows.is_empty());
}

#[test]
fn a_look_that_came_late_or_failed_or_was_forgotten_makes_the_list_incomplete() {
    let mut ledger = Ledger::default();
    ledger.saw(with(&[]));
    ledger.open(whose("late"), at(10), true);
    ledger.let_in("late", false);
    ledger.open(whose("without"), at(10), false);
    ledger.let_in("without", true);
    ledger.end("late", at(11));
    ledger.end("without", at(11));
    assert!(
        ledger
            .compare_ended(true)
            .iter()
            .all(|(_, left)| !left.complete)
    );
    opened(&mut ledger, "unseen");
    ledger.end("unseen", at(11));
    assert!(!ledger.compare_ended(false)[0].1.complete);
    opened(&mut ledger, "long");
    for mark in 0..=MOST_CHANGES as u64 {
        ledger.saw(Snapshot::new(vec![(place(1), mark)]));
    }
    assert_eq!(ledger.seen.changes.len(), MOST_CHANGES);
    ledger.end("long", at(20));
    assert!(!ledger.compare_ended(true)[0].1.complete);
}

#[test]
fn what_jitd_missed_while_it_was_away_has_ended() {
    let mut ledger = Ledger::default();
    ledger.saw(with(&[]));
    opened(&mut ledger, "gone");
    opened(&mut ledger, "there");
    let kept = serde_json::to_string(&ledger.seen).unwrap();
    ledger.seen = serde_json::from_str(&kept).unwrap();
    ledger.end_others(&BTreeSet::from(["there".to_owned()]), at(20));
    ledger.saw(with(&[3]));
    let told = ledger.compare_ended(true);
    assert_eq!(
        (
            told.len(),
            told[0].0.whose.id.as_str(),
            told[0].1.items.len()
        ),
        (1, "gone", 1)
    );
    assert_eq!(ledger.to_scan().unwrap().1.len(), 1);
}

#[test]
fn a_clock_that_was_set_back_does_not_narrow_the_search() {
    let mut ledger = Ledger::default();
    ledger.saw(with(&[]));
    opened(&mut ledger, "a");
    ledger.end("a", at(5));
    ledger.compare_ended(true);
    assert_eq!(ledger.to_scan().unwrap().0, at(5));
    let window = ledger.close("a").unwrap();
    assert!(
        [5, 7, 10]
            .iter()
            .all(|second| window.holds(at(*second), None))
    );
    assert!(!window.holds(at(4), None) && !window.holds(at(11), None));
}

#[test]
fn a_login_with_groups_waits_for_the_search_alone_and_for_programs_of_its_groups() {
    let mut ledger = Ledger::default();
    ledger.saw(with(&[1]));
    let login = Whose {
        gids: [4].into(),
        ..whose("l")
    };
    ledger.open(login, at(10), true);
    ledger.let_in("l", true);
    opened(&mut ledger, "e");
    assert!(
        !ledger.windows["e"].one_of_several,
        "no login does what it looks for"
    );
    assert!(
        ledger.windows["l"].one_of_several,
        "root could have made such a program"
    );
    assert_eq!(ledger.to_scan(), None);
    ledger.end("l", at(20));
    assert!(!ledger.waits_for_a_look() && ledger.compare_ended(true).is_empty());
    assert_eq!(ledger.to_scan(), Some((at(10), ["l".to_owned()].into())));
    let window = ledger.close("l").unwrap();
    assert!(
        window.holds(at(21), Some(at(15))) && window.holds(at(21), None),
        "a touch after the end hides a program"
    );
    assert!(!window.holds(at(9), None) && !window.holds(at(21), Some(at(21))));
    assert!(window.looks_for(Some(4)) && !window.looks_for(Some(33)) && !window.looks_for(None));
    assert!(ledger.windows["e"].looks_for(None));
}
