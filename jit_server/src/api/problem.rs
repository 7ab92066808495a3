//! What went wrong, as RFC 9457 has it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;
use crate::store::StoreError;
use crate::user_token::NotRotated;
use crate::workflow::Because;

/// Why a call did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status and `code` say what sort it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do, for people.
    detail: String,
    /// A stable word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The last line of the host's chain that is stored, for a host that sent others than those due.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// The event that a call was done as which is not done again.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<u64>,
    /// Seconds after which it is worth to try again.
    #[serde(skip)]
    retry_after: Option<u8>,
    /// The connection is of no more use, and is closed after this.
    #[serde(skip)]
    closes: bool,
}

impl Problem {
    /// A problem of that status.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem");
        Self {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            detail: detail.into(),
            code: None,
            seq: None,
            event: None,
            retry_after: None,
            closes: false,
        }
    }

    /// 400: the call makes no sense.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 403: not for this caller.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: not there, or not for this caller to see.
    #[must_use]
    pub fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// With a word for programs.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// What happened and what to do.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The word for programs.
    pub(super) fn word(&self) -> Option<&'static str> {
        self.code
    }

    /// With the event that the call was done as before.
    #[must_use]
    pub(super) fn event(mut self, seq: u64) -> Self {
        self.event = Some(seq);
        self
    }

    /// Worth to try again after so many seconds.
    #[must_use]
    pub(super) fn retry_after(mut self, seconds: u8) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// With the connection closed after it.
    #[must_use]
    pub(super) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Workflow(refusal) => {
                let (code, because) = refusal.code();
                Self::new(status_of(because), detail).code(code)
            }
            Error::Chain { stored, .. } => Self {
                seq: Some(stored),
                ..Self::new(StatusCode::CONFLICT, detail).code("chain")
            },
            Error::TooManyLines => Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
                .code("too-many-lines")
                .retry_after(60),
            Error::KeyOfOtherHost(_) => {
                Self::new(StatusCode::CONFLICT, detail).code("key-of-other-host")
            }
            Error::Enrolment(_) => Self::forbidden(detail).code("enrolment-refused"),
            Error::NotProved(_) => Self::forbidden(detail).code("not-proved"),
            Error::NoSuchHost(_) => Self::missing(detail).code("no-host"),
            Error::DropsLimits { .. } => {
                Self::new(StatusCode::CONFLICT, detail).code("drops-limits")
            }
            Error::TooManyRemovals { .. } => {
                Self::new(StatusCode::CONFLICT, detail).code("too-many-removals")
            }
            Error::NoSuchToken(_) => Self::missing(detail).code("no-token"),
            Error::TooManyTokens(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, detail).code("too-many-tokens")
            }
            Error::UserToken(_) => Self::new(StatusCode::UNAUTHORIZED, detail).code("bad-token"),
            Error::NoSuchUser(_) => Self::missing(detail).code("no-user"),
            Error::NoSuchUserToken { .. } => Self::missing(detail).code("no-user-token"),
            Error::LockedUser(_) => Self::new(StatusCode::CONFLICT, detail).code("locked"),
            Error::TooManyUserTokens(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, detail).code("too-many-tokens")
            }
            Error::TokenNotMade(why) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).code(why.code())
            }
            Error::TokenNotRotated(NotRotated::Gone(_)) => {
                Self::missing(detail).code("no-user-token")
            }
            Error::TokenNotRotated(NotRotated::Already { .. }) => {
                Self::new(StatusCode::CONFLICT, detail).code("rotated-already")
            }
            Error::TokenNotRotated(NotRotated::TooOften(_)) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, detail).code("too-many-rotations")
            }
            Error::TokenNotRotated(NotRotated::Overlap) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).code("overlap-too-long")
            }
            Error::OutOfScope(_) => Self::forbidden(detail).code("out-of-scope"),
            Error::NotARevision(_) => Self::bad_request(detail).code("not-a-revision"),
            Error::UnknownHost => Self::new(StatusCode::UNAUTHORIZED, detail).code("unknown-host"),
            Error::DoneBefore(seq) => Self::new(StatusCode::CONFLICT, detail)
                .code("done-before")
                .event(seq),
            Error::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                .code("stopping")
                .retry_after(1),
            Error::CutOff(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).code("cut-off"),
            Error::Away | Error::Store(StoreError::Overtaken) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).code("unavailable")
            }
            Error::Store(StoreError::Uncertain) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).code("uncertain")
            }
            other => {
                // What is inside is for the administrator's log, not for whoever happens to call.
                tracing::error!("a call failed: {other}");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "jit-server could not do it; its log says why. Nothing was changed",
                )
                .code("unavailable")
            }
        }
    }
}

fn status_of(because: Because) -> StatusCode {
    match because {
        Because::Forbidden => StatusCode::FORBIDDEN,
        Because::Missing => StatusCode::NOT_FOUND,
        Because::Conflict => StatusCode::CONFLICT,
        Because::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Because::TooMuch => StatusCode::TOO_MANY_REQUESTS,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A struct of strings and numbers always serialises; an empty body would say the same with less.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let close = self.closes.then_some([(header::CONNECTION, "close")]);
        let again = self
            .retry_after
            .map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
        let mut response = (status, kind, close, again, body).into_response();
        // Whoever passes the answer on may want to know more than its bytes.
        response.extensions_mut().insert(self);
        response
    }
}
