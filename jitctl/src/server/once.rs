//! A call that changes something is sent again where the connection breaks. All but rotations are done once all the same.

use std::time::Duration;

use jit_grant::Nonce;
use reqwest::Method;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{PATIENCE, Server};
use crate::error::{Error, Exit};

/// A call whose connection is lost is sent so often.
const TRIES: u32 = 3;
/// From a try to the next.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// What comes of a try.
enum Tried {
    /// Nothing was sent: there is no connection.
    NotSent(Error),
    /// Nobody knows whether it was done.
    Lost(Error),
    /// The server says that it will do it, or another will that takes its place: ask again.
    Later(Error),
    /// This is the answer.
    Answered(Result<Value, Error>),
}

impl Server {
    /// Sends `body` to `path`, with a key by which the server does it once however often it comes. Where the connection is lost it is
    /// sent again, and a server that restarts meanwhile is waited for.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let key = Nonce::generate().map_err(|error| Error::Other {
            problem: error.to_string(),
            remedy: "try again".to_owned(),
            exit: Exit::Failed,
        })?;
        self.insist(path, body, Some(&key)).await
    }

    /// The same without a key: what was done before the connection was lost is done anew.
    pub(crate) async fn post_anew(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.insist(path, body, None).await
    }

    async fn insist(&self, path: &str, body: &Value, key: Option<&Nonce>) -> Result<Value, Error> {
        let mut last = None;
        let tried = timeout(PATIENCE, self.until_answered(path, body, key, &mut last)).await;
        tried.unwrap_or_else(|_| {
            Err(last.unwrap_or_else(|| Error::ServerSlow {
                server: self.address.to_string(),
            }))
        })
    }

    /// `last` is what came of the last try that was no answer.
    async fn until_answered(
        &self,
        path: &str,
        body: &Value,
        key: Option<&Nonce>,
        last: &mut Option<Error>,
    ) -> Result<Value, Error> {
        let mut lost = 0;
        loop {
            let again = match self.try_once(path, body, key).await {
                Tried::Answered(answer) => return answer,
                // At the first try nobody is there; after another one the server, which was there, restarts.
                Tried::NotSent(error) if last.is_none() => return Err(error),
                Tried::Lost(error) if lost + 1 == TRIES => return Err(error),
                Tried::Lost(error) => {
                    lost += 1;
                    error
                }
                Tried::NotSent(error) | Tried::Later(error) => error,
            };
            *last = Some(again);
            sleep(BETWEEN_TRIES).await;
        }
    }

    async fn try_once(&self, path: &str, body: &Value, key: Option<&Nonce>) -> Tried {
        let mut call = self.calling(Method::POST, path, Some(body), PATIENCE);
        if let Some(key) = key {
            call = call.header("Idempotency-Key", key.as_str());
        }
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Tried::NotSent(self.failed(&error)),
            Err(error) => return Tried::Lost(self.failed(&error)),
        };
        match self.read(answer).await {
            Err(error @ Error::ServerAway { .. }) => Tried::Lost(error),
            Err(error) if is_for_later(&error) => Tried::Later(error),
            answer => Tried::Answered(answer),
        }
    }
}

fn is_for_later(error: &Error) -> bool {
    let Error::Problem { status, code, .. } = error else {
        return false;
    };
    matches!(
        (status, code.as_deref()),
        (409, Some("call-under-way")) | (503, Some("stopping"))
    )
}
