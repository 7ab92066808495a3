//! What may be asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jit_grant::Action;
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use super::caller::Caller;
use crate::policy::{self, LaterDocument, PeopleDocument, ReviewDocument, Role, TakenAway};
use crate::server::Server;

/// A role of the policy.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoleView {
    name: String,
    description: String,
    /// Names, patterns with `*` and `?`, or `*` alone for any name.
    hosts: Vec<String>,
    /// Its hosts have each of these keys with one of the values.
    labels: BTreeMap<String, Vec<String>>,
    /// The conditions under which it may be had, in words; denials of the caller that fit some of its enrolled hosts among them.
    conditions: Vec<String>,
    #[schema(value_type = Vec<String>)]
    actions: Vec<Action>,
    longest_seconds: u32,
    /// It is asked for so long where nobody says for how long. null: that has to be said.
    default_seconds: Option<u32>,
    /// Whether the caller may ask for it. Never true for the administrator, nor where all of its enrolled hosts are denied.
    may_ask: bool,
    approval: Approval,
    /// The Unix groups that its logins are in, beside those of the account.
    groups: Vec<String>,
}

/// Who approves.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Approval {
    /// The first stage. `count` is 0 where there is none: it is granted at once.
    #[serde(flatten)]
    first: Stage,
    /// All stages, in order.
    stages: Vec<Stage>,
    /// Why it is granted at once. null: it is not, or there is another reason.
    because: Option<String>,
    /// How its use is reviewed, where it is granted at once and everybody is told.
    review: Option<ReviewDocument>,
}

/// A stage of approval.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct Stage {
    by: PeopleDocument,
    /// How many must.
    count: u32,
    /// Whoever approved a stage before it may approve this one, too.
    same_person_again: bool,
    /// Who may, too, when it is not done in time.
    later: Vec<LaterDocument>,
}

/// The roles that the caller may ask for, without those that are denied on each of their hosts; all of them for the administrator.
#[utoipa::path(get, path = "/v1/roles", tag = "people", responses((status = 200, body = Vec<RoleView>)))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
) -> Result<Json<Vec<RoleView>>, Problem> {
    server.look_at_policy().await?;
    let person = caller.person()?;
    let policy = server.policy();
    Ok(Json(server.look(|state| {
        let user = person.and_then(|name| state.directory.user(name));
        let roles = policy.roles.iter().map(|(name, role)| {
            let asks = user.filter(|user| role.may_ask.include(user));
            let taken = asks.map(|user| policy.taken_away(user, role, &state.directory));
            let taken = taken.unwrap_or_default();
            let may_ask = asks.is_some() && !taken.all;
            view(name.to_string(), role, may_ask, &taken)
        });
        roles
            .filter(|role| role.may_ask || person.is_none())
            .collect()
    })))
}

fn view(name: String, role: &Role, may_ask: bool, taken: &TakenAway<'_>) -> RoleView {
    RoleView {
        name,
        description: role.description.clone(),
        hosts: role.hosts.listed(),
        labels: role.hosts.labels().listed(),
        conditions: [
            role.conditions.in_words(),
            policy::limits_in_words(&role.limits),
            taken.in_words(),
        ]
        .concat(),
        actions: role.actions.iter().copied().collect(),
        longest_seconds: role.longest_seconds,
        default_seconds: role.default_seconds,
        may_ask,
        approval: approval(role),
        groups: role.limits.groups.listed(),
    }
}

fn approval(role: &Role) -> Approval {
    let stages = role.stages().iter().map(|stage| Stage {
        by: PeopleDocument::from(&stage.approvers),
        count: stage.count,
        same_person_again: stage.same_person_again,
        later: stage.later.iter().map(LaterDocument::from).collect(),
    });
    let stages: Vec<Stage> = stages.collect();
    Approval {
        first: stages.first().cloned().unwrap_or_default(),
        stages,
        because: match &role.approval {
            policy::Approval::Auto(because) => Some(because.to_string()),
            policy::Approval::Stages(_) | policy::Approval::BreakGlass(_) => None,
        },
        review: role.review().map(ReviewDocument::from),
    }
}
