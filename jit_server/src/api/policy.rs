//! What the policy in force comes to. For the administrator only.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use jit_grant::{HostName, Principal, RoleName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::caller::Administrator;
use super::input::Parameters;
use crate::label::Labelled;
use crate::origin::Origin;
use crate::policy::PolicyDocument;
use crate::server::Server;
use crate::text::Ticket;
use crate::workflow::{self, Able, Approvers, Explanation, Outcome, Rule, Told, ToldDenial, Wish};

/// The policy in force, and who is in the groups that it names.
#[utoipa::path(get, path = "/v1/policy", tag = "administration", responses(
    (status = 200, body = PolicyDocument),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    _: Administrator,
) -> Result<Json<PolicyDocument>, Problem> {
    server.look_at_policy().await?;
    let document = PolicyDocument::from(server.policy().as_ref());
    let document = server.look(|state| document.with_members(&state.directory));
    let beside_file = server.beside_file();
    Ok(Json(PolicyDocument {
        beside_file,
        ..document
    }))
}

/// What somebody would ask for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[param(value_type = String)]
    principal: Principal,
    #[param(value_type = String)]
    role: RoleName,
    #[param(value_type = String)]
    host: HostName,
    /// As long as the role allows unless said.
    for_seconds: Option<u32>,
    /// As if it were asked at this time; now unless said.
    at: Option<Timestamp>,
    /// To begin at this time; when it is granted unless said.
    not_before: Option<Timestamp>,
    /// With this ticket; without one unless said.
    #[param(value_type = Option<String>)]
    ticket: Option<Ticket>,
    /// From this address, or `socket`; from where it may be asked for unless said.
    #[param(value_type = Option<String>)]
    from_address: Option<Origin>,
}

/// What would come of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExplanationView {
    /// SHA-256 of the policy's text, in hexadecimal.
    policy: String,
    for_seconds: u32,
    /// Whether the request would be taken; it then waits for approval.
    taken: bool,
    /// The code that the request would be refused with.
    code: Option<&'static str>,
    /// What whoever asks would be told.
    refusal: Option<String>,
    /// In the order in which they are asked.
    rules: Vec<RuleView>,
    /// Each denial of the policy. Empty, too, where there is no such user or role.
    denials: Vec<DenialView>,
    /// null: there is no such role.
    approval: Option<AbleView>,
}

/// One rule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleView {
    #[schema(value_type = String)]
    rule: Rule,
    /// met, failed, or not-asked: another one fails without which it can't be told.
    #[schema(value_type = String)]
    outcome: Outcome,
    /// By what it is met, or why not.
    words: String,
}

/// One denial.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DenialView {
    name: String,
    /// Whether it refuses the request.
    fits: bool,
    /// By what it fits, or why not.
    words: String,
}

/// Who could approve it now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AbleView {
    /// The first stage.
    #[serde(flatten)]
    first: AbleStageView,
    /// Whether different people could do all stages.
    enough: bool,
    /// All stages, in order.
    stages: Vec<AbleStageView>,
}

/// Who could approve a stage.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct AbleStageView {
    able: Vec<String>,
    /// How many must.
    needed: u32,
    /// Who could, too, when it is not done in time.
    later: Vec<AbleLaterView>,
}

/// Who could approve a stage later.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct AbleLaterView {
    after_seconds: u32,
    able: Vec<String>,
}

/// Says rule by rule what would come of a request now. Nothing happens by it.
#[utoipa::path(get, path = "/v1/policy/explain", tag = "administration", params(Asked), responses(
    (status = 200, body = ExplanationView),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn explain(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<ExplanationView>, Problem> {
    server.look_at_policy().await?;
    let policy = server.policy();
    let now = asked.at.unwrap_or_else(|| server.now());
    let longest = policy.roles.get(&asked.role);
    let longest = longest.map_or(1, |role| role.longest_seconds);
    let wish = Wish {
        role: &asked.role,
        hosts: &BTreeSet::from([asked.host]),
        labels: &Labelled::default(),
        for_seconds: asked.for_seconds.unwrap_or(longest),
        not_before: asked.not_before,
        ticket: asked.ticket.as_ref(),
        reason: None,
        origin: asked.from_address,
    };
    let explained =
        server.look(|state| workflow::explain(state, &policy, now, &asked.principal, &wish));
    Ok(Json(ExplanationView::of(
        explained,
        policy.hash.clone(),
        wish.for_seconds,
    )))
}

impl ExplanationView {
    fn of(explained: Explanation, policy: String, for_seconds: u32) -> Self {
        let Explanation {
            rules,
            denials,
            approval,
            verdict,
        } = explained;
        let refused = verdict.err();
        Self {
            policy,
            for_seconds,
            taken: refused.is_none(),
            code: refused.as_ref().map(|refused| refused.code().0),
            refusal: refused.as_ref().map(ToString::to_string),
            rules: rules.into_iter().map(RuleView::from).collect(),
            denials: denials.into_iter().map(DenialView::from).collect(),
            approval: approval.map(AbleView::from),
        }
    }
}

impl From<Told> for RuleView {
    fn from(told: Told) -> Self {
        let Told {
            rule,
            outcome,
            words,
        } = told;
        Self {
            rule,
            outcome,
            words,
        }
    }
}

impl From<ToldDenial> for DenialView {
    fn from(told: ToldDenial) -> Self {
        let ToldDenial { name, fits, words } = told;
        let name = name.to_string();
        Self { name, fits, words }
    }
}

impl From<Approvers> for AbleView {
    fn from(approvers: Approvers) -> Self {
        let stages = approvers.stages.iter().map(AbleStageView::from);
        let stages: Vec<_> = stages.collect();
        Self {
            first: stages.first().cloned().unwrap_or_default(),
            enough: approvers.are_enough,
            stages,
        }
    }
}

impl From<&Able> for AbleStageView {
    fn from(stage: &Able) -> Self {
        Self {
            able: named(&stage.able),
            needed: stage.needed,
            later: stage
                .later
                .iter()
                .map(|(after_seconds, able)| AbleLaterView {
                    after_seconds: *after_seconds,
                    able: named(able),
                })
                .collect(),
        }
    }
}

fn named(names: &[Principal]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
