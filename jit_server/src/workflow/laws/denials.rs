//! What a denial fits is neither given nor extended, whatever roles say.

use std::cell::RefCell;

use proptest::test_runner::TestRunner;

use super::*;
use crate::event::{Granted, Service};
use crate::policy::PolicyRefusal;

/// What is given to whom where, as the law looks at it.
struct Given<'a> {
    principal: &'a str,
    is_contractor: bool,
    host: &'a str,
    is_prod: bool,
    opens_sudo: bool,
}

/// A denial as the policy says it and, without the policy's own account of it, what it is against.
type Denying = (&'static str, fn(&Given<'_>) -> bool);

const DENIALS: [Denying; 4] = [
    (
        "people = { groups = [\"contractors\"] }\nlabels = { env = \"prod\" }",
        |given| given.is_contractor && given.is_prod,
    ),
    (
        "except = { users = [\"erin\"] }\nhosts = [\"web-2\"]",
        |given| given.principal != "erin" && given.host == "web-2",
    ),
    (
        "except = { groups = [\"contractors\"] }\nhosts = [\"*-1\"]\nactions = [\"sudo\", \"su\"]",
        |given| !given.is_contractor && given.host == "web-1" && given.opens_sudo,
    ),
    (
        "people = { users = [\"alice\", \"bob\"] }\nexcept = { users = [\"bob\"] }\nhosts = [\"*\"]",
        |given| given.principal == "alice",
    ),
];

/// [`POLICY`] with the denials whose bits are set.
fn with(denials: usize) -> &'static Policy {
    static PARSED: LazyLock<Vec<Policy>> = LazyLock::new(|| {
        let one = |number: usize| {
            let (said, _) = DENIALS[number];
            format!("[denials.d{number}]\nbecause = \"nobody needs it\"\n{said}\n")
        };
        let some = |denials: usize| {
            let said = (0..DENIALS.len()).filter(|number| denials & (1 << number) != 0);
            POLICY.to_owned() + &said.map(one).collect::<String>()
        };
        let all = (0..1 << DENIALS.len()).map(some);
        all.map(|text| check_text("policy.toml", &text).unwrap())
            .collect()
    });
    &PARSED[denials]
}

fn label(history: &mut History, now: Timestamp, host: &str, labels: &str) {
    let event = Event::HostLabelled {
        name: host.parse().unwrap(),
        labels: serde_json::from_str(labels).unwrap(),
    };
    history.happened(now, &Actor::Administrator, event);
}

fn contractor(name: &str) -> UserSet {
    UserSet {
        groups: BTreeSet::from(["contractors".parse().unwrap()]),
        ..user_set(name, name)
    }
}

/// What changes beside what people do.
#[derive(Debug, Clone)]
enum Turn {
    None,
    Labelled(&'static str, &'static str),
    Contractor(&'static str),
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let hosts = prop::sample::select(&["web-1", "web-2"][..]);
    let labels = prop::sample::select(&["{}", r#"{"env":"prod"}"#][..]);
    let people = prop::sample::select(&["alice", "bob", "erin"][..]);
    prop_oneof![
        10 => Just(Turn::None),
        1 => (hosts, labels).prop_map(|(host, labels)| Turn::Labelled(host, labels)),
        2 => people.prop_map(Turn::Contractor),
    ]
}

/// What the event gives, to whom and where: as the state before it has people and hosts.
fn given(history: &History, event: &Event) -> Vec<(String, String, bool)> {
    let asked = |id: &RequestId| history.state.request(id).unwrap().asked.clone();
    let sudo = |id: &RequestId| asked(id).actions.contains(&jit_grant::Action::Sudo);
    match event {
        Event::Granted(Granted {
            request, grants, ..
        }) => {
            let asked = asked(request);
            let grants = grants.iter().map(|grant| grant.host.to_string());
            grants
                .map(|host| (asked.principal.to_string(), host, sudo(request)))
                .collect()
        }
        Event::Extended(extended) => {
            let grant = history.state.grant(&extended.grant).unwrap();
            let (principal, host) = (grant.principal.to_string(), grant.host.to_string());
            vec![(principal, host, sudo(&grant.request))]
        }
        _ => Vec::new(),
    }
}

/// Does what `person` wants under the policy with `denials`. How much was given by it, in grants and in extensions, and whether a denial
/// refused it.
fn step(
    history: &mut History,
    denials: usize,
    now: Timestamp,
    person: usize,
    wanted: Command,
) -> Result<(usize, usize, bool), TestCaseError> {
    let who = actor(person);
    let events = match command(&history.state, with(denials), now, &who, wanted) {
        Ok(events) => events,
        Err(refused) => return Ok((0, 0, refused.code().0 == "denied-by-policy")),
    };
    let mut came = (0, 0, false);
    for event in events {
        for (principal, host, opens_sudo) in given(history, &event) {
            let directory = &history.state.directory;
            let user = directory.user(&principal.parse().unwrap()).unwrap();
            let labels = &directory
                .host(&host.parse().unwrap())
                .unwrap()
                .enrolled
                .labels;
            let given = Given {
                principal: &principal,
                is_contractor: !user.groups.is_empty(),
                host: &host,
                is_prod: !labels.is_empty(),
                opens_sudo,
            };
            for (number, (said, denies)) in DENIALS.iter().enumerate() {
                let fits = denials & (1 << number) != 0 && denies(&given);
                prop_assert!(!fits, "{} has {} in spite of {}", principal, host, said);
            }
            match event {
                Event::Granted(_) => came.0 += 1,
                _ => came.1 += 1,
            }
        }
        history.happened(now, &event.actor(&who), event);
    }
    Ok(came)
}

#[test]
fn no_grant_is_made_or_extended_that_a_denial_fits_however_denials_people_and_labels_change() {
    let denials = prop_oneof![3 => Just(0), 2 => 0..1_usize << DENIALS.len()];
    let likely = prop_oneof![3 => likely(), 1 => (0..=PEOPLE.len(), any_command())];
    let steps = proptest::collection::vec((denials, any_turn(), 0..120_u32, likely), 0..40);
    let came = RefCell::new((0, 0, 0));
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(512)
    };
    let held = TestRunner::new(config).run(&steps, |steps| {
        let (mut history, mut now) = (History::new(), begin());
        for (denials, turn, seconds, (person, wanted)) in steps {
            now = after(now, seconds);
            history.time_passes(now);
            match turn {
                Turn::None => {}
                Turn::Labelled(host, labels) => label(&mut history, now, host, labels),
                Turn::Contractor(name) => {
                    let set = Command::SetUser(contractor(name));
                    let _ = history.wants(now, PEOPLE.len(), set);
                }
            }
            let (grants, extensions, denied) = step(&mut history, denials, now, person, wanted)?;
            let mut came = came.borrow_mut();
            came.0 += grants;
            came.1 += extensions;
            came.2 += usize::from(denied);
        }
        Ok(())
    });
    held.unwrap();
    // A law about nothing always holds.
    let (grants, extensions, denied) = came.into_inner();
    assert!(
        grants > 200 && extensions > 3 && denied > 100,
        "{grants} grants, {extensions} extensions, {denied} denied"
    );
}

/// What came of it under [`POLICY`] and one denial.
fn under(
    history: &mut History,
    denial: &str,
    person: usize,
    wanted: Command,
) -> Result<(), WorkflowError> {
    let text = format!(
        "{POLICY}[denials.card-data]\nbecause = \"card data is for employees\"\n{denial}\n"
    );
    let policy = check_text("policy.toml", &text).unwrap();
    history.wants_under(&policy, begin(), person, wanted)
}

fn code(came: Result<(), WorkflowError>) -> &'static str {
    came.map_or_else(|refused| refused.code().0, |()| "taken")
}

#[test]
fn a_denial_wins_over_every_role_of_whoever_approves_and_of_nobody() {
    let denial = "hosts = [\"*\"]\nexcept = { users = [\"erin\"] }";
    for role in ["one", "two", "staged", "auto", "glass"] {
        let mut history = History::new();
        let came = under(&mut history, denial, 0, ask(role, 60));
        assert_eq!(code(came), "denied-by-policy", "{role}");
        assert_eq!(history.state.requests().count(), 0);
        assert_eq!(
            code(under(&mut history, denial, 4, ask(role, 60))),
            "taken",
            "{role}"
        );
    }
}

#[test]
fn one_denied_host_of_several_refuses_the_request_and_is_named_with_the_grounds() {
    let mut history = History::new();
    let denial = "labels = { env = \"pci\" }";
    label(&mut history, begin(), "web-2", r#"{"env":"pci"}"#);
    let refused = under(&mut history, denial, 0, ask("one", 60)).unwrap_err();
    assert!(
        matches!(
            &refused,
            WorkflowError::Policy(PolicyRefusal::Denied { host, .. }) if host.as_str() == "web-2"
        ),
        "{refused:?}"
    );
    let told = refused.to_string();
    for said in ["card-data", "web-2", "card data is for employees"] {
        assert!(told.contains(said), "{said:?} is not in {told}");
    }
    let Command::Ask(asked) = ask("one", 60) else {
        unreachable!("it asks");
    };
    let hosts = BTreeSet::from(["web-1".parse().unwrap()]);
    let other = Command::Ask(Ask { hosts, ..asked });
    assert_eq!(code(under(&mut history, denial, 0, other)), "taken");
}

#[test]
fn a_denial_of_sudo_leaves_roles_that_open_none() {
    let denial = "hosts = [\"web-1\"]\nactions = [\"sudo\", \"su\"]";
    let mut history = History::new();
    let came = under(&mut history, denial, 0, ask("two", 60));
    assert_eq!(code(came), "denied-by-policy");
    let came = under(&mut history, denial, 0, ask("one", 60));
    assert_eq!(code(came), "taken");
}

#[test]
fn a_service_account_is_denied_by_its_groups() {
    let mut history = History::new();
    let service = UserSet {
        service: Some(Service::default()),
        ..contractor("alice")
    };
    history.happened(begin(), &Actor::Administrator, Event::UserSet(service));
    let denial = "hosts = [\"web-2\"]\npeople = { groups = [\"contractors\"] }";
    let came = under(&mut history, denial, 0, ask("auto", 60));
    assert_eq!(code(came), "denied-by-policy");
}

#[test]
fn a_request_is_judged_again_by_the_denials_groups_and_labels_when_it_is_approved() {
    let denial = "labels = { env = \"pci\" }\npeople = { groups = [\"contractors\"] }";
    let mut history = History::new();
    label(&mut history, begin(), "web-1", r#"{"env":"pci"}"#);
    let asked = under(&mut history, denial, 0, ask("one", 60));
    assert_eq!(code(asked), "taken");
    let changed = Command::SetUser(contractor("alice"));
    history.wants(begin(), PEOPLE.len(), changed).unwrap();
    let came = under(&mut history, denial, 1, approve(1, None));
    assert_eq!(code(came), "denied-by-policy");
    label(&mut history, begin(), "web-1", "{}");
    let came = under(&mut history, denial, 1, approve(1, None));
    assert_eq!(code(came), "taken");
}

#[test]
fn a_grant_goes_on_where_a_denial_is_added_but_is_not_extended() {
    let mut history = granted("one");
    let denial = "hosts = [\"web-1\"]";
    let came = under(&mut history, denial, 0, extend(1, 60));
    assert_eq!(code(came), "denied-by-policy");
    let grant = history.state.grant(&grant_id(1)).unwrap();
    assert_eq!(grant.state(begin()), GrantState::Active);
    let mut history = granted("two");
    history.wants(begin(), 0, extend(1, 60)).unwrap();
    let came = under(&mut history, denial, 1, approve(2, None));
    assert_eq!(code(came), "denied-by-policy", "asked before it was denied");
}
