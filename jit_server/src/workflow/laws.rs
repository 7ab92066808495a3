//! Laws that hold whatever people do, in whatever order.

mod approval;
mod at_once;
mod attributes;
mod changes;
mod changing;
mod denials;
mod ends;
mod explained;
mod extension;
mod groups;
mod hosts;
mod hours;
mod length;
mod limits;
mod lock;
mod logins;
mod own_hours;
mod removal;
mod request;
mod review;
mod service;
mod size;
mod stages;
mod start;
mod stated;
mod until;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use jit_grant::{Gates, GrantId, Principal, RequestId};
use proptest::prelude::*;

use super::{Ask, Command, GrantState, RequestState, State, WorkflowError, command, lapsed};
use crate::directory::Standing;
use crate::event::{Actor, Entry, Event, Extended, HostEnrolled, UserSet};
use crate::label::Labelled;
use crate::origin::Origin;
use crate::policy::{Policy, check_text};
use crate::text::{Comment, Reason};

const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

const POLICY: &str = r#"
may_lock = { users = ["dave"] }
[roles.one]
hosts = ["web-1", "web-2"]
actions = ["ssh"]
longest = "1h"
extendable = "20m"
extend_without_approval = true
may_ask = { users = ["alice", "bob", "erin"] }
approve = { users = ["bob", "carol", "dave"] }
pending_for = "10m"
start_within = "1h"
[roles.two]
hosts = ["*"]
actions = ["ssh", "sudo"]
longest = "1h"
extendable = "20m"
may_ask = { users = ["alice", "bob", "erin"] }
approve = { users = ["bob", "carol", "dave"], count = 2 }
[roles.auto]
hosts = ["web-2"]
actions = ["ssh"]
longest = "1h"
extendable = "20m"
may_ask = { users = ["alice", "bob", "erin"] }
approve = { auto = true, because = "they can only read logs" }
[roles.glass]
hosts = ["web-1"]
actions = ["ssh", "sudo"]
longest = "1h"
may_ask = { users = ["alice", "bob", "erin"] }
break_glass = true
review = { users = ["bob", "carol", "dave"] }
review_within = "5m"
[roles.staged]
hosts = ["web-1"]
actions = ["ssh"]
longest = "1h"
extendable = "20m"
may_ask = { users = ["alice", "bob", "erin"] }
approve = [
    { users = ["bob", "carol"] },
    { users = ["carol", "dave"], then = [{ after = "2m", users = ["bob"] }] },
    { users = ["bob", "carol", "dave"], same_person_again = true },
]
"#;

fn policy() -> &'static Policy {
    static PARSED: LazyLock<Policy> = LazyLock::new(|| check_text("policy.toml", POLICY).unwrap());
    &PARSED
}

fn begin() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn actor(person: usize) -> Actor {
    PEOPLE.get(person).map_or(Actor::Administrator, |name| {
        Actor::Principal(name.parse().unwrap())
    })
}

fn user(name: &str, login: &str) -> Event {
    Event::UserSet(user_set(name, login))
}

fn user_set(name: &str, login: &str) -> UserSet {
    UserSet::new(name.parse().unwrap(), login.parse().unwrap())
}

/// A history: what happened, and the state after it.
#[derive(Clone, Default)]
struct History {
    state: State,
    entries: Vec<Entry>,
}

impl History {
    /// Everybody known, two hosts enrolled.
    fn new() -> Self {
        let mut history = Self::default();
        for name in PEOPLE {
            history.happened(begin(), &Actor::Administrator, user(name, name));
        }
        for (name, digit) in [("web-1", "1"), ("web-2", "2")] {
            let host_id = format!("h{}", digit.repeat(32)).parse().unwrap();
            let host = HostEnrolled {
                name: name.parse().unwrap(),
                host_id,
                public_key: String::new(),
                labels: Default::default(),
                lapse_seconds: None,
                token: None,
                from: None,
            };
            history.happened(begin(), &Actor::Administrator, Event::HostEnrolled(host));
        }
        history
    }

    fn happened(&mut self, at: Timestamp, actor: &Actor, event: Event) {
        let entry = Entry {
            via: None,
            seq: self.entries.len() as u64 + 1,
            at,
            actor: actor.clone(),
            event,
        };
        self.state.apply(&entry);
        self.entries.push(entry);
    }

    /// The host says that it enforces this, and nothing else.
    fn announces(&mut self, at: Timestamp, host: &str, enforces: &[&str]) {
        let name = host.parse().unwrap();
        let host_id = &self.state.directory.host(&name).unwrap().enrolled.host_id;
        let state = Event::HostState {
            host_id: host_id.clone(),
            name,
            standing: Standing {
                version: "0.1.0".to_owned(),
                gates: Gates::new(),
                enforces: enforces.iter().map(ToString::to_string).collect(),
            },
        };
        self.happened(at, &Actor::Server, state);
    }

    fn wants(
        &mut self,
        now: Timestamp,
        person: usize,
        wanted: Command,
    ) -> Result<(), WorkflowError> {
        self.wants_under(policy(), now, person, wanted)
    }

    fn wants_under(
        &mut self,
        policy: &Policy,
        now: Timestamp,
        person: usize,
        wanted: Command,
    ) -> Result<(), WorkflowError> {
        let actor = actor(person);
        for event in command(&self.state, policy, now, &actor, wanted)? {
            self.happened(now, &event.actor(&actor), event);
        }
        Ok(())
    }

    fn extensions(&self, grant: &GrantId) -> impl Iterator<Item = &Extended> {
        let all = self.entries.iter().filter_map(|entry| match &entry.event {
            Event::Extended(extended) => Some(extended),
            _ => None,
        });
        all.filter(move |extended| extended.grant == *grant)
    }

    fn time_passes(&mut self, now: Timestamp) {
        for event in lapsed(&self.state, now) {
            self.happened(now, &Actor::Server, event);
        }
    }

    fn of(steps: &[(u32, usize, Command)]) -> (Self, Timestamp) {
        let (mut history, mut now) = (Self::new(), begin());
        for (seconds, person, wanted) in steps {
            now = after(now, *seconds);
            history.time_passes(now);
            // A refusal is as good as a success here: the laws are about what happens.
            let _ = history.wants(now, *person, wanted.clone());
        }
        (history, now)
    }
}

fn after(now: Timestamp, seconds: u32) -> Timestamp {
    now + SignedDuration::from_secs(i64::from(seconds))
}

fn ask(role: &str, for_seconds: u32) -> Command {
    Command::Ask(Ask {
        role: role.parse().unwrap(),
        hosts: BTreeSet::new(),
        labels: Labelled::default(),
        for_seconds: Some(for_seconds),
        reason: reason(),
        ticket: None,
        not_before: None,
        origin: Origin::Socket,
    })
}

/// To begin so many seconds after [`begin`].
fn ask_later(role: &str, for_seconds: u32, start: u32) -> Command {
    let Command::Ask(asked) = ask(role, for_seconds) else {
        unreachable!("it asks");
    };
    let not_before = Some(after(begin(), start));
    Command::Ask(Ask {
        not_before,
        ..asked
    })
}

fn approve(request: u64, for_seconds: Option<u32>) -> Command {
    Command::Approve {
        request: request_id(request),
        for_seconds,
        comment: None,
    }
}

fn review(request: u64) -> Command {
    Command::Review {
        request: request_id(request),
        comment: Comment::try_from("he only looked".to_owned()).unwrap(),
    }
}

fn extend(grant: u64, for_seconds: u32) -> Command {
    Command::Extend {
        grant: grant_id(grant),
        for_seconds,
        reason: None,
        origin: Origin::Socket,
    }
}

fn lock(name: &str) -> Command {
    Command::Lock {
        principal: name.parse().unwrap(),
        reason: reason(),
    }
}

fn unlock(name: &str) -> Command {
    Command::Unlock {
        principal: name.parse().unwrap(),
    }
}

fn set_user(name: &str, login: &str) -> Command {
    Command::SetUser(user_set(name, login))
}

/// Whose time ends so many seconds after [`begin`].
fn set_until(name: &str, seconds: u32) -> Command {
    Command::SetUser(UserSet {
        until: Some(after(begin(), seconds)),
        ..user_set(name, name)
    })
}

fn remove_user(name: &str) -> Command {
    Command::RemoveUser {
        name: name.parse().unwrap(),
    }
}

fn reason() -> Reason {
    Reason::try_from("because".to_owned()).unwrap()
}

fn request_id(number: u64) -> RequestId {
    format!("r{number}").parse().unwrap()
}

fn grant_id(number: u64) -> GrantId {
    format!("g{number}").parse().unwrap()
}

fn any_command() -> impl Strategy<Value = Command> {
    let requests = 1..6_u64;
    prop_oneof![
        3 => (prop_oneof![Just("one"), Just("two"), Just("staged"), Just("auto"), Just("glass")], 0..4_000_u32).prop_map(|(role, seconds)| ask(role, seconds)),
        6 => (requests.clone(), proptest::option::of(0..4_000_u32)).prop_map(|(request, seconds)| approve(request, seconds)),
        1 => requests.clone().prop_map(|request| Command::Deny { request: request_id(request), reason: reason() }),
        1 => requests.clone().prop_map(|request| Command::Withdraw { request: request_id(request) }),
        2 => requests.clone().prop_map(review),
        1 => requests.clone().prop_map(|grant| Command::Revoke { grant: grant_id(grant), reason: reason() }),
        1 => requests.clone().prop_map(|grant| Command::Release { grant: grant_id(grant) }),
        4 => (requests, 0..1_500_u32).prop_map(|(grant, seconds)| extend(grant, seconds)),
        1 => (0..PEOPLE.len()).prop_map(|person| lock(PEOPLE[person])),
        1 => (0..PEOPLE.len()).prop_map(|person| unlock(PEOPLE[person])),
        3 => (0..PEOPLE.len()).prop_map(|person| remove_user(PEOPLE[person])),
        3 => (0..PEOPLE.len(), prop::bool::weighted(0.25)).prop_map(|(person, shared)| {
            set_user(PEOPLE[person], if shared { "deploy" } else { PEOPLE[person] })
        }),
    ]
}

/// What somebody wants who may: of wishes made at random few come to a grant, and laws about nothing always hold.
fn likely() -> impl Strategy<Value = (usize, Command)> {
    let asks = prop_oneof![Just(0_usize), Just(1), Just(4)];
    let approves = 1..4_usize;
    let (requests, grants) = (1..4_u64, 1..6_u64);
    let role =
        prop_oneof![2 => Just("one"), 1 => Just("two"), 2 => Just("staged"), 1 => Just("auto")];
    let administers = prop_oneof![
        2 => (0..PEOPLE.len()).prop_map(|person| remove_user(PEOPLE[person])),
        2 => (0..PEOPLE.len()).prop_map(|person| set_user(PEOPLE[person], "deploy")),
        4 => (0..PEOPLE.len()).prop_map(|person| set_user(PEOPLE[person], PEOPLE[person])),
        2 => (0..PEOPLE.len(), 0..6_000_u32).prop_map(|(person, seconds)| set_until(PEOPLE[person], seconds)),
        1 => (0..PEOPLE.len()).prop_map(|person| lock(PEOPLE[person])),
        2 => (0..PEOPLE.len()).prop_map(|person| unlock(PEOPLE[person])),
    ];
    prop_oneof![
        6 => (asks.clone(), role, 600..3_601_u32).prop_map(|(person, role, seconds)| (person, ask(role, seconds))),
        2 => (asks.clone(), 600..3_601_u32, 0..4_000_u32).prop_map(|(person, seconds, start)| (person, ask_later("one", seconds, start))),
        12 => (approves, requests).prop_map(|(person, request)| (person, approve(request, None))),
        2 => (asks.clone(), 60..600_u32).prop_map(|(person, seconds)| (person, ask("glass", seconds))),
        4 => (1..4_usize, 1..4_u64).prop_map(|(person, request)| (person, review(request))),
        2 => (asks.clone(), 1..4_u64).prop_map(|(person, grant)| (person, Command::Release { grant: grant_id(grant) })),
        4 => (asks, grants, 1..1_201_u32).prop_map(|(person, grant, seconds)| (person, extend(grant, seconds))),
        3 => administers.prop_map(|wanted| (PEOPLE.len(), wanted)),
    ]
}

fn any_steps() -> impl Strategy<Value = Vec<(u32, usize, Command)>> {
    let wanted = prop_oneof![
        3 => likely(),
        1 => (0..=PEOPLE.len(), any_command()),
    ];
    let step =
        (0..200_u32, wanted).prop_map(|(seconds, (person, wanted))| (seconds, person, wanted));
    proptest::collection::vec(step, 0..40)
}

/// alice has g1 on web-1 (and g2 on web-2) for 10 minutes.
fn granted(role: &str) -> History {
    let mut history = History::new();
    history.wants(begin(), 0, ask(role, 600)).unwrap();
    history.wants(begin(), 1, approve(1, None)).unwrap();
    if role == "two" {
        history.wants(begin(), 2, approve(1, None)).unwrap();
    }
    history
}
