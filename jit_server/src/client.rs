//! Calls to the running server, over its socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HeaderMap, LINK};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::error::Error;

const LONGEST_CALL: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The running server.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The server that listens at `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Gets what is at `path`.
    ///
    /// # Errors
    /// Where the server is not there, or refuses.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        Ok(self.call(Method::GET, path, Bytes::new()).await?.0)
    }

    /// Gets all of the list at `path`, page by page.
    ///
    /// # Errors
    /// Where the server is not there, or refuses.
    pub async fn get_all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let (page, following) = self
                .call::<Vec<T>>(Method::GET, &path, Bytes::new())
                .await?;
            // A page of nothing leads nowhere, whatever it says.
            next = following.filter(|_| !page.is_empty());
            all.extend(page);
        }
        Ok(all)
    }

    /// Posts `body` to `path`.
    ///
    /// # Errors
    /// Where the server is not there, or refuses.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Setup(error.to_string()))?;
        Ok(self.call(Method::POST, path, Bytes::from(body)).await?.0)
    }

    /// Deletes what is at `path`.
    ///
    /// # Errors
    /// Where the server is not there, or refuses.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        Ok(self.call(Method::DELETE, path, Bytes::new()).await?.0)
    }

    /// What the server answers, and where the next page of it is.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(T, Option<String>), Error> {
        let answer = tokio::time::timeout(LONGEST_CALL, self.exchange(method, path, body)).await;
        let answer = answer.map_err(|_| self.broken("no answer within 30 s"))??;
        let (status, body) = (answer.status(), answer.body());
        if status.is_success() {
            let parsed = serde_json::from_slice(body);
            let parsed = parsed.map_err(|error| self.broken(&error.to_string()))?;
            return Ok((parsed, next_page(answer.headers())));
        }
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let detail = problem.get("detail").and_then(Value::as_str);
        Err(said(
            status,
            detail.map_or_else(|| format!("the server answers {status}"), str::to_owned),
        ))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Bytes>, Error> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| {
            self.broken(&format!(
                "{error}; is it running? `systemctl status jit-server`"
            ))
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error.to_string()))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header(
                "jit-client",
                concat!("jit-server/", env!("CARGO_PKG_VERSION")),
            )
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| Error::Setup(error.to_string()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.broken(&error.to_string()))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        driver.abort();
        let body = body.map_err(|error| self.broken(&error.to_string()))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    fn broken(&self, why: &str) -> Error {
        Error::Setup(format!(
            "jit-server does not answer at {}: {why}",
            self.socket.display()
        ))
    }
}

/// The path in a header `Link: </PATH>; rel="next"` (RFC 8288), the only one that the server sends.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let path = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
    path.starts_with('/').then(|| path.to_owned())
}

/// What the server says where it does not do something: a refusal, in the sense of jitctl too, only where the rules are against it.
fn said(status: StatusCode, detail: String) -> Error {
    match status.as_u16() {
        401 | 403 | 409 | 422 | 429 => Error::Refused(detail),
        _ => Error::NotDone(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_no_of_the_rules_is_a_refusal() {
        let refuses = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            matches!(said(status, String::new()), Error::Refused(_))
        };
        for status in [401, 403, 409, 422, 429] {
            assert!(refuses(status), "{status}");
        }
        for status in [301, 400, 404, 405, 408, 413, 415, 500, 502, 503] {
            assert!(!refuses(status), "{status}");
        }
    }
}
