//! logind, asked once for each session that opens: whose session scope is this? Its answer never stands in the way of an end.

use std::time::Duration;

use tokio::sync::Mutex;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

const NAME: &str = "org.freedesktop.login1";
const MANAGER_PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";

/// The whole question takes no longer than this, or there is no answer. sshd's user is waiting.
const DEADLINE: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogindError {
    #[error("systemd-logind did not answer within {} s on the system bus", DEADLINE.as_secs())]
    Late,
    #[error("systemd-logind on the system bus: {0}")]
    Bus(#[from] zbus::Error),
}

/// A connection to the system bus, kept open: making one can take long when the bus is crowded (T19).
#[derive(Default)]
pub(crate) struct Logind(Mutex<Option<Connection>>);

impl Logind {
    /// Connects ahead of the first question. A bus that is not there yet is asked again later.
    pub(crate) async fn connect(&self) {
        let _ = tokio::time::timeout(DEADLINE, self.connection()).await;
    }

    /// The process that logind made session `id` for, and the session's scope.
    pub(crate) async fn leader(&self, id: &str) -> Result<(u32, String), LogindError> {
        match tokio::time::timeout(DEADLINE, self.ask(id)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(LogindError::Late),
        }
    }

    async fn ask(&self, id: &str) -> Result<(u32, String), zbus::Error> {
        let bus = self.connection().await?;
        let session = bus
            .call_method(Some(NAME), MANAGER_PATH, Some(MANAGER), "GetSession", &id)
            .await?;
        let session: OwnedObjectPath = session.body().deserialize()?;
        let leader = u32::try_from(property(&bus, &session, "Leader").await?)?;
        let scope = String::try_from(property(&bus, &session, "Scope").await?)?;
        Ok((leader, scope))
    }

    async fn connection(&self) -> Result<Connection, zbus::Error> {
        let mut kept = self.0.lock().await;
        if let Some(open) = kept.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(open.clone());
        }
        let connection = Connection::system().await?;
        *kept = Some(connection.clone());
        Ok(connection)
    }
}

async fn property(
    bus: &Connection,
    session: &OwnedObjectPath,
    name: &str,
) -> Result<OwnedVariant, zbus::Error> {
    let parameters = (SESSION, name);
    let reply = bus
        .call_method(
            Some(NAME),
            session,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &parameters,
        )
        .await?;
    reply.body().deserialize()
}
