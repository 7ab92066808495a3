//! One call of an endpoint.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url, redirect};

use super::address::Reach;
use super::message::Message;
use super::secret::{Secret, signatures};
use super::settings::Endpoint;
use crate::error::Error;
use crate::text::brief;

/// From the look-up of the name to the answer's head. Its body is not read at all.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// 2xx: it has it.
    Taken,
    /// 410: it wants nothing any more.
    Gone,
    /// Anything else, in words.
    Failed(String),
}

/// Where messages go. Tests bring their own.
pub(super) trait Receiver: Send + Sync {
    /// Sends `message`, signed for a call at `now`.
    fn send(&self, message: &Message, now: Timestamp) -> impl Future<Output = Answer> + Send;
}

/// An endpoint over HTTP.
#[derive(Debug)]
pub(super) struct HttpReceiver {
    client: Client,
    url: Url,
    secrets: Vec<Secret>,
    patience: Duration,
}

impl HttpReceiver {
    /// Nothing is sent yet. Proxies come from the environment of this process, which is its unit's.
    pub(super) fn of(endpoint: &Endpoint) -> Result<Self, Error> {
        let mut client = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .dns_resolver(Arc::new(endpoint.reach))
            .pool_max_idle_per_host(0)
            .user_agent(concat!("jit-server/", env!("CARGO_PKG_VERSION")));
        if let Some(pinned) = &endpoint.ca {
            client = client.tls_certs_only(pinned.iter().cloned());
        }
        client = match endpoint.reach {
            // No proxy is on the way to this machine itself, and no TLS: a machine without ca-certificates can call it, too.
            Reach::Loopback => client.no_proxy().tls_certs_only([]),
            _ => client.https_only(true),
        };
        let client = client.build().map_err(|error| {
            Error::Setup(format!(
                "{} can't be called: {}; name its authority with `ca`, or install the package ca-certificates",
                endpoint.name,
                innermost(&error)
            ))
        })?;
        Ok(Self {
            client,
            url: endpoint.url.clone(),
            secrets: endpoint.secrets.clone(),
            patience: PATIENCE,
        })
    }

    #[cfg(test)]
    pub(super) fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Receiver for HttpReceiver {
    async fn send(&self, message: &Message, now: Timestamp) -> Answer {
        let body = message.body();
        let seconds = now.as_second();
        let signature = signatures(&self.secrets, &message.id, seconds, &body);
        let call = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(body)
            .timeout(self.patience);
        match call.send().await.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => Answer::Taken,
            Ok(StatusCode::GONE) => Answer::Gone,
            Ok(status) if status.is_redirection() => Answer::Failed(format!(
                "it answers {status}, and redirects are not followed"
            )),
            Ok(status) => Answer::Failed(format!("it answers {status}")),
            Err(error) if error.is_timeout() => Answer::Failed(format!(
                "no answer within {} s",
                self.patience.as_secs_f32()
            )),
            Err(error) => Answer::Failed(brief(&innermost(&error))),
        }
    }
}

/// The innermost reason, which is what helps: "Connection refused" rather than "error sending request". It has nothing of the URL, whose
/// path may be a secret of the receiver's.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests;
