//! Users, hosts and policy from files. For the administrator only.

use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::caller::Administrator;
use super::changes::HeldView;
use super::input;
use super::loss::LossView;
use crate::apply::{self, Change, Plan, Sign, Texts, Thing};
use crate::policy::Mistake;
use crate::server::{Applied, Server};
use crate::text::Reason;

/// Three files of 1 MiB, escaped.
const MAX_FILES: usize = 8 * 1024 * 1024;

/// Files that say how things are to be. null: that file is not there, and nothing of it changes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Files {
    /// The text of policy.toml.
    policy: Option<String>,
    /// The text of users.toml: all users, so whoever is not in it is removed.
    users: Option<String>,
    /// The text of hosts.toml: labels of hosts, and hosts to remove.
    hosts: Option<String>,
    /// Only tell what would change.
    dry_run: bool,
    /// So many users may be removed where that is more than half of them.
    #[serde(default)]
    allow_removals: usize,
    /// Why, for those who have to confirm it. 3 to 500 characters on one line.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    reason: Option<Reason>,
}

/// What changes, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanView {
    /// What is wrong with the files; nothing changes where there is something.
    mistakes: Vec<MistakeView>,
    changes: Vec<ChangeView>,
    /// What people lose by it.
    lost: LossView,
    /// What is unwise in the policy; what is said of hosts that are not there, and of tokens that count on.
    warnings: Vec<String>,
    /// How many removals have to be allowed, where they are more than half of the users. null: none.
    removals_to_allow: Option<usize>,
    /// False where this was only told, or waits.
    applied: bool,
    /// Others have to confirm such changes: this one waits for them, or would. null: it needs nobody else.
    held: Option<HeldView>,
}

/// One thing that is wrong in a file.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MistakeView {
    /// policy.toml, users.toml or hosts.toml.
    file: String,
    /// From 1.
    line: usize,
    /// Where in the document, such as `users.alice.login`.
    key: String,
    problem: String,
}

/// One thing that is different.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangeView {
    /// `+`, `~` or `-`.
    sign: &'static str,
    /// policy, user or host.
    thing: &'static str,
    name: String,
    /// What of it is different, each in a few words.
    details: Vec<String>,
}

/// Makes users, hosts and policy as files say: all of it or nothing. Where others have to confirm changes, it is proposed to them.
#[utoipa::path(post, path = "/v1/apply", tag = "administration", request_body = Files, responses(
    (status = 200, body = PlanView),
    (status = 202, body = PlanView, description = "others have to confirm it"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json", description = "more than half of the users would go"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn apply(
    State(server): State<Arc<Server>>,
    _: Administrator,
    input::Json(files): input::Json<Files>,
) -> Result<(StatusCode, Json<PlanView>), Problem> {
    let texts = Texts {
        policy: files.policy.as_deref(),
        users: files.users.as_deref(),
        hosts: files.hosts.as_deref(),
    };
    let wanted = match apply::read(texts) {
        Ok(wanted) => wanted,
        Err(mistakes) => return Ok((StatusCode::OK, Json(PlanView::wrong(mistakes)))),
    };
    if files.dry_run {
        let plan = server.plan(wanted).await?;
        let held = (!plan.changes.is_empty()).then(|| HeldView::of(&server, None));
        let view = PlanView::of(plan, false);
        let held = held.flatten();
        return Ok((StatusCode::OK, Json(PlanView { held, ..view })));
    }
    let applied = server.apply(wanted, files.allow_removals, files.reason);
    let Applied { plan, held } = applied.await?;
    let view = PlanView::of(plan, held.is_none());
    let held = held.and_then(|change| HeldView::of(&server, Some(&change)));
    let status = if held.is_some() {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(PlanView { held, ..view })))
}

/// Bytes at most in the body of a call to `path`.
pub(super) fn longest_body(path: &str) -> usize {
    if path == "/v1/apply" {
        MAX_FILES
    } else {
        super::MAX_BODY
    }
}

/// For the layer of this route: files are larger than other bodies.
pub(super) fn files_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(MAX_FILES)
}

impl PlanView {
    fn wrong(mistakes: Vec<Mistake>) -> Self {
        let mistakes = mistakes.into_iter().map(|mistake| MistakeView {
            file: mistake.file,
            line: mistake.line,
            key: mistake.key,
            problem: mistake.problem,
        });
        Self {
            mistakes: mistakes.collect(),
            ..Self::of(Plan::default(), false)
        }
    }

    fn of(plan: Plan, applied: bool) -> Self {
        let changes = plan.changes.iter().map(ChangeView::from);
        Self {
            mistakes: Vec::new(),
            changes: changes.collect(),
            lost: LossView::from(&plan.lost),
            removals_to_allow: plan.removals_to_allow(),
            warnings: plan.warnings,
            applied,
            held: None,
        }
    }
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        Self {
            sign: match change.sign {
                Sign::Added => "+",
                Sign::Changed => "~",
                Sign::Removed => "-",
            },
            thing: match change.thing {
                Thing::Policy => "policy",
                Thing::User => "user",
                Thing::Host => "host",
            },
            name: change.name.clone(),
            details: change.details.clone(),
        }
    }
}
