//! Reviewing what was done with a break-glass role.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{RequestView, act};
use crate::api::Problem;
use crate::api::caller::Caller;
use crate::api::input::{self, Path};
use crate::event::UserSet;
use crate::policy::Policy;
use crate::server::Server;
use crate::text::Comment;
use crate::workflow::{Command, Request, Review, State as Known};

/// What a reviewer says.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct NewReview {
    /// 1 to 500 characters on one line.
    #[schema(value_type = String)]
    comment: Comment,
}

/// The review of what was done with a break-glass role.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ReviewView {
    /// From then on it is overdue.
    due: Timestamp,
    /// Everybody was told that it is overdue.
    overdue: bool,
    /// null: nobody has reviewed it.
    reviewed: Option<ReviewedView>,
    /// Who could review it; the first 50 by name. null: not told in lists, or it is reviewed.
    pub(super) able: Option<Vec<String>>,
}

/// What came of a review.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ReviewedView {
    by: String,
    at: Timestamp,
    comment: String,
}

/// Says what was seen of the use of a break-glass role, once it has ended. For its reviewers, and never for whoever used it.
#[utoipa::path(post, path = "/v1/requests/{id}/review", tag = "people", params(("id" = String, Path)), request_body = NewReview, responses(
    (status = 200, body = RequestView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(in crate::api) async fn review(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    input::Json(said): input::Json<NewReview>,
) -> Result<Json<RequestView>, Problem> {
    act(&server, &caller, id, |request| Command::Review {
        request,
        comment: said.comment,
    })
    .await
}

/// True where `user` has to review it, now or when it has ended.
pub(in crate::api) fn is_for(policy: &Policy, user: &UserSet, request: &Request) -> bool {
    let review = request.review.as_ref();
    let role = policy.roles.get(&request.asked.role);
    review.is_some_and(|review| review.done.is_none())
        && request.asked.principal != user.name
        && role.is_some_and(|role| role.has_reviewer(user))
}

/// Those who could review it, by name. None: it is reviewed.
pub(super) fn able<'s>(
    policy: &'s Policy,
    state: &'s Known,
    request: &'s Request,
    now: Timestamp,
) -> Option<impl Iterator<Item = &'s UserSet>> {
    let is_due = request.review.as_ref()?.done.is_none();
    let able = move |user: &&UserSet| state.may_act(user, now) && is_for(policy, user, request);
    is_due.then(|| state.directory.users().filter(able))
}

impl From<&Review> for ReviewView {
    fn from(review: &Review) -> Self {
        let reviewed = review.done.as_ref().map(|done| ReviewedView {
            by: done.by.to_string(),
            at: done.at,
            comment: done.comment.to_string(),
        });
        Self {
            due: review.by,
            overdue: review.is_overdue,
            reviewed,
            able: None,
        }
    }
}
