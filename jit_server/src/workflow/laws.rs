//! Laws that hold whatever people do, in whatever order.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use jit_grant::{GrantId, Principal, RequestId};
use proptest::prelude::*;

use super::{Ask, Command, GrantState, RequestState, State, WorkflowError, command, lapsed};
use crate::event::{Actor, Entry, Event, Extended, HostEnrolled, UserSet};
use crate::policy::{Policy, check_text};
use crate::text::Reason;

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
[roles.two]
hosts = ["*"]
actions = ["ssh", "sudo"]
longest = "1h"
extendable = "20m"
may_ask = { users = ["alice", "bob", "erin"] }
approve = { users = ["bob", "carol", "dave"], count = 2 }
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
    Event::UserSet(UserSet {
        name: name.parse().unwrap(),
        login: login.parse().unwrap(),
        groups: BTreeSet::new(),
        keys: BTreeSet::new(),
    })
}

/// A history: what happened, and the state after it.
#[derive(Default)]
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
            seq: self.entries.len() as u64 + 1,
            at,
            actor: actor.clone(),
            event,
        };
        self.state.apply(&entry);
        self.entries.push(entry);
    }

    fn wants(
        &mut self,
        now: Timestamp,
        person: usize,
        wanted: Command,
    ) -> Result<(), WorkflowError> {
        let actor = actor(person);
        for event in command(&self.state, policy(), now, &actor, wanted)? {
            self.happened(now, &actor, event);
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
        for_seconds,
        reason: reason(),
        ticket: None,
    })
}

fn approve(request: u64, for_seconds: Option<u32>) -> Command {
    Command::Approve {
        request: request_id(request),
        for_seconds,
        comment: None,
    }
}

fn extend(grant: u64, for_seconds: u32) -> Command {
    Command::Extend {
        grant: grant_id(grant),
        for_seconds,
        reason: None,
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
        3 => (prop_oneof![Just("one"), Just("two")], 0..4_000_u32).prop_map(|(role, seconds)| ask(role, seconds)),
        6 => (requests.clone(), proptest::option::of(0..4_000_u32)).prop_map(|(request, seconds)| approve(request, seconds)),
        1 => requests.clone().prop_map(|request| Command::Deny { request: request_id(request), reason: reason() }),
        1 => requests.clone().prop_map(|request| Command::Withdraw { request: request_id(request) }),
        1 => requests.clone().prop_map(|grant| Command::Revoke { grant: grant_id(grant), reason: reason() }),
        1 => requests.clone().prop_map(|grant| Command::Release { grant: grant_id(grant) }),
        4 => (requests, 0..1_500_u32).prop_map(|(grant, seconds)| extend(grant, seconds)),
        1 => (0..PEOPLE.len()).prop_map(|person| lock(PEOPLE[person])),
        1 => (0..PEOPLE.len()).prop_map(|person| Command::Unlock { principal: PEOPLE[person].parse().unwrap() }),
    ]
}

fn any_steps() -> impl Strategy<Value = Vec<(u32, usize, Command)>> {
    proptest::collection::vec((0..400_u32, 0..=PEOPLE.len(), any_command()), 0..40)
}

proptest! {
    #[test]
    fn no_grant_without_the_approvals_its_role_needs(steps in any_steps()) {
        let (history, _) = History::of(&steps);
        let policy = policy();
        for grant in history.state.grants() {
            let request = history.state.request(&grant.request).unwrap();
            let rule = &policy.roles[&grant.role];
            let by: BTreeSet<&Principal> = request.approvals.iter().map(|given| &given.by).collect();
            prop_assert_eq!(by.len(), request.approvals.len(), "nobody counts twice");
            prop_assert!(by.len() >= rule.count as usize);
            prop_assert!(!by.contains(&grant.principal), "nobody approves his own");
            prop_assert!(by.iter().all(|by| rule.approvers.users.contains(by)));
            prop_assert!(request.state == RequestState::Approved);
        }
    }

    #[test]
    fn no_grant_is_longer_than_what_was_asked_and_each_approver_allowed(steps in any_steps()) {
        let (history, _) = History::of(&steps);
        for grant in history.state.grants() {
            let request = history.state.request(&grant.request).unwrap();
            let more: i64 = history.extensions(&grant.id).map(|by| i64::from(by.for_seconds)).sum();
            let lasts = grant.expires.duration_since(grant.not_before).as_secs() - more;
            prop_assert!(lasts > 0 && lasts <= i64::from(request.asked.for_seconds));
            prop_assert!(request.approvals.iter().all(|given| lasts <= i64::from(given.for_seconds)));
            prop_assert!(request.asked.for_seconds <= 3_600);
        }
    }

    #[test]
    fn there_is_no_way_out_of_an_end_state(steps in any_steps(), more in any_steps()) {
        let (mut history, mut now) = History::of(&steps);
        let before = history.state.clone();
        for (seconds, person, wanted) in more {
            now = after(now, seconds);
            history.time_passes(now);
            let _ = history.wants(now, person, wanted);
        }
        for request in before.requests().filter(|request| request.state != RequestState::Pending) {
            let later = history.state.request(&request.asked.request).unwrap();
            prop_assert_eq!(later.state, request.state);
            prop_assert_eq!(&later.grants, &request.grants);
            prop_assert_eq!(&later.approvals, &request.approvals);
        }
        for grant in before.grants().filter(|grant| grant.ended.is_some()) {
            let later = history.state.grant(&grant.id).unwrap();
            prop_assert_eq!(later, grant, "a revocation is final");
            prop_assert!(!later.is_live(now));
        }
    }

    #[test]
    fn replay_gives_the_same_state(steps in any_steps()) {
        let (history, _) = History::of(&steps);
        let mut replayed = State::default();
        for entry in &history.entries {
            let kept = serde_json::to_string(entry).unwrap();
            replayed.apply(&serde_json::from_str(&kept).unwrap());
        }
        prop_assert_eq!(replayed, history.state);
    }

    #[test]
    fn a_record_with_events_out_of_place_opens_nothing(steps in any_steps(), gone in any::<prop::sample::Index>()) {
        let (history, now) = History::of(&steps);
        let gone = gone.index(history.entries.len());
        let mut replayed = State::default();
        let kept = history.entries.iter().enumerate().filter(|(place, _)| *place != gone);
        kept.for_each(|(_, entry)| replayed.apply(entry));
        for grant in replayed.live_grants(now) {
            let same = history.state.grant(&grant.id);
            prop_assert!(same.is_some_and(|same| same.expires >= grant.expires && same.principal == grant.principal));
        }
    }

    #[test]
    fn extensions_never_pass_the_limit_of_the_role(steps in any_steps()) {
        let (history, _) = History::of(&steps);
        for grant in history.state.grants() {
            prop_assert!(grant.expires.duration_since(grant.not_before).as_secs() <= 3_600);
            for by in history.extensions(&grant.id) {
                prop_assert!(by.for_seconds <= 1_200);
                let needed = &policy().roles[&grant.role];
                let approved = by.request.as_ref().map(|id| history.state.request(id).unwrap());
                prop_assert_eq!(approved.is_none(), needed.extension.unwrap().without_approval);
                if let Some(request) = approved {
                    prop_assert!(request.approvals.len() >= needed.count as usize);
                    prop_assert!(request.approvals.iter().all(|given| given.by != grant.principal));
                    prop_assert!(request.approvals.iter().all(|given| given.for_seconds >= by.for_seconds));
                }
            }
        }
    }

    #[test]
    fn an_extension_revives_nothing(steps in any_steps()) {
        let mut history = History::new();
        let mut now = begin();
        for (seconds, person, wanted) in steps {
            now = after(now, seconds);
            history.time_passes(now);
            let over: Vec<_> = history.state.grants().filter(|grant| !grant.is_live(now)).cloned().collect();
            let _ = history.wants(now, person, wanted);
            for grant in over {
                prop_assert_eq!(history.state.grant(&grant.id), Some(&grant));
            }
        }
    }

    #[test]
    fn whoever_is_locked_has_nothing_and_gets_nothing_and_nothing_comes_back(steps in any_steps()) {
        let mut history = History::new();
        let mut now = begin();
        for (seconds, person, wanted) in steps {
            now = after(now, seconds);
            history.time_passes(now);
            let before: BTreeSet<GrantId> = history.state.live_grants(now).map(|grant| grant.id.clone()).collect();
            let unlocks = matches!(wanted, Command::Unlock { .. });
            let _ = history.wants(now, person, wanted);
            let live: Vec<_> = history.state.live_grants(now).collect();
            prop_assert!(!unlocks || live.iter().all(|grant| before.contains(&grant.id)));
            let locked = |name: &Principal| history.state.lock(name).is_some();
            prop_assert!(live.iter().all(|grant| !locked(&grant.principal)));
            for request in history.state.pending() {
                prop_assert!(!locked(&request.asked.principal));
                prop_assert!(request.approvals.iter().all(|given| !locked(&given.by)));
            }
        }
    }
}

#[test]
fn a_request_needs_its_approvals_and_then_opens_every_host_asked_for() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("two", 600)).unwrap();
    history.wants(begin(), 1, approve(1, Some(300))).unwrap();
    assert_eq!(history.state.grants().count(), 0);
    assert_eq!(
        history.wants(begin(), 1, approve(1, None)),
        Err(WorkflowError::AlreadyApproved(request_id(1)))
    );
    history.wants(begin(), 2, approve(1, None)).unwrap();
    let grants: Vec<_> = history.state.grants().collect();
    assert_eq!(
        grants
            .iter()
            .map(|grant| grant.host.as_str())
            .collect::<Vec<_>>(),
        ["web-1", "web-2"]
    );
    assert!(
        grants
            .iter()
            .all(|grant| grant.expires == after(begin(), 300))
    );
}

#[test]
fn nobody_approves_his_own_request() {
    let mut history = History::new();
    history.wants(begin(), 1, ask("one", 600)).unwrap();
    assert_eq!(
        history.wants(begin(), 1, approve(1, None)),
        Err(WorkflowError::OwnRequest(request_id(1)))
    );
}

#[test]
fn the_administrator_is_no_principal() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    let administrator = PEOPLE.len();
    assert!(matches!(
        history.wants(begin(), administrator, approve(1, None)),
        Err(WorkflowError::NoUser(_))
    ));
    assert!(matches!(
        history.wants(begin(), administrator, ask("one", 600)),
        Err(WorkflowError::NoUser(_))
    ));
}

#[test]
fn an_undecided_request_lapses_at_its_time_whether_that_is_recorded_yet_or_not() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    let late = after(begin(), 600);
    let refused = history.wants(late, 2, approve(1, None));
    assert_eq!(
        refused,
        Err(WorkflowError::NotPending {
            request: request_id(1),
            state: RequestState::Lapsed
        })
    );
    history.time_passes(late);
    assert_eq!(
        history.state.request(&request_id(1)).unwrap().state,
        RequestState::Lapsed
    );
}

#[test]
fn there_is_one_open_request_a_login_role_and_host() {
    let mut history = History::new();
    history.happened(begin(), &Actor::Administrator, user("erin", "alice"));
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    assert!(matches!(
        history.wants(begin(), 0, ask("one", 300)),
        Err(WorkflowError::SameOpen { .. })
    ));
    assert!(
        matches!(
            history.wants(begin(), 4, ask("one", 300)),
            Err(WorkflowError::SameOpen { .. })
        ),
        "the login is the same"
    );
    history.wants(begin(), 0, ask("two", 300)).unwrap();
    history
        .wants(
            begin(),
            0,
            Command::Withdraw {
                request: request_id(1),
            },
        )
        .unwrap();
    history.wants(begin(), 4, ask("one", 300)).unwrap();
}

#[test]
fn an_approval_by_somebody_who_may_no_longer_approve_does_not_count() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("two", 600)).unwrap();
    history.wants(begin(), 1, approve(1, None)).unwrap();
    let without_bob = POLICY.replace(
        r#"["bob", "carol", "dave"], count = 2"#,
        r#"["carol", "dave"], count = 2"#,
    );
    let policy = check_text("policy.toml", &without_bob).unwrap();
    let events = command(
        &history.state,
        &policy,
        begin(),
        &actor(2),
        approve(1, None),
    )
    .unwrap();
    assert!(matches!(events.as_slice(), [Event::Approved(_)]));
}

#[test]
fn a_request_that_the_policy_no_longer_covers_can_not_be_approved() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 3_000)).unwrap();
    for changed in [
        POLICY.replace("longest = \"1h\"", "longest = \"10m\""),
        POLICY.replace(r#"["alice", "bob", "erin"]"#, r#"["erin"]"#),
    ] {
        let policy = check_text("policy.toml", &changed).unwrap();
        assert!(matches!(
            command(
                &history.state,
                &policy,
                begin(),
                &actor(2),
                approve(1, None)
            ),
            Err(WorkflowError::Policy(_))
        ));
    }
}

#[test]
fn a_changed_login_needs_a_new_request() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    history.happened(begin(), &Actor::Administrator, user("alice", "other"));
    assert!(matches!(
        history.wants(begin(), 2, approve(1, None)),
        Err(WorkflowError::LoginChanged(_))
    ));
}

#[test]
fn revoking_and_releasing_end_a_grant_once() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    history.wants(begin(), 2, approve(1, None)).unwrap();
    let revoke = |number| Command::Revoke {
        grant: grant_id(number),
        reason: reason(),
    };
    let release = |number| Command::Release {
        grant: grant_id(number),
    };
    assert!(matches!(
        history.wants(begin(), 4, revoke(1)),
        Err(WorkflowError::MayNotRevoke(_))
    ));
    assert!(matches!(
        history.wants(begin(), 4, release(1)),
        Err(WorkflowError::NotYours(_))
    ));
    history.wants(begin(), PEOPLE.len(), revoke(1)).unwrap();
    history.wants(begin(), 0, release(2)).unwrap();
    let states: Vec<_> = history
        .state
        .grants()
        .map(|grant| grant.state(begin()))
        .collect();
    assert_eq!(states, [GrantState::Revoked, GrantState::Released]);
    assert!(matches!(
        history.wants(begin(), 0, release(1)),
        Err(WorkflowError::GrantEnded(_))
    ));
}

#[test]
fn one_person_can_not_fill_the_queue() {
    let mut history = History::new();
    for number in 0..20 {
        // Each open request is of another login, so that only their number counts.
        history.happened(
            begin(),
            &Actor::Administrator,
            user("alice", &format!("a{number}")),
        );
        history.wants(begin(), 0, ask("two", 60)).unwrap();
    }
    history.happened(begin(), &Actor::Administrator, user("alice", "alice"));
    assert_eq!(
        history.wants(begin(), 0, ask("two", 60)),
        Err(WorkflowError::TooManyOpen(20))
    );
    history.wants(begin(), 4, ask("two", 60)).unwrap();
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

#[test]
fn an_extension_without_approval_counts_at_once_and_stops_at_the_role_s_longest() {
    let mut history = granted("one");
    for _ in 0..2 {
        history.wants(begin(), 0, extend(1, 1_200)).unwrap();
    }
    let expires = |history: &History| history.state.grant(&grant_id(1)).unwrap().expires;
    assert_eq!(expires(&history), after(begin(), 3_000));
    assert_eq!(
        history.wants(begin(), 0, extend(1, 1_200)),
        Err(WorkflowError::PastLimit {
            grant: grant_id(1),
            left: 600
        })
    );
    assert_eq!(
        history.wants(begin(), 0, extend(1, 1_201)),
        Err(WorkflowError::ExtensionTooLong {
            most: 1_200,
            asked: 1_201
        })
    );
    assert!(matches!(
        history.wants(begin(), 1, extend(1, 60)),
        Err(WorkflowError::NotYours(_))
    ));
    assert_eq!(
        history.wants(after(begin(), 3_000), 0, extend(1, 60)),
        Err(WorkflowError::GrantEnded(grant_id(1)))
    );
}

#[test]
fn an_extension_that_needs_approval_is_a_request_and_moves_the_grant_when_it_is_approved() {
    let mut history = granted("two");
    history.wants(begin(), 0, extend(1, 600)).unwrap();
    assert!(matches!(
        history.wants(begin(), 0, extend(1, 600)),
        Err(WorkflowError::SameOpen { .. })
    ));
    history.wants(begin(), 1, approve(2, None)).unwrap();
    let grant = |history: &History| history.state.grant(&grant_id(1)).unwrap().clone();
    assert_eq!(grant(&history).expires, after(begin(), 600));
    history.wants(begin(), 2, approve(2, Some(300))).unwrap();
    assert_eq!(grant(&history).expires, after(begin(), 900));
    assert_eq!(history.state.grants().count(), 2, "it is the same grant");
    let request = history.state.request(&request_id(2)).unwrap();
    assert_eq!(
        (request.state, request.grants.as_slice()),
        (RequestState::Approved, &[grant_id(1)][..])
    );
    let told = &history.state.request(&request_id(1)).unwrap().timeline;
    assert!(told.last().unwrap().what.starts_with("extended g1 until "));
}

#[test]
fn an_extension_asked_of_a_grant_that_ended_can_not_be_approved_and_lapses() {
    let mut history = granted("two");
    history.wants(begin(), 0, extend(1, 600)).unwrap();
    let release = Command::Release { grant: grant_id(1) };
    history.wants(begin(), 0, release).unwrap();
    assert_eq!(
        history.wants(begin(), 1, approve(2, None)),
        Err(WorkflowError::GrantEnded(grant_id(1)))
    );
    history.time_passes(begin());
    let asked = history.state.request(&request_id(2)).unwrap();
    assert_eq!(asked.state, RequestState::Lapsed);
}

#[test]
fn a_role_without_extensions_has_none_nor_has_a_grant_that_was_made_without() {
    let without = POLICY
        .replace("extendable = \"20m\"\nextend_without_approval = true\n", "")
        .replace("extendable = \"20m\"\n", "");
    let policy = check_text("policy.toml", &without).unwrap();
    let history = granted("one");
    let extending = command(&history.state, &policy, begin(), &actor(0), extend(1, 60));
    assert!(matches!(
        extending,
        Err(WorkflowError::NotExtendable { .. })
    ));
}

#[test]
fn a_lock_ends_grants_denies_requests_and_takes_back_approvals() {
    let mut history = granted("one");
    history.wants(begin(), 0, ask("two", 600)).unwrap();
    history.wants(begin(), 1, approve(2, None)).unwrap();
    assert_eq!(
        history.wants(begin(), 2, lock("bob")),
        Err(WorkflowError::MayNotLock)
    );
    history.wants(begin(), 3, lock("bob")).unwrap();
    history.wants(begin(), 2, approve(2, None)).unwrap();
    assert_eq!(
        history.state.request(&request_id(2)).unwrap().state,
        RequestState::Pending,
        "one of two approvals was bob's"
    );
    history.wants(begin(), PEOPLE.len(), lock("alice")).unwrap();
    assert_eq!(history.state.live_grants(begin()).count(), 0);
    let denied = history.state.request(&request_id(2)).unwrap();
    assert_eq!(denied.state, RequestState::Denied);
    let refused = history.wants(begin(), 0, ask("one", 60)).unwrap_err();
    assert!(
        refused.to_string().contains("because"),
        "it says why: {refused}"
    );
    history
        .wants(begin(), PEOPLE.len(), unlock("alice"))
        .unwrap();
    assert_eq!(history.state.live_grants(begin()).count(), 0);
    history.wants(begin(), 0, ask("one", 60)).unwrap();
}

#[test]
fn locking_and_unlocking_twice_changes_nothing_more() {
    let mut history = History::new();
    for wanted in [lock("alice"), unlock("alice")] {
        history
            .wants(begin(), PEOPLE.len(), wanted.clone())
            .unwrap();
        let before = history.entries.len();
        history.wants(begin(), PEOPLE.len(), wanted).unwrap();
        assert_eq!(history.entries.len(), before);
    }
    assert!(matches!(
        history.wants(begin(), PEOPLE.len(), lock("nobody")),
        Err(WorkflowError::UnknownUser(_))
    ));
}
