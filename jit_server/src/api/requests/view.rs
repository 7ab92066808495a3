//! How a request is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::review::{self, ReviewView};
use crate::clock::seconds_after;
use crate::event::AtOnce;
use crate::origin::Origin;
use crate::policy::{PeopleDocument, Policy, Role, Stage};
use crate::workflow::{Given, Progress, Request, RequestState, Said, State, Step};

/// Names of those who could approve a stage, or review, at most.
const MOST_ABLE: usize = 50;

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
    /// How many approvals its role asks for, in all stages; 0 where nobody has to.
    needed: u32,
    /// The stage that is due, from 1. null: it is decided.
    stage: Option<u32>,
    /// The stages of its role, in order. Empty where it is decided.
    stages: Vec<StageView>,
    /// Why it was granted as soon as it was made. null: people decide it.
    #[schema(value_type = Option<Object>)]
    at_once: Option<AtOnce>,
    /// The review of its use. null: its role is no break-glass role.
    review: Option<ReviewView>,
    denied: Option<DeniedView>,
    grants: Vec<String>,
    timeline: Vec<StepView>,
    /// It is to begin then, and ends `for_seconds` after that, however late it is approved. null: when it is approved.
    not_before: Option<Timestamp>,
    /// The address that it was asked from, or `socket`: the server's own machine. null: before this was kept.
    #[schema(value_type = Option<String>)]
    asked_from: Option<Origin>,
    /// The login that it opens, or extends, on each host.
    logins: BTreeMap<String, String>,
    /// The Unix groups that logins by it are in, beside those of the account.
    groups: Vec<String>,
}

/// An approval.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ApprovalView {
    by: String,
    at: Timestamp,
    stage: u32,
    comment: Option<String>,
}

/// A stage of a request that is not decided yet.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct StageView {
    /// Who may approve it.
    approvers: PeopleDocument,
    /// How many of them must.
    needed: u32,
    /// Whose approvals count for it. Where the policy has changed, some that were given may not.
    approved_by: Vec<String>,
    /// Who could approve it, if it were due now; the first 50 by name. null: not told in lists.
    able: Option<Vec<String>>,
    /// Who may approve it, too, when it is not done in time.
    later: Vec<LaterView>,
}

/// More approvers of a stage.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct LaterView {
    approvers: PeopleDocument,
    /// When the stage has been due for so long.
    after_seconds: u32,
    /// From when on. null: the stage is not the one that is due.
    from: Option<Timestamp>,
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
    /// `locked alice`, `user_removed alice`, reviewed, `review overdue`.
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
    /// As it is in lists.
    pub(super) fn of(request: &Request, policy: &Policy, state: &State, now: Timestamp) -> Self {
        let asked = &request.asked;
        let (stands, stages) = (state_at(request, now), stages(request, policy));
        let progress = Progress::of(request, stages, state, now);
        let is_pending = stands == RequestState::Pending;
        Self {
            id: asked.request.to_string(),
            principal: asked.principal.to_string(),
            role: asked.role.to_string(),
            extends: asked.extends.as_ref().map(ToString::to_string),
            hosts: asked.hosts.iter().map(ToString::to_string).collect(),
            for_seconds: asked.for_seconds,
            reason: asked.reason.to_string(),
            ticket: asked.ticket.as_ref().map(ToString::to_string),
            state: stands,
            asked_at: request.asked_at,
            lapses_at: asked.lapses_at,
            approvals: request.approvals.iter().map(ApprovalView::from).collect(),
            needed: stages.iter().map(|stage| stage.count).sum(),
            stage: is_pending.then(|| progress.stage()),
            stages: if is_pending {
                let numbered = stages.iter().enumerate();
                numbered
                    .map(|(number, stage)| StageView::of(&progress, number, stage))
                    .collect()
            } else {
                Vec::new()
            },
            at_once: request.at_once.clone(),
            review: request.review.as_ref().map(ReviewView::from),
            denied: request.denied.as_ref().map(DeniedView::from),
            grants: request.grants.iter().map(ToString::to_string).collect(),
            timeline: request.timeline.iter().map(StepView::from).collect(),
            not_before: asked.not_before,
            asked_from: asked.asked_from,
            logins: asked
                .hosts
                .iter()
                .map(|host| (host.to_string(), asked.login_on(host).to_string()))
                .collect(),
            groups: asked.groups.listed(),
        }
    }

    /// As it is alone: with who could approve what.
    pub(super) fn whole(request: &Request, policy: &Policy, state: &State, now: Timestamp) -> Self {
        let mut view = Self::of(request, policy, state, now);
        let progress = Progress::of(request, stages(request, policy), state, now);
        for (number, stage) in view.stages.iter_mut().enumerate() {
            let able = progress.able(number, state, now).take(MOST_ABLE);
            stage.able = Some(able.map(|user| user.name.to_string()).collect());
        }
        let able = review::able(policy, state, request, now);
        if let (Some(review), Some(able)) = (&mut view.review, able) {
            let able = able.take(MOST_ABLE);
            review.able = Some(able.map(|user| user.name.to_string()).collect());
        }
        view
    }
}

/// The stages that decide it by the policy in force. None where that has no such role any more: then nobody can approve it.
pub(super) fn stages<'p>(request: &Request, policy: &'p Policy) -> &'p [Stage] {
    let role = policy.roles.get(&request.asked.role);
    role.map_or(&[], Role::stages)
}

impl StageView {
    fn of(progress: &Progress<'_>, number: usize, stage: &Stage) -> Self {
        let by = progress.approved_by(number);
        Self {
            approvers: PeopleDocument::from(&stage.approvers),
            needed: stage.count,
            approved_by: by.map(ToString::to_string).collect(),
            able: None,
            later: stage
                .later
                .iter()
                .map(|later| LaterView {
                    approvers: PeopleDocument::from(&later.approvers),
                    after_seconds: later.after_seconds,
                    from: progress
                        .is_due(number)
                        .then(|| seconds_after(progress.since(), later.after_seconds)),
                })
                .collect(),
        }
    }
}

impl From<&Given> for ApprovalView {
    fn from(given: &Given) -> Self {
        let comment = given.comment.as_ref().map(ToString::to_string);
        Self {
            by: given.by.to_string(),
            at: given.at,
            stage: given.stage,
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
