//! `Idempotency-Key`: a call that is sent again, since its answer was lost, is done once (draft-ietf-httpapi-idempotency-key-header).
//!
//! What makes that hold is in the record: see [`crate::once`]. Here is what whoever repeats a call is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, Required};

use super::caller::Caller;
use super::{MAX_BODY, Problem, apply, input, refusals};
use crate::error::Error;
use crate::once::{Digest, Key, NotAKey, Once};
use crate::server::{Call, Server};
use crate::store::{Answered, CallAnswer};
use crate::workflow::DoneOnce;

const HEADER: &str = "idempotency-key";
/// What [`Key::parse`] reads.
const PATTERN: &str = r#"^("[!#-\[\]-~]{1,64}"|[!#-\[\]-~]{1,64})$"#;
const REFUSALS: &[(&str, &str)] = &[
    (
        "409",
        "with its Idempotency-Key it was done before, or is under way",
    ),
    ("422", "the Idempotency-Key was sent with another call"),
];
/// An answer of more bytes is not kept.
const LONGEST_ANSWER: usize = 64 * 1024;
/// How every secret begins that the server ever answers with. Such an answer is not kept.
const SECRETS: [&str; 2] = ["jit-user.", "jit-enrol."];

/// Calls with a key that are being answered.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<HashMap<Digest, Digest>>);

/// The place of one of them; given back when dropped.
struct Place {
    under_way: Arc<UnderWay>,
    key: Digest,
}

impl UnderWay {
    fn calls(&self) -> MutexGuard<'_, HashMap<Digest, Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, once: &Once) -> Result<Place, Problem> {
        let mut calls = self.calls();
        match calls.get(&once.key) {
            Some(call) if *call != once.call => Err(of_another_call()),
            Some(_) => Err(Problem::new(
                StatusCode::CONFLICT,
                "the first call with this Idempotency-Key is still under way; repeat it in a second",
            )
            .code("call-under-way")
            .retry_after(1)),
            None => {
                calls.insert(once.key, once.call);
                Ok(Place {
                    under_way: Arc::clone(self),
                    key: once.key,
                })
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.calls().remove(&self.key);
    }
}

/// Answers a call, as often as it is sent, as what is done once.
pub(super) async fn answer(
    server: Arc<Server>,
    under_way: Arc<UnderWay>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let answered = match key(request.headers()) {
        Ok(None) => return next.run(request).await,
        Ok(Some(key)) => keyed(server, under_way, key, request, next).await,
        Err(error) => Err(Problem::bad_request(error.to_string()).code("bad-idempotency-key")),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

fn key(headers: &HeaderMap) -> Result<Option<Key>, NotAKey> {
    let mut values = headers.get_all(HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Key::parse(value.as_bytes()).map(Some),
        (Some(_), Some(_)) => Err(NotAKey),
    }
}

async fn keyed(
    server: Arc<Server>,
    under_way: Arc<UnderWay>,
    key: Key,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let call = parts.extensions.get::<Arc<Call>>().cloned();
    let call = call.ok_or_else(|| Problem::bad_request("this call takes no Idempotency-Key"))?;
    let caller = Caller::from_request_parts(&mut parts, &server).await?;
    let actor = caller.actor()?;
    // The body is read before it is known whether the caller may make the call: nobody else's is larger than most.
    let longest = match caller {
        Caller::Administrator => apply::longest_body(parts.uri.path()),
        Caller::Person(..) | Caller::Stranger(_) => MAX_BODY,
    };
    // Whoever answers asks again who calls, and need not look a second time.
    parts.extensions.insert(caller);
    let body = input::read(body, longest).await?;
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let once = Once::of(&actor, &key, parts.method.as_str(), path, &body);
    let place = under_way.begin(&once)?;
    if let Some(done) = find(&server, &once) {
        return repeated(&server, &once, &done).await;
    }
    call.is_done_once(once);
    let request = Request::from_parts(parts, Body::from(body));
    // To its end also where the caller goes away in the midst: he repeats it, and gets its answer then.
    let answering = Arc::clone(&call).around(async move {
        let _place = place;
        let response = next.run(request).await;
        match call.done() {
            Some(seq) => Ok(keep(&server, &once, seq, response).await),
            // Nothing came of it, or it was done meanwhile at another server.
            None => match find(&server, &once) {
                Some(done) => repeated(&server, &once, &done).await,
                None => Ok(response),
            },
        }
    });
    let answered = tokio::spawn(answering).await;
    answered.unwrap_or_else(|_| Err(Error::Stopping.into()))
}

fn find(server: &Server, once: &Once) -> Option<DoneOnce> {
    let now = server.now();
    server.look(|state| state.calls.find(&once.key, now).cloned())
}

/// The answer as it goes to the caller, kept for when he repeats the call. Where it can't be kept he gets it all the same.
async fn keep(server: &Server, once: &Once, seq: u64, response: Response) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return Problem::from(Error::Stopping).into_response();
    };
    if let Some(text) = may_be_kept(&body) {
        let answered = Answered {
            key: once.key,
            seq,
            at: server.now(),
        };
        let answer = CallAnswer {
            status: parts.status.as_u16(),
            body: text.to_owned(),
        };
        server.keep_answer(answered, answer).await;
    }
    Response::from_parts(parts, Body::from(body))
}

/// The text of an answer that is short enough, and no secret.
fn may_be_kept(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let is_secret = SECRETS.iter().any(|begins| text.contains(begins));
    (text.len() <= LONGEST_ANSWER && !is_secret).then_some(text)
}

/// What whoever repeats a call is told: its answer, or what it did.
async fn repeated(server: &Server, once: &Once, done: &DoneOnce) -> Result<Response, Problem> {
    if done.call != once.call {
        return Err(of_another_call());
    }
    if let Some(answer) = server.answer_of(once.key, done.seq).await {
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        let kind = [(header::CONTENT_TYPE, "application/json")];
        return Ok((status, kind, answer.body).into_response());
    }
    let look_at = match &done.about {
        Some(about) => format!("look at {about}"),
        None => "look whether it is as you want it".to_owned(),
    };
    let detail = format!(
        "this call was done before, as event {} of the record, and not again; its answer is not kept: {look_at}",
        done.seq
    );
    Err(Problem::new(StatusCode::CONFLICT, detail)
        .code("done-before")
        .event(done.seq))
}

fn of_another_call() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "this Idempotency-Key was sent with another call; every call has a key of its own",
    )
    .code("key-of-another-call")
}

/// The header is not looked at where hosts call, nor where a token is rotated.
fn takes_no_key(path: &str) -> bool {
    let of_host = path.starts_with("/v1/host/") || path == "/v1/enrol";
    let of_rotation = ["/v1/token/rotate", "/v1/users/{name}/tokens/{id}/rotate"];
    of_host || of_rotation.contains(&path)
}

/// Adds the header to every call that it is for, and what it may be refused with.
pub(super) fn describe(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let Some(operation) = item.post.as_mut().filter(|_| !takes_no_key(path)) else {
            continue;
        };
        let key = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(PATTERN))
            .build();
        let parameter = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "A word of the caller's for this call: 1 to 64 printable characters, with quotes around it or without. Sent again within a \
                 day, the call is not done again and has the same answer, or 409 `done-before` with the event's number where its answer is \
                 not kept (secrets are not); while the first is under way 409 `call-under-way`; with another call 422 \
                 `key-of-another-call`. A call that was refused, or changed nothing, is done anew.",
            ))
            .schema(Some(key));
        operation
            .parameters
            .get_or_insert_default()
            .push(parameter.build().into());
        refusals::add(operation, REFUSALS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_secret_is_not_kept_nor_one_that_is_too_long() {
        assert_eq!(may_be_kept(br#"{"id":"r7"}"#), Some(r#"{"id":"r7"}"#));
        let user = jit_grant::UserToken::generate().unwrap().reveal();
        let enrolment = jit_grant::EnrolmentToken {
            secret: jit_grant::Secret::generate().unwrap(),
            server_key: jit_grant::SigningKey::generate().unwrap().public(),
        };
        for secret in [user, enrolment.reveal()] {
            let body = format!(r#"{{"token":"{secret}"}}"#);
            assert_eq!(may_be_kept(body.as_bytes()), None, "{secret}");
        }
        assert_eq!(may_be_kept(&vec![b'x'; LONGEST_ANSWER + 1]), None);
    }
}
