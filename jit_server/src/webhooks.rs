//! `jit-server webhooks`: tells other systems what happens, in signed calls as Standard Webhooks has them.
//!
//! A process of its own, since the server itself reaches nobody. It reads the record over the server's socket as the user that its
//! account is, whom `may_audit` in the policy names, and can do no more there.
//!
//! | idea | file |
//! |---|---|
//! | who is told of what | `webhooks/settings.rs`, `webhooks/chosen.rs`, `webhooks/files.rs` |
//! | what is sent | `webhooks/message.rs`, `webhooks/secret.rs` |
//! | starts and ends of grants, for which the record has no event | `webhooks/held.rs` |
//! | one endpoint: order, tries, dead letters | `webhooks/sender.rs` |
//! | where the events come from | `webhooks/record.rs` |
//! | one call | `webhooks/receiver.rs`, `webhooks/address.rs` |
//! | what is kept across restarts | `webhooks/place.rs` |

mod address;
mod chosen;
mod files;
mod held;
mod message;
mod place;
mod receiver;
mod record;
mod secret;
mod sender;
mod settings;

use std::path::Path;

use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::clock::WallClock;
use crate::error::Error;

pub use files::{Files, SECRETS};
pub use place::{Dead, Folder};
pub use settings::{Endpoint, EndpointName, read};

use receiver::HttpReceiver;
use sender::{Pace, Sender, Wanted};

impl Endpoint {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &EndpointName {
        &self.name
    }
}

impl Dead {
    /// The event's id, kind and time, when it was given up, and why.
    #[must_use]
    pub fn said(&self) -> (&str, &str, Timestamp, Timestamp, &str) {
        let message = &self.message;
        (
            &message.id,
            &message.kind,
            message.timestamp,
            self.given_up,
            &self.why,
        )
    }
}

/// Whether this machine has what calling them needs. Nobody is called.
///
/// # Errors
/// Where it has not, for the first of them.
pub fn can_be_called(endpoints: &[Endpoint]) -> Result<(), Error> {
    let mut receivers = endpoints.iter().map(HttpReceiver::of);
    receivers.try_for_each(|receiver| receiver.map(drop))
}

/// Tells every endpoint what happens, until SIGTERM or SIGINT.
///
/// # Errors
/// Where what was done can't be written down, or an endpoint can't be called at all.
pub async fn run(endpoints: Vec<Endpoint>, state: &Path, server: &Client) -> Result<(), Error> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(Error::io("listening for SIGTERM"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(Error::io("listening for SIGINT"))?;
    let folder = Folder::open(state)?;
    let _alone = folder.lock()?;
    let mut tasks = JoinSet::new();
    for endpoint in &endpoints {
        let wanted = Wanted {
            name: endpoint.name.clone(),
            url: endpoint.url.to_string(),
            events: endpoint.events.clone(),
        };
        let receiver = HttpReceiver::of(endpoint)?;
        let clock = Box::new(WallClock::starting_at(Timestamp::UNIX_EPOCH));
        let (record, folder) = (server.clone(), folder.clone());
        let sender = Sender::new(wanted, record, receiver, clock, Pace::default(), folder)?;
        tasks.spawn(sender.run());
    }
    let names: Vec<&str> = endpoints.iter().map(|one| one.name.as_str()).collect();
    tracing::info!("told what happens: {}", names.join(", "));
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!("systemd can't be told: {error}");
    }
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        // None of them ends but by an error.
        ended = tasks.join_next() => match ended {
            Some(Ok(ended)) => ended,
            _ => Err(Error::Setup("an endpoint's task ended badly".to_owned())),
        },
    }
}
