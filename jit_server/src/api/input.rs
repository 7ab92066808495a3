//! What callers send, bounded and parsed once.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::Problem;

/// Who sends more slowly is cut off.
const LONGEST_BODY: Duration = Duration::from_secs(10);

/// A JSON body. Unlike axum's own it answers with a [`Problem`] and does not wait for ever.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let kind = content
            .and_then(|content| content.split(';').next())
            .map(str::trim);
        if kind != Some("application/json") {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send application/json",
            ));
        }
        let body = tokio::time::timeout(LONGEST_BODY, Bytes::from_request(request, state)).await;
        let body = body.map_err(|_| too_slow())?;
        let body =
            body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
        // Serde would fill a struct from an array of its fields in order, too.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "send a JSON object")
                    .code("bad-body"),
            );
        }
        let parsed = serde_json::from_slice(&body);
        parsed.map(Self).map_err(|error| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, told(&error)).code("bad-body")
        })
    }
}

/// All of a body, whatever it is, where it has no more than `longest` bytes.
pub(super) async fn read(body: Body, longest: usize) -> Result<Bytes, Problem> {
    let body = tokio::time::timeout(LONGEST_BODY, axum::body::to_bytes(body, longest)).await;
    body.map_err(|_| too_slow())?.map_err(|_| {
        let detail = format!("the body is longer than {longest} bytes, or ended in its midst");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    })
}

fn too_slow() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "the body took longer than 10 s",
    )
}

/// A field that a body has, for one that says something else by being left out. With `default` beside it.
///
/// # Errors
/// Those of the field.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

/// What is wrong with a body. Of a wrong value its place is left out: people see this who never saw the JSON.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((problem, _)) if error.is_data() => problem.to_owned(),
        _ => text,
    }
}

/// The parameters after `?`.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parsed = Query::<T>::from_request_parts(parts, state).await;
        parsed
            .map(|Query(parameters)| Self(parameters))
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

/// What a path has in its places.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parsed = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        parsed
            .map(|axum::extract::Path(places)| Self(places))
            .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
    }
}

/// An id in a path.
pub(super) fn id<T: TryFrom<String, Error: std::fmt::Display>>(text: String) -> Result<T, Problem> {
    T::try_from(text).map_err(|error| Problem::bad_request(error.to_string()))
}
