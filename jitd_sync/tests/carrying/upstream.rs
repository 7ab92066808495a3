//! A server that streams what it is told to and remembers what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use futures_util::stream::{self, iter, poll_fn};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Stream {
        held: u64,
    },
    Word {
        token: String,
        nonce: String,
        state: String,
    },
    Bundle {
        after: u64,
        wait: u64,
    },
}

/// What somebody on the way makes of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    GetThrough,
    /// Streams are held back until they are whole, which they never are.
    HeldBack,
    /// The next one is held back, as by a server that is busy.
    HeldBackOnce,
    /// Streams are held back once they are open.
    HeldBackInside,
    /// Streams end once they have said something.
    CutYoung,
    /// Streams are forbidden.
    Forbidden,
    /// Streams are answered with a page.
    APage,
    /// As held back, and what else lasts for a second is cut.
    NothingLasts,
    /// Nothing is answered.
    AllHeldBack,
}

#[derive(Clone)]
pub(crate) struct Upstream(Arc<Inner>);

struct Inner {
    socket: PathBuf,
    said: mpsc::UnboundedSender<Asked>,
    heard: tokio::sync::Mutex<mpsc::UnboundedReceiver<Asked>>,
    stream: Mutex<Option<mpsc::Sender<Bytes>>>,
    /// What becomes of streams on their way.
    fate: Mutex<Fate>,
    /// Nobody lets calls for a bundle through.
    no_bundles: Mutex<bool>,
    /// The bundle that whoever asks for one is told.
    newest: watch::Sender<String>,
    /// Tokens below this one are over.
    takes_from: Mutex<u64>,
    events: Mutex<Vec<String>>,
    more_events: Notify,
    /// It takes no events for now; so often it has said so.
    events_refused: Mutex<Option<usize>>,
    tasks: Mutex<Option<AbortHandle>>,
}

impl Upstream {
    pub(crate) fn at(socket: &Path) -> Self {
        let _ = std::fs::remove_file(socket);
        let (said, heard) = mpsc::unbounded_channel();
        let upstream = Self(Arc::new(Inner {
            socket: socket.to_owned(),
            said,
            heard: tokio::sync::Mutex::new(heard),
            stream: Mutex::default(),
            fate: Mutex::new(Fate::GetThrough),
            no_bundles: Mutex::default(),
            newest: watch::Sender::new(String::new()),
            takes_from: Mutex::default(),
            events: Mutex::default(),
            more_events: Notify::new(),
            events_refused: Mutex::default(),
            tasks: Mutex::default(),
        }));
        let routes = Router::new()
            .route("/v1/host/stream", get(follow))
            .route("/v1/host/bundle", get(bundle))
            .route("/v1/host/word", post(word))
            .route("/v1/host/events", post(events))
            .with_state(upstream.clone());
        let listener = UnixListener::bind(socket).unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        *upstream.0.tasks.lock().unwrap() = Some(serving.abort_handle());
        upstream
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.0.socket.display())
    }

    /// Closes its listener and its stream.
    pub(crate) fn stop(&self) {
        self.0.tasks.lock().unwrap().take().unwrap().abort();
        self.0.stream.lock().unwrap().take();
    }

    /// Its time is ahead now: the stream is cut, and until a word has told the host the time its tokens are over.
    pub(crate) fn step_ahead(&self) {
        *self.0.takes_from.lock().unwrap() = u64::MAX;
        self.0.stream.lock().unwrap().take();
    }

    pub(crate) async fn asked(&self) -> Asked {
        self.0.heard.lock().await.recv().await.unwrap()
    }

    pub(crate) async fn asked_for_stream(&self, after: u64) {
        loop {
            if let Asked::Stream { held } = self.asked().await {
                assert_eq!(held, after);
                return;
            }
        }
    }

    pub(crate) async fn asked_for_bundle(&self, after: u64, wait: u64) {
        let wanted = Asked::Bundle { after, wait };
        loop {
            let asked = self.asked().await;
            if matches!(asked, Asked::Bundle { .. }) {
                assert_eq!(asked, wanted);
                return;
            }
        }
    }

    pub(crate) fn streams_are(&self, fate: Fate) {
        *self.0.fate.lock().unwrap() = fate;
    }

    /// From the next call for a bundle on all of them are refused.
    pub(crate) fn bundles_are_refused(&self) {
        *self.0.no_bundles.lock().unwrap() = true;
    }

    /// Whoever asks for a bundle is told this one.
    pub(crate) fn has_bundle(&self, bundle: &str) {
        self.0.newest.send_replace(bundle.to_owned());
    }

    pub(crate) fn forget_what_was_asked(&self) {
        let mut heard = self.0.heard.try_lock().unwrap();
        while heard.try_recv().is_ok() {}
    }

    pub(crate) fn send_bundle(&self, bundle: &str) {
        assert!(self.try_to_send_bundle(bundle));
    }

    /// False where nobody follows a stream.
    pub(crate) fn try_to_send_bundle(&self, bundle: &str) -> bool {
        let revision = bundle.split('.').next().unwrap();
        let text = format!(": alive\n\nevent: bundle\nid: {revision}\ndata: {bundle}\n\n");
        let stream = self.0.stream.lock().unwrap();
        stream
            .as_ref()
            .is_some_and(|stream| stream.try_send(text.into()).is_ok())
    }

    pub(crate) fn send_keys(&self, chain: &[&str]) {
        let lines = chain.iter().map(|document| format!("data: {document}\n"));
        let text = format!("event: keys\n{}\n", lines.collect::<String>());
        let stream = self.0.stream.lock().unwrap();
        stream.as_ref().unwrap().try_send(text.into()).unwrap();
    }

    /// Sends this over and over, until nobody takes it any more.
    pub(crate) async fn flood_until_cut_off(&self, with: &str) {
        let stream = self.0.stream.lock().unwrap().clone().unwrap();
        let part = Bytes::from(with.repeat(65536 / with.len()));
        let mut sent = 0;
        while stream.send(part.clone()).await.is_ok() {
            sent += part.len();
            assert!(sent < 64 * 1024 * 1024, "still taken after {sent} bytes");
        }
    }

    pub(crate) async fn has_events_up_to(&self, count: usize) {
        loop {
            let more = self.0.more_events.notified();
            if self.0.events.lock().unwrap().len() == count {
                return;
            }
            more.await;
        }
    }

    /// Takes no events from now on, as after too many of them.
    pub(crate) fn refuse_events(&self) {
        *self.0.events_refused.lock().unwrap() = Some(0);
    }

    /// Takes events again, once it has refused some so often.
    pub(crate) async fn take_events_after_refusing(&self, times: usize) {
        loop {
            let more = self.0.more_events.notified();
            {
                let mut refused = self.0.events_refused.lock().unwrap();
                if refused.is_none_or(|refused| refused >= times) {
                    *refused = None;
                    return;
                }
            }
            more.await;
        }
    }

    pub(crate) fn forget_events_after(&self, count: usize) {
        self.0.events.lock().unwrap().truncate(count);
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.0.events.lock().unwrap().clone()
    }
}

async fn follow(State(upstream): State<Upstream>, headers: HeaderMap) -> Response {
    assert!(
        headers["jit-client"]
            .to_str()
            .unwrap()
            .starts_with("jitd-sync/")
    );
    if number(token(&headers)) < *upstream.0.takes_from.lock().unwrap() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let held = headers["last-event-id"].to_str().unwrap().parse().unwrap();
    let fate = *upstream.0.fate.lock().unwrap();
    let of_events = [("content-type", "text/event-stream")];
    if fate != Fate::GetThrough {
        upstream.0.said.send(Asked::Stream { held }).unwrap();
    }
    match fate {
        Fate::GetThrough => {}
        Fate::HeldBackOnce => {
            upstream.streams_are(Fate::GetThrough);
            return pending().await;
        }
        Fate::HeldBackInside => {
            let open = iter([Ok::<_, Infallible>(": open\n\n")]).chain(stream::pending());
            return (of_events, Body::from_stream(open)).into_response();
        }
        Fate::CutYoung => return (of_events, ": open\n\n").into_response(),
        Fate::Forbidden => return StatusCode::FORBIDDEN.into_response(),
        Fate::APage => return "Welcome".into_response(),
        Fate::HeldBack | Fate::NothingLasts | Fate::AllHeldBack => return pending().await,
    }
    let (sender, mut receiver) = mpsc::channel(4);
    *upstream.0.stream.lock().unwrap() = Some(sender);
    upstream.0.said.send(Asked::Stream { held }).unwrap();
    let parts = poll_fn(move |context| {
        receiver
            .poll_recv(context)
            .map(|part| part.map(Ok::<_, Infallible>))
    });
    (of_events, Body::from_stream(parts)).into_response()
}

async fn bundle(
    State(upstream): State<Upstream>,
    Query(newer): Query<HashMap<String, u64>>,
) -> Response {
    let (after, wait) = (newer["after"], newer["wait"]);
    let mut newest = upstream.0.newest.subscribe();
    let _ = upstream.0.said.send(Asked::Bundle { after, wait });
    let fate = *upstream.0.fate.lock().unwrap();
    if *upstream.0.no_bundles.lock().unwrap() {
        return StatusCode::NOT_FOUND.into_response();
    }
    if fate == Fate::AllHeldBack {
        return pending().await;
    }
    let revision = |bundle: &str| -> u64 { bundle.split('.').next().unwrap().parse().unwrap_or(0) };
    let seconds = if fate == Fate::NothingLasts { 1 } else { wait };
    let newer = newest.wait_for(|bundle| revision(bundle) > after);
    match timeout(Duration::from_secs(seconds), newer).await {
        Ok(bundle) => {
            let bundle = bundle.unwrap().clone();
            let event = format!(
                "event: bundle\nid: {}\ndata: {bundle}\n\n",
                revision(&bundle)
            );
            ([("content-type", "text/event-stream")], event).into_response()
        }
        Err(_) if wait > seconds => StatusCode::GATEWAY_TIMEOUT.into_response(),
        Err(_) => StatusCode::NO_CONTENT.into_response(),
    }
}

fn token(headers: &HeaderMap) -> &str {
    let value = headers["authorization"].to_str().unwrap();
    value.strip_prefix("Bearer ").unwrap()
}

/// The tokens here are `token-1`, `token-2`, as they are made.
fn number(token: &str) -> u64 {
    token.strip_prefix("token-").unwrap().parse().unwrap()
}

async fn word(
    State(upstream): State<Upstream>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Json<Value> {
    let token = token(&headers).to_owned();
    {
        // The host's next token is made by the time that this word tells.
        let mut takes_from = upstream.0.takes_from.lock().unwrap();
        *takes_from = (*takes_from).min(number(&token) + 1);
    }
    let [nonce, state] = ["nonce", "state"].map(|key| body[key].as_str().unwrap().to_owned());
    let asked = Asked::Word {
        token,
        nonce,
        state,
    };
    upstream.0.said.send(asked).unwrap();
    Json(json!({ "word": "a.word.signed" }))
}

/// Like jit-server: skips what it has, refuses what does not follow.
async fn events(
    State(upstream): State<Upstream>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let lines = body["lines"].as_array().unwrap();
    assert!(lines.is_empty() || body["checkpoint"] == "check.point.x");
    if let Some(refused) = &mut *upstream.0.events_refused.lock().unwrap() {
        *refused += 1;
        upstream.0.more_events.notify_waiters();
        let problem = json!({ "detail": "too many events" });
        return (StatusCode::TOO_MANY_REQUESTS, Json(problem));
    }
    let mut events = upstream.0.events.lock().unwrap();
    for line in lines {
        let line = line.as_str().unwrap();
        let seq: usize = line.strip_prefix("event ").unwrap().parse().unwrap();
        if seq > events.len() + 1 {
            return (StatusCode::CONFLICT, Json(json!({ "seq": events.len() })));
        }
        if seq == events.len() + 1 {
            events.push(line.to_owned());
        }
    }
    upstream.0.more_events.notify_waiters();
    (StatusCode::OK, Json(json!({ "seq": events.len() })))
}
