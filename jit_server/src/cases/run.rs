//! A case played through the workflow itself, in a state made for it alone.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jit_grant::{ENFORCED, Gates, Principal, RequestId};
use serde::Serialize;

use super::{Case, Cases};
use crate::clock::seconds_after;
use crate::directory::Standing;
use crate::event::{Actor, Entry, Event, HostEnrolled};
use crate::label::Labelled;
use crate::origin::Origin;
use crate::policy::Policy;
use crate::text::Reason;
use crate::workflow::{
    Ask, Command, Explanation, RequestState, State, Wish, WorkflowError, command, explain,
};

/// What comes of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The request is taken and waits for more approvals.
    Pending,
    /// The request, or an approval of it, is refused.
    Refused,
    /// Enough approve it.
    Approved,
}

impl TryFrom<String> for Outcome {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "pending" => Ok(Self::Pending),
            "refused" => Ok(Self::Refused),
            "approved" => Ok(Self::Approved),
            _ => Err(format!(
                "{text:?} is nothing to expect; there are pending, refused and approved"
            )),
        }
    }
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was refused.
    pub refusal: Option<WorkflowError>,
    /// For how long it was asked. Seconds.
    pub for_seconds: u32,
    /// What of the request the rules say.
    pub explained: Explanation,
}

impl Came {
    /// True where that is what `case` expects.
    #[must_use]
    pub fn fits(&self, case: &Case) -> bool {
        let code = self.refusal.as_ref().map(|refusal| refusal.code().0);
        self.outcome == case.expected && (case.code.is_none() || case.code.as_deref() == code)
    }
}

/// Plays `case`, one of `cases`, under `policy`.
///
/// # Errors
/// What it has to say under this policy and does not.
pub fn run(policy: &Policy, cases: &Cases, case: &Case) -> Result<Came, String> {
    let role = policy.roles.get(&case.role);
    if case.at.is_none() && role.is_some_and(|role| role.conditions.hours.is_some()) {
        return Err(format!(
            "the case says not when it happens, and role {} has hours; add a line such as at = \"2026-11-30T09:00[Europe/Paris]\"",
            case.role
        ));
    }
    let of_case = case.approved_by.iter().map(|approver| &approver.who);
    let mut of_case = of_case.chain([&case.who]);
    if case.at.is_none()
        && let Some(name) = of_case.find(|name| cases.people.has_end(name))
    {
        return Err(format!(
            "the case says not when it happens, and the time of {name} has an end; add a line such as at = \"2026-11-30T09:00[Europe/Paris]\""
        ));
    }
    if case.at.is_none() && case.from.is_some() {
        let why = "the case says when it is to begin and not when it happens; add a line such as at = \"2026-11-30T09:00[Europe/Paris]\"";
        return Err(why.to_owned());
    }
    let default = role.and_then(|role| role.default_seconds);
    let Some(for_seconds) = case.for_seconds.or(default) else {
        return Err(format!(
            "the case says not for how long, and neither does role {}; add a line such as for = \"30m\"",
            case.role
        ));
    };
    let mut stage = Stage::set(policy, cases, case)?;
    let hosts = BTreeSet::from([case.host.clone()]);
    let wish = Wish {
        role: &case.role,
        hosts: &hosts,
        labels: &Labelled::default(),
        for_seconds,
        not_before: case.from,
        ticket: case.ticket.as_ref(),
        reason: case.reason.as_ref(),
        origin: Some(case.from_address.unwrap_or(Origin::Socket)),
    };
    let explained = explain(&stage.state, policy, stage.now, &case.who, &wish);
    let played = stage.play(case, hosts.clone())?;
    Ok(Came {
        outcome: *played.as_ref().unwrap_or(&Outcome::Refused),
        refusal: played.err(),
        for_seconds,
        explained,
    })
}

/// When a case happens that does not say.
const SOME_TIME: Timestamp = Timestamp::UNIX_EPOCH;

/// As many characters as a reason may have: it is long enough for every role.
const LONGEST_REASON: usize = 500;

struct Stage<'a> {
    policy: &'a Policy,
    state: State,
    seq: u64,
    now: Timestamp,
}

impl<'a> Stage<'a> {
    /// Everybody whom the case or a table names is a user, and the case's host is enrolled and enforces all there is.
    fn set(policy: &'a Policy, cases: &Cases, case: &Case) -> Result<Self, String> {
        let mut stage = Self {
            policy,
            state: State::default(),
            seq: 0,
            now: case.at.unwrap_or(SOME_TIME),
        };
        let approvers = case.approved_by.iter().map(|approver| &approver.who);
        let all = cases.people.named().chain(approvers).chain([&case.who]);
        for name in all.collect::<BTreeSet<_>>() {
            let user = cases.people.user(name, "login".parse().map_err(told)?);
            stage.happened(stage.now, &Actor::Administrator, Event::UserSet(user));
        }
        let host = HostEnrolled {
            name: case.host.clone(),
            host_id: format!("h{:032x}", 1).parse().map_err(told)?,
            public_key: String::new(),
            labels: case.labels.clone(),
            lapse_seconds: None,
            token: None,
            from: None,
        };
        // Whether a host is new enough is no question of the policy.
        let state = Event::HostState {
            name: host.name.clone(),
            host_id: host.host_id.clone(),
            standing: Standing {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                gates: Gates::new(),
                enforces: ENFORCED.iter().map(ToString::to_string).collect(),
            },
        };
        stage.happened(stage.now, &Actor::Administrator, Event::HostEnrolled(host));
        stage.happened(stage.now, &Actor::Server, state);
        Ok(stage)
    }

    /// Asks and approves. The inner error is a rule's.
    fn play(
        &mut self,
        case: &Case,
        hosts: BTreeSet<jit_grant::HostName>,
    ) -> Result<Result<Outcome, WorkflowError>, String> {
        let any_reason = || Reason::try_from("A".repeat(LONGEST_REASON)).map_err(told);
        let ask = Command::Ask(Ask {
            role: case.role.clone(),
            hosts,
            labels: Labelled::default(),
            for_seconds: case.for_seconds,
            reason: case.reason.clone().map_or_else(any_reason, Ok)?,
            ticket: case.ticket.clone(),
            not_before: case.from,
            origin: case.from_address.unwrap_or(Origin::Socket),
        });
        let request: RequestId = "r1".parse().map_err(told)?;
        if let Err(refusal) = self.wants(self.now, &case.who, ask) {
            return Ok(Err(refusal));
        }
        for approver in &case.approved_by {
            let approve = Command::Approve {
                request: request.clone(),
                for_seconds: None,
                comment: None,
            };
            let then = seconds_after(self.now, approver.after_seconds);
            if let Err(refusal) = self.wants(then, &approver.who, approve) {
                return Ok(Err(refusal));
            }
        }
        let made = self.state.request(&request).map(|made| made.state);
        Ok(Ok(if made == Some(RequestState::Approved) {
            Outcome::Approved
        } else {
            Outcome::Pending
        }))
    }

    fn wants(
        &mut self,
        now: Timestamp,
        name: &Principal,
        wanted: Command,
    ) -> Result<(), WorkflowError> {
        let actor = Actor::Principal(name.clone());
        for event in command(&self.state, self.policy, now, &actor, wanted)? {
            self.happened(now, &actor, event);
        }
        Ok(())
    }

    fn happened(&mut self, at: Timestamp, actor: &Actor, event: Event) {
        self.seq += 1;
        self.state.apply(&Entry {
            via: None,
            seq: self.seq,
            at,
            actor: event.actor(actor),
            event,
        });
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
