//! Policies that change at any moment of a history.

use super::*;
use crate::event::Granted;
use crate::policy::Stage;
use crate::workflow::{Given, Request};

/// What `approve` of the role may say at some moment.
const APPROVALS: [&str; 6] = [
    r#"approve = { users = ["bob", "carol"], count = 2 }"#,
    r#"approve = [{ users = ["bob"] }, { users = ["carol", "dave"] }]"#,
    r#"approve = [{ users = ["carol", "dave"] }, { users = ["bob", "carol"], same_person_again = true }]"#,
    r#"approve = [{ users = ["erin"], then = [{ after = "3m", users = ["bob", "carol"] }] }, { users = ["dave"] }]"#,
    r#"approve = { auto = true, because = "they can only read logs" }"#,
    "break_glass = true\nreview = { users = [\"carol\"] }",
];

fn policies() -> &'static [Policy] {
    static PARSED: LazyLock<Vec<Policy>> = LazyLock::new(|| {
        let with = |approve: &str| {
            let text = format!(
                "[roles.staged]\nhosts = [\"web-1\"]\nactions = [\"ssh\"]\nlongest = \"1h\"\nmay_ask = {{ users = [\"alice\", \"bob\", \"erin\"] }}\n{approve}\n"
            );
            check_text("policy.toml", &text).unwrap()
        };
        APPROVALS.map(with).into()
    });
    &PARSED
}

/// The stages, done one after the other by what was given, told without the workflow's own account of it.
fn are_done(stages: &[Stage], request: &Request) -> bool {
    let (mut due, mut given) = (request.asked_at, request.approvals.as_slice());
    let mut before: BTreeSet<&Principal> = BTreeSet::new();
    for (number, stage) in (1..).zip(stages) {
        let mut by: BTreeSet<&Principal> = BTreeSet::new();
        while by.len() < stage.count as usize {
            let Some((first, rest)) = given.split_first() else {
                return false;
            };
            given = rest;
            let is_new = stage.same_person_again || !before.contains(&first.by);
            if first.stage == number && is_new && may(stage, first, due) {
                by.insert(&first.by);
            }
            if by.len() == stage.count as usize {
                due = first.at;
            }
        }
        before.extend(by);
    }
    !stages.is_empty() && !before.contains(&request.asked.principal)
}

fn may(stage: &Stage, given: &Given, due: Timestamp) -> bool {
    let later = stage.later.iter();
    let later = later.filter(|later| given.at >= after(due, later.after_seconds));
    let mut may = [&stage.approvers]
        .into_iter()
        .chain(later.map(|later| &later.approvers));
    may.any(|people| people.users.contains(&given.by))
}

fn any_step() -> impl Strategy<Value = (usize, u32, usize, Command)> {
    let requests = || 1..4_u64;
    let wanted = prop_oneof![
        6 => (prop::sample::select(&[0_usize, 1, 4][..]), 60..600_u32).prop_map(|(person, seconds)| (person, ask("staged", seconds))),
        60 => (1..5_usize, requests()).prop_map(|(person, request)| (person, approve(request, None))),
        1 => (0..5_usize, requests()).prop_map(|(person, request)| (person, review(request))),
        1 => (1..5_usize).prop_map(|person| (PEOPLE.len(), remove_user(PEOPLE[person]))),
        3 => (1..5_usize).prop_map(|person| (PEOPLE.len(), set_user(PEOPLE[person], PEOPLE[person]))),
        1 => (1..5_usize).prop_map(|person| (PEOPLE.len(), lock(PEOPLE[person]))),
        3 => (1..5_usize).prop_map(|person| (PEOPLE.len(), unlock(PEOPLE[person]))),
    ];
    // Changes are rarer than what people do, so that some requests come to a grant.
    let policy = prop_oneof![20 => Just(None), 3 => (0..4_usize).prop_map(Some), 1 => (4..6_usize).prop_map(Some)];
    (policy, 0..120_u32, wanted).prop_map(|(policy, seconds, (person, wanted))| {
        (policy.unwrap_or(APPROVALS.len()), seconds, person, wanted)
    })
}

/// Plays `steps`; gives how many grants came of approvals, and of none.
fn play(steps: Vec<(usize, u32, usize, Command)>) -> Result<(usize, usize), TestCaseError> {
    let (mut history, mut now, mut policy) = (History::new(), begin(), &policies()[1]);
    let (mut approved, mut at_once) = (0, 0);
    for (changed, seconds, person, wanted) in steps {
        policy = policies().get(changed).unwrap_or(policy);
        now = after(now, seconds);
        history.time_passes(now);
        let caller = actor(person);
        let Ok(events) = command(&history.state, policy, now, &caller, wanted) else {
            continue;
        };
        for event in events {
            let granted = match &event {
                Event::Granted(granted) => Some(granted.clone()),
                _ => None,
            };
            history.happened(now, &event.actor(&caller), event);
            let Some(Granted {
                request,
                at_once: none,
                ..
            }) = granted
            else {
                continue;
            };
            let request = history.state.request(&request).unwrap();
            let role = &policy.roles[&request.asked.role];
            prop_assert_eq!(request.state, RequestState::Approved);
            if none.is_some() {
                prop_assert!(role.stages().is_empty() && request.asked_at == now);
                at_once += 1;
            } else {
                prop_assert!(are_done(role.stages(), request), "{:?}", request);
                approved += 1;
            }
        }
    }
    let mut replayed = State::default();
    history
        .entries
        .iter()
        .for_each(|entry| replayed.apply(entry));
    prop_assert_eq!(replayed, history.state);
    Ok((approved, at_once))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_granted_but_by_the_stages_of_the_policy_in_force_whatever_was_before(
        steps in proptest::collection::vec(any_step(), 0..80),
    ) {
        play(steps)?;
    }
}

#[test]
fn such_histories_have_grants_of_both_kinds() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = proptest::collection::vec(any_step(), 0..80);
    let (mut approved, mut at_once) = (0, 0);
    for _ in 0..100 {
        let made = play(steps.new_tree(&mut runner).unwrap().current()).unwrap();
        approved += made.0;
        at_once += made.1;
    }
    assert!(approved > 20 && at_once > 20, "{approved} and {at_once}");
}
