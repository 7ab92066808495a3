//! What the server is asked. Nothing that it answers is believed here; it is only kept within bounds.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

use crate::error::SyncError;
use crate::event_stream::{Event, EventStream, StreamError};

/// How long the server may take for an answer, its body included.
const ANSWER_TIME: Duration = Duration::from_secs(15);

/// Bytes of an answer that is not a stream.
const ANSWER_BYTES: usize = 64 * 1024;

/// Bytes of one event of the stream: the largest bundle that a host takes (4 MiB, `jit_grant::Bundle::MAX_BYTES`), its revision
/// and the field names around it.
const EVENT_BYTES: usize = 4 * 1024 * 1024 + 1024;

/// The server, as this host reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    client: Client,
    base: String,
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
    /// The server at `address`, `unix:/PATH`. A server over the network is to be another arm here.
    pub(crate) fn at(address: &str) -> Result<Self, SyncError> {
        let path = address
            .strip_prefix("unix:")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let path = path.ok_or_else(|| SyncError::Address(address.to_owned()))?;
        let mut headers = HeaderMap::new();
        headers.insert(
            "jit-client",
            HeaderValue::from_static(concat!("jitd-sync/", env!("CARGO_PKG_VERSION"))),
        );
        let client = Client::builder()
            .unix_socket(path)
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(ANSWER_TIME)
            .build()?;
        Ok(Self {
            client,
            base: "http://jit-server/v1/host".to_owned(),
        })
    }

    /// A signed word for `nonce`.
    pub(crate) async fn word(&self, token: &str, nonce: &str) -> Result<String, SyncError> {
        #[derive(Deserialize)]
        struct Answer {
            word: String,
        }
        let request = self
            .client
            .post(format!("{}/word", self.base))
            .json(&json!({ "nonce": nonce }));
        let (status, body) = answer(request.bearer_auth(token)).await?;
        match status {
            StatusCode::OK => parse::<Answer>(&body).map(|answer| answer.word),
            _ => Err(refused(status, &body)),
        }
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
        let request = self
            .client
            .post(format!("{}/events", self.base))
            .json(&Handed { lines, checkpoint });
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
    }

    /// Opens the stream of bundles newer than revision `held`. A server that then says nothing for `silence` is gone.
    pub(crate) async fn stream(
        &self,
        token: &str,
        held: u64,
        silence: Duration,
    ) -> Result<Stream, SyncError> {
        let request = self
            .client
            .get(format!("{}/stream", self.base))
            .bearer_auth(token);
        let request = request
            .header(ACCEPT, "text/event-stream")
            .header("last-event-id", held);
        let response = within(ANSWER_TIME, request.send()).await??;
        if response.status() != StatusCode::OK {
            let status = response.status();
            return Err(refused(
                status,
                &within(ANSWER_TIME, body(response)).await??,
            ));
        }
        let kind = response
            .headers()
            .get(CONTENT_TYPE)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        if !kind.starts_with(b"text/event-stream") {
            return Err(SyncError::Nonsense(
                "the stream is no text/event-stream".to_owned(),
            ));
        }
        Ok(Stream {
            response,
            silence,
            events: EventStream::new(EVENT_BYTES),
            chunk: Vec::new(),
            used: 0,
        })
    }
}

/// An open stream of events.
pub(crate) struct Stream {
    response: Response,
    silence: Duration,
    events: EventStream,
    chunk: Vec<u8>,
    used: usize,
}

impl Stream {
    /// The next event. Dropping the future half-way loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Event, SyncError> {
        loop {
            let mut rest = &self.chunk[self.used..];
            let event = self.events.take(&mut rest);
            self.used = self.chunk.len() - rest.len();
            match event {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(StreamError::TooLong(limit)) => return Err(SyncError::TooLong(limit)),
                Err(error @ StreamError::NotText) => {
                    return Err(SyncError::Nonsense(error.to_string()));
                }
            }
            let chunk = within(self.silence, self.response.chunk()).await??;
            self.chunk = chunk.ok_or(SyncError::Closed)?.into();
            self.used = 0;
        }
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
mod tests {
    use super::*;

    #[test]
    fn only_an_absolute_unix_path_is_an_address() {
        assert!(Server::at("unix:/run/jit-server/api.sock").is_ok());
        for address in [
            "",
            "unix:",
            "unix:api.sock",
            "/run/api.sock",
            "http://localhost",
            "https://jit.example",
        ] {
            assert!(
                matches!(Server::at(address), Err(SyncError::Address(_))),
                "{address:?}"
            );
        }
    }

    #[test]
    fn the_largest_bundle_that_a_host_takes_fits_an_event() {
        let around = "event: bundle\nid: 18446744073709551615\ndata: \n\n".len();
        assert!(EVENT_BYTES >= jit_grant::Bundle::MAX_BYTES + around);
    }

    #[test]
    fn a_refusal_is_quoted_short_and_harmless() {
        let SyncError::Refused { detail, .. } = refused(
            StatusCode::FORBIDDEN,
            "{\"detail\":\"no\\u001b[2Jhost\u{202e}\"}".as_bytes(),
        ) else {
            panic!()
        };
        assert_eq!(detail, "no\\u{1b}[2Jhost\\u{202e}");
        let SyncError::Refused { detail, .. } = refused(StatusCode::BAD_GATEWAY, &[b'x'; 5000])
        else {
            panic!()
        };
        assert_eq!(detail.len(), 200);
    }
}
