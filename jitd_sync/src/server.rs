//! What the server is asked. Nothing that it answers is believed here; it is only kept within bounds.

use std::cell::Cell;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::SyncError;
use crate::event_stream::{Event, EventStream, StreamError};
use crate::place::Place;

/// How long the server may take for an answer, its body included.
const ANSWER_TIME: Duration = Duration::from_secs(15);

/// Bytes of an answer that is not a stream.
const ANSWER_BYTES: usize = 64 * 1024;

/// Bytes of one event of the stream: the largest bundle that a host takes (4 MiB, `jit_grant::Bundle::MAX_BYTES`), its revision
/// and the field names around it.
const EVENT_BYTES: usize = 4 * 1024 * 1024 + 1024;

/// Bytes of the stream since its last bundle or keys: the next one, and what a server says in a month to show that it lives.
const IDLE_BYTES: usize = 2 * EVENT_BYTES;

/// From the first byte of an event to its last.
const EVENT_TIME: Duration = Duration::from_secs(120);

/// The server, as this host reaches it.
#[derive(Debug)]
pub(crate) struct Server {
    client: Client,
    /// What calls begin with: one for each place where the server may be.
    bases: Vec<String>,
    /// The one that calls go to now.
    turn: Cell<usize>,
}

/// How far the server has the host's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It took them; its last is this one.
    UpTo(u64),
    /// It has only up to this one, and what it was sent does not follow.
    OnlyUpTo(u64),
}

impl Server {
    /// The server at `place`. Nothing is sent yet.
    pub(crate) fn at(place: &Place) -> Result<Self, SyncError> {
        let (client, bases) = place.reach()?;
        let mut headers = HeaderMap::new();
        headers.insert(
            "jit-client",
            HeaderValue::from_static(concat!("jitd-sync/", env!("CARGO_PKG_VERSION"))),
        );
        let client = client
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self {
            client,
            bases,
            turn: Cell::new(0),
        })
    }

    /// The place whose turn it is, by its number.
    pub(crate) fn turn(&self) -> usize {
        self.turn.get()
    }

    /// Calls `path` at the place whose turn it is. Where nothing is to be reached there, it is the next one's turn.
    async fn try_in_turn<T>(
        &self,
        path: &str,
        call: impl AsyncFnOnce(String) -> Result<T, SyncError>,
    ) -> Result<T, SyncError> {
        let turn = self.turn.get();
        let outcome = call(format!("{}/v1/host/{path}", self.bases[turn])).await;
        // Another errand may have passed it on meanwhile.
        if outcome.as_ref().is_err_and(SyncError::is_for_the_next) && self.turn.get() == turn {
            self.turn.set((turn + 1) % self.bases.len());
        }
        outcome
    }

    /// A signed word for `nonce`. `state` is how the host stands, in its own signed words.
    pub(crate) async fn word(
        &self,
        token: &str,
        nonce: &str,
        state: Option<&str>,
    ) -> Result<String, SyncError> {
        #[derive(Serialize)]
        struct Question<'a> {
            nonce: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            state: Option<&'a str>,
        }
        #[derive(Deserialize)]
        struct Answer {
            word: String,
        }
        let call = async |url| {
            let request = self.client.post(url).json(&Question { nonce, state });
            let (status, body) = answer(request.bearer_auth(token)).await?;
            match status {
                StatusCode::OK => parse::<Answer>(&body).map(|answer| answer.word),
                _ => Err(refused(status, &body)),
            }
        };
        self.try_in_turn("word", call).await
    }

    /// Hands over recorded events.
    pub(crate) async fn events(
        &self,
        token: &str,
        lines: &[String],
        checkpoint: Option<&str>,
    ) -> Result<Stored, SyncError> {
        #[derive(Serialize)]
        struct Handed<'a> {
            lines: &'a [String],
            checkpoint: Option<&'a str>,
        }
        #[derive(Deserialize)]
        struct Answer {
            seq: u64,
        }
        let call = async |url| {
            let request = self.client.post(url).json(&Handed { lines, checkpoint });
            let (status, body) = answer(request.bearer_auth(token)).await?;
            match status {
                status if status.is_success() => {
                    parse::<Answer>(&body).map(|answer| Stored::UpTo(answer.seq))
                }
                StatusCode::CONFLICT => {
                    parse::<Answer>(&body).map(|answer| Stored::OnlyUpTo(answer.seq))
                }
                _ => Err(refused(status, &body)),
            }
        };
        self.try_in_turn("events", call).await
    }

    /// Opens the stream of bundles newer than revision `held`. A server that then says nothing for `silence` is gone.
    pub(crate) async fn stream(
        &self,
        token: &str,
        held: u64,
        silence: Duration,
    ) -> Result<Stream, SyncError> {
        let call = async |url| {
            let request = self.client.get(url).bearer_auth(token);
            let request = request
                .header(ACCEPT, "text/event-stream")
                .header("last-event-id", held);
            opened(within(ANSWER_TIME.min(silence), request.send()).await??).await
        };
        let response = self.try_in_turn("stream", call).await?;
        Ok(Stream::of(response, silence))
    }

    /// What a stream would say, once: a bundle newer than revision `after`. The server waits for one. None: it waited in vain.
    pub(crate) async fn newer(
        &self,
        token: &str,
        after: u64,
        wait: Duration,
        silence: Duration,
    ) -> Result<Option<Stream>, SyncError> {
        let call = async |url| {
            let request = self.client.get(url).bearer_auth(token);
            let response = within(wait + ANSWER_TIME, request.send()).await??;
            if response.status() == StatusCode::NO_CONTENT {
                return Ok(None);
            }
            opened(response).await.map(Some)
        };
        let path = format!("bundle?after={after}&wait={}", wait.as_secs());
        let response = self.try_in_turn(&path, call).await?;
        Ok(response.map(|response| Stream::of(response, silence)))
    }
}

/// An open stream of events.
pub(crate) struct Stream {
    response: Response,
    silence: Duration,
    events: EventStream,
    chunk: Vec<u8>,
    used: usize,
    /// Bytes since the last event that was of use.
    idle: usize,
    /// When the event that has not ended yet began.
    midway: Option<Instant>,
}

impl Stream {
    fn of(response: Response, silence: Duration) -> Self {
        Self {
            response,
            silence,
            events: EventStream::new(EVENT_BYTES),
            chunk: Vec::new(),
            used: 0,
            idle: 0,
            midway: None,
        }
    }

    /// True once it has said anything.
    pub(crate) fn was_heard(&self) -> bool {
        self.used > 0
    }

    /// The next bundle or keys. None: the server says something else, so it is there. Dropping the future half-way loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, SyncError> {
        if let Some(event) = self.take()? {
            return Ok(Some(event));
        }
        let chunk = match self.midway {
            None => within(self.silence, self.response.chunk()).await??,
            Some(began) => timeout_at(
                began + EVENT_TIME,
                within(self.silence, self.response.chunk()),
            )
            .await
            .map_err(|_| SyncError::Slow(EVENT_TIME))???,
        };
        self.chunk = chunk.ok_or(SyncError::Closed)?.into();
        self.used = 0;
        self.idle += self.chunk.len();
        self.take()
    }

    /// The next event of use in what has come.
    fn take(&mut self) -> Result<Option<Event>, SyncError> {
        while self.used < self.chunk.len() {
            let mut rest = &self.chunk[self.used..];
            let event = self.events.take(&mut rest);
            self.used = self.chunk.len() - rest.len();
            match event {
                Ok(Some(event)) if matches!(event.name.as_str(), "bundle" | "keys") => {
                    (self.idle, self.midway) = (0, None);
                    return Ok(Some(event));
                }
                // What a later server may send, or the end of what came.
                Ok(_) => {}
                Err(StreamError::TooLong(limit)) => return Err(SyncError::TooLong(limit)),
                Err(error @ StreamError::NotText) => {
                    return Err(SyncError::Nonsense(error.to_string()));
                }
            }
        }
        if self.idle > IDLE_BYTES {
            return Err(SyncError::TooLong(IDLE_BYTES));
        }
        let midway = self.events.is_midway();
        self.midway = midway.then(|| self.midway.unwrap_or_else(Instant::now));
        Ok(None)
    }
}

async fn answer(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), SyncError> {
    let whole = async {
        let response = request.send().await?;
        let status = response.status();
        Ok((status, body(response).await?))
    };
    within(ANSWER_TIME, whole).await?
}

/// The response, where it is a stream of events.
async fn opened(response: Response) -> Result<Response, SyncError> {
    let status = response.status();
    if status != StatusCode::OK {
        let body = within(ANSWER_TIME, body(response)).await??;
        return Err(refused(status, &body));
    }
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.map(HeaderValue::as_bytes).unwrap_or_default();
    if !kind.starts_with(b"text/event-stream") {
        return Err(SyncError::Nonsense(
            "the stream is no text/event-stream".to_owned(),
        ));
    }
    Ok(response)
}

async fn body(mut response: Response) -> Result<Vec<u8>, SyncError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES {
            return Err(SyncError::TooLong(ANSWER_BYTES));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Result<T, SyncError> {
    timeout(time, future)
        .await
        .map_err(|_| SyncError::Silent(time))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, SyncError> {
    serde_json::from_slice(body).map_err(|error| SyncError::Nonsense(error.to_string()))
}

/// What the server says goes into the log, so only its beginning, with nothing in it that a terminal would act on.
fn refused(status: StatusCode, body: &[u8]) -> SyncError {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let said = serde_json::from_slice::<Problem>(body).map_or_else(
        |_| String::from_utf8_lossy(body).into_owned(),
        |problem| problem.detail,
    );
    let detail = said
        .chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect();
    SyncError::Refused {
        status: status.as_u16(),
        detail,
    }
}

#[cfg(test)]
mod tests;
