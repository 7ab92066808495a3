//! How a request is shown.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::policy::Policy;
use crate::workflow::{Given, Request, RequestState, Said, Step};

/// A request and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RequestView {
    pub(super) id: String,
    principal: String,
    role: String,
    /// The grant that is to last longer. null: new grants are asked for.
    extends: Option<String>,
    hosts: Vec<String>,
    for_seconds: u32,
    reason: String,
    ticket: Option<String>,
    #[schema(value_type = String)]
    pub(super) state: RequestState,
    asked_at: Timestamp,
    lapses_at: Timestamp,
    approvals: Vec<ApprovalView>,
    /// How many approvals its role asks for.
    needed: u32,
    denied: Option<DeniedView>,
    grants: Vec<String>,
    timeline: Vec<StepView>,
}

/// An approval.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ApprovalView {
    by: String,
    at: Timestamp,
    stage: u32,
    comment: Option<String>,
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeniedView {
    by: String,
    at: Timestamp,
    reason: String,
}

/// Something that happened to it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StepView {
    at: Timestamp,
    /// A user, `@administrator` or `@server`.
    actor: String,
    /// requested, approved, granted, denied, withdrawn, lapsed, `revoked g1`, `released g1`, `extended g1 until …` (UTC),
    /// `locked alice`, `user_removed alice`.
    what: String,
}

/// Where a request stands at `now`: one past its time has lapsed, also in the moment before that is recorded.
pub(super) fn state_at(request: &Request, now: Timestamp) -> RequestState {
    match request.state {
        RequestState::Pending if now >= request.asked.lapses_at => RequestState::Lapsed,
        state => state,
    }
}

impl RequestView {
    pub(super) fn of(request: &Request, policy: &Policy, now: Timestamp) -> Self {
        let asked = &request.asked;
        Self {
            id: asked.request.to_string(),
            principal: asked.principal.to_string(),
            role: asked.role.to_string(),
            extends: asked.extends.as_ref().map(ToString::to_string),
            hosts: asked.hosts.iter().map(ToString::to_string).collect(),
            for_seconds: asked.for_seconds,
            reason: asked.reason.to_string(),
            ticket: asked.ticket.as_ref().map(ToString::to_string),
            state: state_at(request, now),
            asked_at: request.asked_at,
            lapses_at: asked.lapses_at,
            approvals: request.approvals.iter().map(ApprovalView::from).collect(),
            needed: policy.roles.get(&asked.role).map_or(1, |role| role.count),
            denied: request.denied.as_ref().map(DeniedView::from),
            grants: request.grants.iter().map(ToString::to_string).collect(),
            timeline: request.timeline.iter().map(StepView::from).collect(),
        }
    }
}

impl From<&Given> for ApprovalView {
    fn from(given: &Given) -> Self {
        let comment = given.comment.as_ref().map(ToString::to_string);
        Self {
            by: given.by.to_string(),
            at: given.at,
            stage: 1,
            comment,
        }
    }
}

impl From<&Said> for DeniedView {
    fn from(said: &Said) -> Self {
        Self {
            by: said.by.to_string(),
            at: said.at,
            reason: said.reason.to_string(),
        }
    }
}

impl From<&Step> for StepView {
    fn from(step: &Step) -> Self {
        Self {
            at: step.at,
            actor: step.actor.to_string(),
            what: step.what.clone(),
        }
    }
}
