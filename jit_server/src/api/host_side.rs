//! What hosts call: their bundles, as a stream or one by one, the server's word, their own events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{iter, once, unfold};
use futures_util::{Stream, StreamExt};
use jit_grant::{HostId, Nonce};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::caller::{HostAskingTheTime, HostCaller};
use super::input::{self, Parameters};
use crate::error::Error;
use crate::server::{Server, SignedBundle};
use crate::streams::Listening;

/// A quiet stream says so often that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// So long a word waits for how its host stands to be recorded. It is recorded also after that.
const RECORDING_TIME: Duration = Duration::from_secs(1);
/// A call for one bundle waits no longer. Seconds.
const LONGEST_WAIT: u64 = 25;
/// Lines of a host's event chain in one call, bytes together at most.
pub(super) const MAX_EVENTS: usize = 256 * 1024;

/// The host's bundles as Server-Sent Events: `bundle`, its revision as id, a compact JWS as data; before the first bundle that a next
/// key signed `keys`, the documents that lead to that key (`jit-next-key+jwt`), one a line. The newest bundle comes at once where
/// the host holds an older one (`Last-Event-ID`), and each newer one as soon as it is made. A comment comes at once and whenever there was
/// nothing else for 15 s, so that a host notices an answer that is held back on its way.
#[utoipa::path(get, path = "/v1/host/stream", tag = "hosts", params(
    ("Last-Event-ID" = Option<u64>, Header, description = "the revision that the host holds"),
), responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json", description = "this server does not see its database; ask another one"),
))]
pub(super) async fn stream(
    State(server): State<Arc<Server>>,
    HostCaller(host): HostCaller,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let held = held_revision(&headers)?;
    let listener = Listener::of(server, host, held).await?;
    let events = unfold(listener, |mut listener| async move {
        Some((listener.next().await?, listener))
    });
    let open = once(async { Event::default().comment("open") });
    let events = open.chain(events).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Which bundle, and how long to wait for it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Newer {
    /// The revision that the host holds.
    #[serde(default)]
    after: u64,
    /// Seconds; a longer wait than 25 is one of 25.
    #[serde(default)]
    wait: u64,
}

impl Newer {
    fn time(&self) -> Duration {
        Duration::from_secs(self.wait.min(LONGEST_WAIT))
    }
}

/// One bundle newer than the host's, for where streams don't get through: what a stream would say, as the same events, and then the
/// answer ends. The keys that lead to the bundle's come before it each time.
#[utoipa::path(get, path = "/v1/host/bundle", tag = "hosts", params(Newer), responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 204, description = "nothing newer came while it waited"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json", description = "the server stops, or does not see its database"),
))]
pub(super) async fn bundle(
    State(server): State<Arc<Server>>,
    HostCaller(host): HostCaller,
    Parameters(newer): Parameters<Newer>,
) -> Result<Response, Problem> {
    let mut listener = Listener::of(server, host, newer.after).await?;
    let waited = timeout(newer.time(), listener.newer()).await;
    if !matches!(waited, Ok(Some(()))) {
        return if *listener.stopping.borrow() {
            Err(Error::Stopping.into())
        } else {
            Ok(StatusCode::NO_CONTENT.into_response())
        };
    }
    let bundle = listener.server.bundle(&listener.host);
    let events = [listener.keys(), listener.event(bundle)];
    let events = events.into_iter().flatten().map(Ok::<_, Infallible>);
    Ok(Sse::new(iter(events)).into_response())
}

fn held_revision(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(0);
    };
    let revision = value.to_str().ok().and_then(|text| text.parse().ok());
    revision.ok_or_else(|| Problem::bad_request("Last-Event-ID must be a revision"))
}

struct Listener {
    server: Arc<Server>,
    host: HostId,
    held: u64,
    newest: Listening,
    stopping: watch::Receiver<bool>,
    speaks: watch::Receiver<bool>,
    /// Rotations of the server's key that the host was told of.
    keys_sent: u64,
    /// The last bundle has been sent.
    over: bool,
}

impl Listener {
    async fn of(server: Arc<Server>, host: HostId, held: u64) -> Result<Self, Problem> {
        server.in_contact()?;
        server.overtake(host.clone(), held).await?;
        let newest = server.streams().listen(&host).ok_or(Error::UnknownHost)?;
        let stopping = server.stopping();
        let speaks = server.speaks();
        Ok(Self {
            server,
            host,
            held,
            newest,
            stopping,
            speaks,
            keys_sent: 0,
            over: false,
        })
    }

    /// Waits until there is a newer bundle, or the last one of a host that is not known any more. None: the server stops, or the host
    /// listens anew.
    async fn newer(&mut self) -> Option<()> {
        while self.newest.revision()? <= self.held {
            if !self.changed().await? {
                break;
            }
        }
        Some(())
    }

    /// Waits for news; false where the host is not known any more. None: the server stops, or is cut off from what other servers do.
    async fn changed(&mut self) -> Option<bool> {
        tokio::select! {
            changed = self.newest.changed() => Some(changed.is_some()),
            _ = self.stopping.wait_for(|stopping| *stopping) => None,
            _ = self.speaks.wait_for(|speaks| !*speaks) => None,
        }
    }

    /// The next bundle or keys. None when the stream is over: the server stops, the host has newer streams, or it was told that it is not known
    /// any more.
    async fn next(&mut self) -> Option<Event> {
        while !self.over {
            let newer = self.newest.revision()? > self.held;
            let bundle = newer.then(|| self.server.bundle(&self.host));
            // Looked at after the bundle was signed, so that whatever key signed it, these lead to it.
            if let Some(keys) = self.keys() {
                return Some(keys);
            }
            if let Some(bundle) = bundle {
                return self.event(bundle);
            }
            if !self.changed().await? {
                return self.event(Err(Error::UnknownHost));
            }
        }
        None
    }

    /// `keys`, where the host was not told of all of them. A chain that does not lead to the key that signs now is none of a host's that
    /// believes this one: the key at its end is lost, and a rotation that is on its way is told of a moment later.
    fn keys(&mut self) -> Option<Event> {
        let signs = self.server.public_key();
        let (last, documents) = self.server.look(|state| {
            if state.keys.newest() != Some(signs) {
                return (self.keys_sent, None);
            }
            let told = state.keys.last() <= self.keys_sent;
            let documents = (!told).then(|| state.keys.documents().collect::<Vec<_>>().join("\n"));
            (state.keys.last(), documents)
        });
        self.keys_sent = last;
        Some(Event::default().event("keys").data(documents?))
    }

    /// `bundle`; for a host that is not known any more the last one, so that what is open there ends now.
    fn event(&mut self, bundle: Result<SignedBundle, Error>) -> Option<Event> {
        let bundle = match bundle {
            Err(Error::UnknownHost) => {
                self.over = true;
                self.server.last_bundle(&self.host, self.held)
            }
            bundle => bundle,
        };
        let bundle = bundle
            .inspect_err(|error| tracing::error!(host = %self.host, "no bundle: {error}"))
            .ok()?;
        self.held = bundle.revision;
        let event = Event::default()
            .event("bundle")
            .id(bundle.revision.to_string());
        Some(event.data(bundle.document))
    }
}

/// A question that only this host asks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// jitd's nonce.
    #[schema(value_type = String)]
    nonce: Nonce,
    /// `jit-state+jwt` with that nonce, newer than the one before: how the host stands. With a token that is over it is not heard. Hosts of
    /// before send none.
    state: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WordView {
    /// `jit-word+jwt`.
    word: String,
}

/// The server's signed word: alive, and at this revision. With the question comes how the host stands; the answer does not depend on it.
#[utoipa::path(post, path = "/v1/host/word", tag = "hosts", request_body = Question, responses(
    (status = 200, body = WordView),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json", description = "this server does not see its database; ask another one"),
))]
pub(super) async fn word(
    State(server): State<Arc<Server>>,
    HostAskingTheTime { host, counts }: HostAskingTheTime,
    input::Json(question): input::Json<Question>,
) -> Result<Json<WordView>, Problem> {
    let Question { nonce, state } = question;
    // With a token that is over it is as if it said nothing: else whoever carries its words could keep to tokens of before.
    let state = state.filter(|_| counts);
    let heard = server.hear_standing(&host, &nonce, state.as_deref());
    match timeout(RECORDING_TIME, heard).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%host, "how it stands was not recorded: {error}"),
        Err(_) => tracing::error!(%host, "how it stands is not recorded yet: the disk is slow"),
    }
    Ok(Json(WordView {
        word: server.word(&host, nonce)?,
    }))
}

/// Lines of the host's event chain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lines {
    /// As written, oldest first, each naming the hash of the one before. With none the answer is how far the chain is stored, and the
    /// checkpoint is not looked at.
    lines: Vec<String>,
    /// `jit-events+jwt` over the chain up to the last of them.
    checkpoint: String,
}

/// How far the host's chain is stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stored {
    /// The last line stored.
    seq: u64,
}

/// Keeps lines of the host's event chain. Those stored already are skipped.
#[utoipa::path(post, path = "/v1/host/events", tag = "hosts", request_body = Lines, responses(
    (status = 200, body = Stored),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json", description = "they do not follow line `seq`, the last stored, or one is longer than 8 KiB"),
))]
pub(super) async fn events(
    State(server): State<Arc<Server>>,
    HostCaller(host): HostCaller,
    input::Json(sent): input::Json<Lines>,
) -> Result<Json<Stored>, Problem> {
    let seq = server
        .keep_host_lines(host, sent.lines, sent.checkpoint)
        .await?;
    Ok(Json(Stored { seq }))
}

/// A larger body than others may send.
pub(super) fn events_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(MAX_EVENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_for_one_bundle_waits_no_longer_than_25_s() {
        for (wait, time) in [(0, 0), (25, 25), (26, 25), (u64::MAX, 25)] {
            let newer = Newer { after: 0, wait };
            assert_eq!(newer.time().as_secs(), time);
        }
    }
}
