//! Changes that others confirm.

use super::*;
use crate::event::{ChangeConfirmed, ChangeDenied, ChangeDone, ChangeProposed, WantedChange};
use crate::once::Digest;
use crate::policy::Confirmers;
use crate::workflow::{ChangeState, check_confirm, check_deny, pending_change};

const HOLDING: &str = r#"changes_need = { users = ["bob", "carol", "dave"], count = 2 }"#;

fn taken(text: &str) -> Event {
    let policy = check_text("policy.toml", text).unwrap();
    Event::PolicyTaken {
        policy: policy.hash.clone(),
        roles: policy.roles.len(),
        text: Some(policy.text),
        change: None,
    }
}

/// Everybody known, and changes held by [`HOLDING`].
fn held() -> History {
    let mut history = History::new();
    history.happened(begin(), &Actor::Server, taken(HOLDING));
    history
}

fn change(number: u64) -> jit_grant::ChangeId {
    format!("c{number}").parse().unwrap()
}

fn digest(of: u8) -> Digest {
    Digest::of(&[&[of]])
}

/// Erin, whose login the change makes another one each time.
fn proposed(number: u64, now: Timestamp) -> Event {
    Event::ChangeProposed(ChangeProposed {
        change: change(number),
        wanted: WantedChange::of_user(user_set("erin", &format!("erin{number}"))),
        summary: Vec::new(),
        reason: None,
        lapses_at: after(now, 1_000),
        policy: String::new(),
    })
}

fn confirmed(number: u64, by: &str, of: u8) -> Event {
    Event::ChangeConfirmed(ChangeConfirmed {
        change: change(number),
        by: by.parse().unwrap(),
        digest: digest(of),
        comment: None,
        policy: String::new(),
        token: None,
    })
}

fn done(number: u64, of: u8, alone: bool) -> Event {
    Event::ChangeDone(ChangeDone {
        change: change(number),
        digest: digest(of),
        events: 1,
        alone: alone.then(reason),
        policy: String::new(),
    })
}

fn denied(number: u64, by: &str) -> Event {
    Event::ChangeDenied(ChangeDenied {
        change: change(number),
        by: by.parse().unwrap(),
        reason: reason(),
    })
}

/// What may happen to a change, by the rules or by a forged record.
#[derive(Debug, Clone)]
enum Act {
    Propose(u64),
    Confirm(u64, usize, u8),
    Forge(Event, bool),
    Deny(u64, usize),
    Withdraw(u64),
    Administer(Command),
}

fn any_act() -> impl Strategy<Value = Act> {
    let (number, person, of) = (1..4_u64, 0..PEOPLE.len(), 0..2_u8);
    let forged = prop_oneof![
        (1..4_u64, 0..2_u8).prop_map(|(number, of)| done(number, of, false)),
        (1..4_u64, 0..PEOPLE.len(), 0..2_u8).prop_map(|(number, person, of)| confirmed(
            number,
            PEOPLE[person],
            of
        )),
        (1..4_u64).prop_map(|number| user("erin", &format!("erin{number}"))),
        Just(taken("")),
    ];
    prop_oneof![
        4 => number.clone().prop_map(Act::Propose),
        12 => (number.clone(), person.clone(), of).prop_map(|(number, person, of)| Act::Confirm(number, person, of)),
        3 => (forged, any::<bool>()).prop_map(|(event, root)| Act::Forge(event, root)),
        1 => (number.clone(), person.clone()).prop_map(|(number, person)| Act::Deny(number, person)),
        1 => number.prop_map(Act::Withdraw),
        1 => person.clone().prop_map(|person| Act::Administer(lock(PEOPLE[person]))),
        1 => person.clone().prop_map(|person| Act::Administer(unlock(PEOPLE[person]))),
        1 => (0..4_usize).prop_map(|person| Act::Administer(remove_user(PEOPLE[person]))),
    ]
}

fn any_acts() -> impl Strategy<Value = Vec<(u32, Act)>> {
    proptest::collection::vec((0..120_u32, any_act()), 0..40)
}

/// Does it as the server would, where the rules let it.
fn act(history: &mut History, now: Timestamp, act: &Act) {
    let administrator = Actor::Administrator;
    history.time_passes(now);
    match act {
        Act::Propose(number) => history.happened(now, &administrator, proposed(*number, now)),
        Act::Confirm(number, person, of) => {
            let by: Principal = PEOPLE[*person].parse().unwrap();
            let id = change(*number);
            let comes_to = digest(*of);
            let may = check_confirm(&history.state, &id, &by, &comes_to, &comes_to, now);
            let Ok(enough) = may else { return };
            let actor = Actor::Principal(by);
            history.happened(now, &actor, confirmed(*number, PEOPLE[*person], *of));
            if enough {
                history.happened(now, &actor, done(*number, *of, false));
                let erin = user("erin", &format!("erin{number}"));
                history.happened(now, &actor, erin);
            }
        }
        Act::Forge(event, root) => {
            let actor = if *root {
                actor(PEOPLE.len())
            } else {
                Actor::Server
            };
            history.happened(now, &actor, event.clone());
            // Whoever forges one that is confirmed forges what it comes to, or his next event is that.
            if let Event::ChangeDone(done) = event {
                let number = &done.change.as_str()[1..];
                history.happened(now, &actor, user("erin", &format!("erin{number}")));
            }
        }
        Act::Deny(number, person) => {
            let by: Principal = PEOPLE[*person].parse().unwrap();
            if check_deny(&history.state, &change(*number), &by, now).is_ok() {
                history.happened(now, &Actor::Principal(by), denied(*number, PEOPLE[*person]));
            }
        }
        Act::Withdraw(number) => {
            let change = change(*number);
            if pending_change(&history.state, &change, now).is_ok() {
                history.happened(now, &administrator, Event::ChangeWithdrawn { change });
            }
        }
        Act::Administer(wanted) => {
            let _ = history.wants(now, PEOPLE.len(), wanted.clone());
        }
    }
}

/// Who confirmed the change `number`, whatever became of that.
fn confirmers(history: &History, number: u64) -> BTreeSet<&Principal> {
    let given = history
        .entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::ChangeConfirmed(given) if given.change == change(number) => Some(&given.by),
            _ => None,
        });
    given.collect()
}

proptest! {
    #[test]
    fn nothing_changes_without_its_confirmations_and_nobody_counts_twice(acts in any_acts()) {
        let (mut history, mut now) = (held(), begin());
        for (seconds, wanted) in acts {
            now = after(now, seconds);
            let before = history.state.directory.user(&"erin".parse().unwrap()).cloned();
            act(&mut history, now, &wanted);
            let is = history.state.directory.user(&"erin".parse().unwrap());
            if let Some(is) = is.filter(|is| Some(*is) != before.as_ref()) {
                let number: u64 = is.login.as_str()["erin".len()..].parse().unwrap();
                let made = history.state.change(&change(number)).unwrap();
                prop_assert_eq!(made.state, ChangeState::Done);
                let given = confirmers(&history, number);
                prop_assert!(given.len() >= 2, "{:?}", given);
            }
            let confirmers = history.state.confirmers().map(|it: &Confirmers| it.count);
            prop_assert_eq!(confirmers, Some(2), "no forged policy ends it");
        }
    }

    #[test]
    fn no_change_leaves_its_end_and_replay_gives_the_same(acts in any_acts()) {
        let (mut history, mut now) = (held(), begin());
        let mut ended = std::collections::BTreeMap::new();
        for (seconds, wanted) in acts {
            now = after(now, seconds);
            act(&mut history, now, &wanted);
            for change in history.state.changes().filter(|it| it.state != ChangeState::Pending) {
                let first = ended.entry(change.id.clone()).or_insert_with(|| change.clone());
                prop_assert_eq!(&*first, change);
                prop_assert!(change.wanted.is_none());
            }
        }
        let mut replayed = State::default();
        history.entries.iter().for_each(|entry| replayed.apply(entry));
        prop_assert_eq!(replayed, history.state);
    }
}

#[test]
fn whoever_may_confirm_no_more_by_then_does_not_count() {
    for ends in [lock("bob"), remove_user("bob"), set_until("bob", 10)] {
        let mut history = held();
        let administrator = Actor::Administrator;
        history.happened(begin(), &administrator, proposed(1, begin()));
        let bob = Actor::Principal("bob".parse().unwrap());
        history.happened(begin(), &bob, confirmed(1, "bob", 0));
        // That bob's time ends is a change, too: root alone makes it.
        if let Command::SetUser(_) = &ends {
            history.happened(begin(), &administrator, proposed(2, begin()));
            history.happened(begin(), &administrator, done(2, 0, true));
        }
        history.wants(begin(), PEOPLE.len(), ends).unwrap();
        let now = after(begin(), 20);
        let by = "carol".parse().unwrap();
        let enough = check_confirm(&history.state, &change(1), &by, &digest(0), &digest(0), now);
        assert_eq!(enough, Ok(false));
        history.happened(now, &Actor::Server, confirmed(1, "carol", 0));
        history.happened(now, &Actor::Server, done(1, 0, false));
        let stands = history.state.change(&change(1)).unwrap().state;
        assert_eq!(stands, ChangeState::Pending, "nor in a forged record");
    }
}

#[test]
fn a_confirmation_of_what_it_does_not_come_to_any_more_does_not_count_and_may_be_given_anew() {
    let mut history = held();
    history.happened(begin(), &Actor::Administrator, proposed(1, begin()));
    history.happened(begin(), &Actor::Server, confirmed(1, "bob", 0));
    let confirms = |history: &History, by: &str, shown: u8| {
        let by = by.parse().unwrap();
        check_confirm(
            &history.state,
            &change(1),
            &by,
            &digest(1),
            &digest(shown),
            begin(),
        )
    };
    assert_eq!(confirms(&history, "carol", 1), Ok(false));
    assert_eq!(
        confirms(&history, "carol", 0),
        Err(WorkflowError::ChangeMoved(change(1)))
    );
    assert_eq!(confirms(&history, "bob", 1), Ok(false));
    history.happened(begin(), &Actor::Server, confirmed(1, "bob", 1));
    assert_eq!(
        confirms(&history, "bob", 1),
        Err(WorkflowError::ConfirmedAlready(change(1)))
    );
    assert_eq!(confirms(&history, "carol", 1), Ok(true));
    assert_eq!(history.state.change(&change(1)).unwrap().confirmed.len(), 1);
}

#[test]
fn nobody_but_root_makes_a_change_alone_and_a_change_gives_its_number_of_events_alone() {
    let mut history = held();
    history.happened(begin(), &Actor::Administrator, proposed(1, begin()));
    let erin: Principal = "erin".parse().unwrap();
    let login = |history: &History| {
        history
            .state
            .directory
            .user(&erin)
            .unwrap()
            .login
            .to_string()
    };
    history.happened(begin(), &Actor::Principal(erin.clone()), done(1, 0, true));
    history.happened(begin(), &Actor::Administrator, user("erin", "erin1"));
    assert_eq!(login(&history), "erin");
    history.happened(begin(), &Actor::Administrator, done(1, 0, true));
    history.happened(begin(), &Actor::Administrator, user("erin", "erin1"));
    assert_eq!(login(&history), "erin1");
    history.happened(begin(), &Actor::Administrator, user("erin", "erin2"));
    assert_eq!(login(&history), "erin1");
    let end = history
        .state
        .change(&change(1))
        .unwrap()
        .ended
        .clone()
        .unwrap();
    assert!(end.alone);
}

#[test]
fn what_is_not_confirmed_in_time_lapses() {
    let mut history = held();
    history.happened(begin(), &Actor::Administrator, proposed(1, begin()));
    let late = after(begin(), 1_000);
    let by = "bob".parse().unwrap();
    let refused = check_confirm(
        &history.state,
        &change(1),
        &by,
        &digest(0),
        &digest(0),
        late,
    );
    let state = ChangeState::Lapsed;
    let change = change(1);
    assert_eq!(
        refused,
        Err(WorkflowError::ChangeEnded {
            change: change.clone(),
            state
        })
    );
    history.time_passes(late);
    assert_eq!(history.state.change(&change).unwrap().state, state);
}

#[test]
fn a_policy_on_record_that_cant_be_read_lets_nobody_do_anything() {
    let mut history = History::new();
    let text = "changes_need = { users = [\"bob\"] }\nfrom_a_later_version = true\n".to_owned();
    let event = Event::PolicyTaken {
        policy: "0".repeat(64),
        roles: 0,
        text: Some(text),
        change: None,
    };
    history.happened(begin(), &Actor::Server, event);
    let on_record = history.state.policy_on_record().unwrap();
    assert!(!on_record.mistakes.is_empty() && on_record.policy.holds_changes());
    assert!(on_record.policy.roles.is_empty());
    let bob = "bob".parse().unwrap();
    assert!(!history.state.may_confirm(&bob, begin()));
    history.happened(begin(), &Actor::Administrator, user("erin", "root2"));
    let erin = history.state.directory.user(&"erin".parse().unwrap());
    assert_eq!(erin.unwrap().login.as_str(), "erin");
}

/// A record in which changes were confirmed under a policy, to which `line` is added, and under one after that without `changes_need`.
fn across(line: &str) -> State {
    let text_taken = |text: String| Event::PolicyTaken {
        policy: "0".repeat(64),
        roles: 0,
        text: Some(text),
        change: None,
    };
    let (bob, root) = (
        Actor::Principal("bob".parse().unwrap()),
        Actor::Administrator,
    );
    let mut history = History::new();
    let happened = &mut |by: &Actor, event| history.happened(begin(), by, event);
    happened(&Actor::Server, text_taken(format!("{HOLDING}\n{line}")));
    for number in [1, 2] {
        happened(&root, proposed(number, begin()));
        happened(&bob, confirmed(number, "bob", 0));
        happened(&bob, confirmed(number, "carol", 0));
        happened(&bob, done(number, 0, false));
        if number == 1 {
            happened(&bob, user("erin", "erin1"));
        }
    }
    happened(&bob, text_taken(line.to_owned()));
    happened(&root, user("dave", "dave1"));
    history.state
}

#[test]
fn replay_across_a_policy_that_cant_be_read_gives_the_same_users() {
    let (read, unread) = (across(""), across("from_another_version = true\n"));
    assert!(!read.policy_is_unreadable() && unread.policy_is_unreadable());
    let users = |state: &State| state.directory.users().cloned().collect::<Vec<_>>();
    let login = |name: &str| {
        let user = read.directory.user(&name.parse().unwrap());
        user.unwrap().login.to_string()
    };
    assert_eq!(
        (login("erin"), login("dave")),
        ("erin1".into(), "dave1".into())
    );
    assert_eq!(users(&read), users(&unread));
    assert!(unread.changes().all(|it| it.state == ChangeState::Done));
    // What nobody did by it is not believed for that, and nobody confirms here.
    let mut history = History::new();
    let text = format!("{HOLDING}\nfrom_another_version = true\n");
    let taken = Event::PolicyTaken {
        policy: "0".repeat(64),
        roles: 0,
        text: Some(text),
        change: None,
    };
    history.happened(begin(), &Actor::Server, taken);
    history.happened(begin(), &Actor::Administrator, user("erin", "root2"));
    history.happened(begin(), &Actor::Administrator, proposed(1, begin()));
    let by = "bob".parse().unwrap();
    let refused = check_confirm(
        &history.state,
        &change(1),
        &by,
        &digest(0),
        &digest(0),
        begin(),
    );
    assert_eq!(refused, Err(WorkflowError::MayNotConfirm(by)));
    let erin = history.state.directory.user(&"erin".parse().unwrap());
    assert_eq!(erin.unwrap().login.as_str(), "erin");
}
