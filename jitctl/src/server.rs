//! jit-server's HTTP API, spoken over a Unix socket, or with TLS to a server that what is pinned vouches for.

mod change;
mod document;
mod once;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use jit_grant::UserToken;
use reqwest::header::{LINK, RETRY_AFTER};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Exit};
use crate::words::clean;

pub(crate) use change::{Change, ComesTo};
pub(crate) use document::{
    Approvers, AtOnce, AuditPage, Ending, Enrolled, Event, Extension, Grant, Host, LeftBehind,
    Locked, Moment, Request, Review, Role, RoleStage, Rotated, ServerKey, Sessions, Stage,
    Standing, Whoami,
};

/// Where the server of this machine answers.
const LOCAL: &str = "unix:/run/jit-server/api.sock";
/// A header of our own, so that nothing that a browser or another program is tricked into sending is taken for us (T20).
const CLIENT_HEADER: &str = "Jit-Client";
const CLIENT: &str = concat!("jitctl/", env!("CARGO_PKG_VERSION"));
/// An answer of more bytes than this is none.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// An answer that is not held back on purpose takes no longer.
const PATIENCE: Duration = Duration::from_secs(15);
/// A server that is asked too often says how soon to ask again. So often that is done for one answer.
const MOST_WAITS: u32 = 30;
/// Whoever is to wait for longer is told so rather.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum ServerAddress {
    /// A socket on this machine.
    Socket(PathBuf),
    /// `https://HOST[:PORT]`, with nothing after it.
    Url(String),
}

impl ServerAddress {
    /// The path of the socket of a server on this machine.
    pub(crate) fn local() -> &'static str {
        LOCAL.trim_start_matches("unix:")
    }

    /// What the path of a call follows.
    fn base(&self) -> &str {
        match self {
            Self::Socket(_) => "http://jit-server",
            Self::Url(url) => url,
        }
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = match text.strip_prefix("unix:").map(Path::new) {
            Some(path) => {
                (path.is_absolute() && text.len() <= 107).then(|| Self::Socket(path.to_owned()))
            }
            None => url(text).map(Self::Url),
        };
        address.ok_or_else(|| {
            format!("a server is unix: and the path of its socket, such as {LOCAL}, or https://HOST[:PORT]")
        })
    }
}

/// A URL of a host and perhaps a port, without the slash at its end.
fn url(text: &str) -> Option<String> {
    let url: reqwest::Url = text.parse().ok().filter(|_| text.len() <= 512)?;
    let plain = url.scheme() == "https"
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    plain.then(|| url.as_str().trim_end_matches('/').to_owned())
}

impl TryFrom<String> for ServerAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ServerAddress> for String {
    fn from(address: ServerAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Server {
    address: ServerAddress,
    token: Option<UserToken>,
    http: reqwest::Client,
}

impl Server {
    /// Nothing is sent yet. A server elsewhere must be vouched for by one of the certificates in `ca`, in PEM, and by nobody else; it is
    /// shown `token`.
    pub(crate) fn at(
        address: ServerAddress,
        ca: Option<&str>,
        token: Option<UserToken>,
    ) -> Result<Self, Error> {
        let away = |error: &reqwest::Error| Error::ServerAway {
            server: address.to_string(),
            why: reason(error),
        };
        let pinned = Certificate::from_pem_bundle(ca.unwrap_or_default().as_bytes());
        let pinned = pinned.map_err(|error| away(&error))?;
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = match &address {
            ServerAddress::Socket(path) => client.unix_socket(path.as_path()).tls_certs_only([]),
            ServerAddress::Url(_) if pinned.is_empty() => {
                return Err(Error::Other {
                    problem: format!(
                        "nothing vouches for {address}: no certificate authority is given or pinned"
                    ),
                    remedy: "name the server's own /etc/jit-server/ca.crt: --ca FILE at login or enroll, or JIT_CA".to_owned(),
                    exit: Exit::Usage,
                });
            }
            ServerAddress::Url(_) => client.https_only(true).tls_certs_only(pinned),
        };
        let http = client.build().map_err(|error| away(&error))?;
        Ok(Self {
            address,
            token,
            http,
        })
    }

    /// What the server says at `path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Error> {
        self.get_within(path, Duration::ZERO).await
    }

    /// A page of the list at `path`, newest first, and where the next one is.
    pub(crate) async fn page(&self, path: &str) -> Result<(Value, Option<String>), Error> {
        let answer = self.send(path, PATIENCE).await?;
        let link = answer.headers().get(LINK);
        let next = link
            .and_then(|link| link.to_str().ok())
            .and_then(next_page)
            .map(str::to_owned);
        Ok((self.read(answer).await?, next))
    }

    /// What the server says at `path`, which may hold its answer back for `time`.
    pub(crate) async fn get_within(&self, path: &str, time: Duration) -> Result<Value, Error> {
        let answer = self.send(path, time + PATIENCE).await?;
        self.read(answer).await
    }

    /// What `value` stands for.
    pub(crate) fn parse<T: DeserializeOwned>(&self, value: &Value) -> Result<T, Error> {
        T::deserialize(value).map_err(|error| self.nonsense(error))
    }

    /// Asks, and again as soon as a server allows that is asked too often.
    async fn send(&self, path: &str, time: Duration) -> Result<Response, Error> {
        let mut waits = 0;
        loop {
            let call = self.calling(Method::GET, path, None, time);
            let answer = call.send().await.map_err(|error| self.failed(&error))?;
            match asked_too_often(&answer) {
                Some(wait) if waits < MOST_WAITS => tokio::time::sleep(wait).await,
                _ => return Ok(answer),
            }
            waits += 1;
        }
    }

    fn calling(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        time: Duration,
    ) -> RequestBuilder {
        let mut call = self
            .http
            .request(method, format!("{}{path}", self.address.base()))
            .header(CLIENT_HEADER, CLIENT)
            .timeout(time);
        if let Some(token) = &self.token {
            call = call.bearer_auth(token.reveal());
        }
        if let Some(body) = body {
            call = call.json(body);
        }
        call
    }

    /// What the server answers, where it is no refusal.
    async fn read(&self, answer: Response) -> Result<Value, Error> {
        let status = answer.status();
        let text = self.body(answer).await?;
        if status.is_success() {
            let text = if text.is_empty() { &b"null"[..] } else { &text };
            serde_json::from_slice(text).map_err(|error| self.nonsense(error))
        } else {
            Err(problem(status, &text))
        }
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.failed(&error))? {
            if text.len() + piece.len() > MOST_BYTES {
                return Err(self.nonsense("it is too long"));
            }
            text.extend_from_slice(&piece);
        }
        Ok(text)
    }

    fn failed(&self, error: &reqwest::Error) -> Error {
        let server = self.address.to_string();
        if error.is_timeout() {
            Error::ServerSlow { server }
        } else {
            Error::ServerAway {
                server,
                why: reason(error),
            }
        }
    }

    pub(crate) fn nonsense(&self, why: impl ToString) -> Error {
        Error::ServerNonsense {
            server: self.address.to_string(),
            why: why.to_string(),
        }
    }
}

/// For how long to wait before it is asked again (RFC 9110, Retry-After in seconds). None: that would not help, or take too long.
fn asked_too_often(answer: &Response) -> Option<Duration> {
    let header = answer.headers().get(RETRY_AFTER)?;
    let seconds = header.to_str().ok()?.parse().ok()?;
    let wait = Duration::from_secs(seconds);
    (answer.status() == StatusCode::TOO_MANY_REQUESTS && wait <= LONGEST_WAIT).then_some(wait)
}

/// The path of the next page, in a header `Link: </PATH>; rel="next"` (RFC 8288), the only one that the server sends. Only a path: nobody
/// is led to another server.
fn next_page(link: &str) -> Option<&str> {
    let path = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
    path.starts_with("/v1/").then_some(path)
}

/// RFC 9457.
#[derive(Deserialize)]
struct ProblemDocument {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
}

fn problem(status: StatusCode, text: &[u8]) -> Error {
    let document: Option<ProblemDocument> = serde_json::from_slice(text).ok();
    let (detail, code) = document.map_or((None, None), |document| {
        (document.detail.or(document.title), document.code)
    });
    let detail = detail.map_or_else(|| format!("it answered {status}"), |detail| clean(&detail));
    Error::Problem {
        status: status.as_u16(),
        detail,
        code: code.map(|code| clean(&code)),
    }
}

/// The innermost reason, which is what helps a person: "Connection refused" rather than "error sending request".
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::{ServerAddress, next_page};

    #[test]
    fn the_next_page_is_of_the_same_server() {
        let next = "</v1/requests?before=r4>; rel=\"next\"";
        assert_eq!(next_page(next), Some("/v1/requests?before=r4"));
        for wrong in [
            "<https://evil/v1/>; rel=\"next\"",
            "</v1/>; rel=\"prev\"",
            "</v1/>",
            "",
        ] {
            assert_eq!(next_page(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_server_is_a_socket_here_or_a_host_elsewhere() {
        let shown = |text: &str| {
            text.parse::<ServerAddress>()
                .map(|address| address.to_string())
        };
        for (text, address) in [
            (
                "unix:/run/jit-server/api.sock",
                "unix:/run/jit-server/api.sock",
            ),
            ("https://jit.example:7443/", "https://jit.example:7443"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(address));
        }
        for wrong in [
            "",
            "unix:",
            "unix:a",
            "http://a",
            "https://",
            "https://a/b",
            "https://u@a",
            "https://a?b",
            "jit.example",
        ] {
            assert!(shown(wrong).is_err(), "{wrong:?}");
        }
    }
}
