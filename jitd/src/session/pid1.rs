//! PID 1, over its private socket: scopes for elevations, and the timers that end what jitd may no longer be there to end.
//!
//! systemd answers here however starved the bus is (T19), and only to root. A connection is opened for each task and dropped
//! after it: that costs well under a millisecond, there is nothing to mend when PID 1 is re-executed, and PID 1's signals wake
//! nobody while nothing is to be done.

use std::time::Duration;

use futures_util::StreamExt;
use zbus::conn::{AuthMechanism, Builder};
use zbus::message::Type;
use zbus::{
    Connection, DynamicType, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant,
};

use super::unit::{EndTimer, Properties};

const SOCKET: &str = "unix:path=/run/systemd/private";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SCOPE: &str = "org.freedesktop.systemd1.Scope";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// One task with PID 1 takes no longer than this, or it has failed.
const DEADLINE: Duration = Duration::from_secs(2);

/// What PID 1 could not be brought to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Pid1Error {
    #[error("systemd did not answer within {} s on /run/systemd/private", DEADLINE.as_secs())]
    Late,
    #[error("systemd already has a unit {0}")]
    UnitExists(String),
    #[error("systemd could not start {unit}: its job ended as {result:?}")]
    Job { unit: String, result: String },
    #[error("systemd on /run/systemd/private: {0}")]
    Bus(#[source] zbus::Error),
}

impl From<zbus::Error> for Pid1Error {
    fn from(error: zbus::Error) -> Self {
        Self::Bus(error)
    }
}

/// A unit as PID 1 knows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// Made anew at each start of a unit: tells this run of it from every other. 32 hexadecimal digits.
    pub(crate) invocation: String,
    /// Path below /sys/fs/cgroup.
    pub(crate) cgroup: String,
}

/// A connection to PID 1.
pub(crate) struct Pid1(Connection);

impl Pid1 {
    pub(crate) async fn connect() -> Result<Self, Pid1Error> {
        let builder = Builder::address(SOCKET)
            .auth_mechanism(AuthMechanism::External)
            .p2p();
        Ok(Self(within(builder.build()).await?))
    }

    /// Moves the process `pid` into a new scope.
    pub(crate) async fn start_scope(
        &self,
        name: &str,
        properties: Properties<'_>,
    ) -> Result<(), Pid1Error> {
        self.start(name, &properties, &[]).await
    }

    /// Arms a timer that ends the timer's scopes by PID 1's own means.
    pub(crate) async fn start_end_timer(&self, timer: &EndTimer<'_>) -> Result<(), Pid1Error> {
        let service = (timer.service_name(), timer.service_properties());
        self.start(
            &EndTimer::name(timer.id, timer.number),
            &timer.timer_properties(),
            &[service],
        )
        .await
    }

    /// Stops a unit without waiting for it to be gone. A unit that is not there is stopped.
    pub(crate) async fn stop(&self, name: &str) -> Result<(), Pid1Error> {
        match within(self.manager("StopUnit", &(name, "replace"))).await {
            Err(error) if is(&error, NO_SUCH_UNIT) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The scope `name`, where it is loaded and has a cgroup.
    pub(crate) async fn scope(&self, name: &str) -> Result<Option<Loaded>, Pid1Error> {
        let path: OwnedObjectPath = match within(self.manager("GetUnit", &name)).await {
            Err(error) if is(&error, NO_SUCH_UNIT) => return Ok(None),
            other => other?.body().deserialize()?,
        };
        let invocation: Vec<u8> = self.property(&path, UNIT, "InvocationID").await?;
        let cgroup: String = self.property(&path, SCOPE, "ControlGroup").await?;
        let invocation = invocation
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok((!cgroup.is_empty()).then_some(Loaded { invocation, cgroup }))
    }

    /// Starts a transient unit and waits until its job is done.
    async fn start(
        &self,
        name: &str,
        properties: &Properties<'_>,
        aux: &[(String, Properties<'_>)],
    ) -> Result<(), Pid1Error> {
        match within(self.start_and_wait(name, properties, aux)).await {
            Ok(result) if result == "done" => Ok(()),
            Ok(result) => Err(Pid1Error::Job {
                unit: name.to_owned(),
                result,
            }),
            Err(error) if is(&error, UNIT_EXISTS) => Err(Pid1Error::UnitExists(name.to_owned())),
            Err(error) => Err(error),
        }
    }

    /// The result that the start job ended with.
    async fn start_and_wait(
        &self,
        name: &str,
        properties: &Properties<'_>,
        aux: &[(String, Properties<'_>)],
    ) -> Result<String, Pid1Error> {
        let mut ended = self.ended_jobs().await?;
        let parameters = (name, "fail", properties, aux);
        let call = self.manager("StartTransientUnit", &parameters);
        tokio::pin!(call);
        let mut seen: Vec<(OwnedObjectPath, String)> = Vec::new();
        // The signal may overtake the reply, and an unread queue would hold the reply back: both are taken as they come.
        let job: OwnedObjectPath = loop {
            tokio::select! {
                reply = &mut call => break reply?.body().deserialize()?,
                signal = ended.next() => seen.push(ended_job(signal)?),
            }
        };
        loop {
            if let Some((_, result)) = seen.iter().find(|(path, _)| *path == job) {
                return Ok(result.clone());
            }
            seen = vec![ended_job(ended.next().await)?];
        }
    }

    /// PID 1 sends these to every private connection, subscribed or not.
    async fn ended_jobs(&self) -> Result<MessageStream, zbus::Error> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()?;
        MessageStream::for_match_rule(rule, &self.0, None).await
    }

    async fn manager<B>(&self, method: &str, parameters: &B) -> Result<Message, zbus::Error>
    where
        B: serde::Serialize + DynamicType,
    {
        self.0
            .call_method(
                None::<&str>,
                MANAGER_PATH,
                Some(MANAGER),
                method,
                parameters,
            )
            .await
    }

    async fn property<T>(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
        name: &str,
    ) -> Result<T, Pid1Error>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: Into<zbus::Error>,
    {
        const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
        let parameters = (interface, name);
        let call = self
            .0
            .call_method(None::<&str>, path, Some(PROPERTIES), "Get", &parameters);
        let value: OwnedVariant = within(call).await?.body().deserialize()?;
        T::try_from(value).map_err(|error| Pid1Error::Bus(error.into()))
    }
}

/// Job and result of a JobRemoved signal: id, job, unit, result.
fn ended_job(
    signal: Option<Result<Message, zbus::Error>>,
) -> Result<(OwnedObjectPath, String), Pid1Error> {
    let closed = || zbus::Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    let message = signal.ok_or_else(closed)??;
    let (_, job, _, result): (u32, OwnedObjectPath, String, String) =
        message.body().deserialize()?;
    Ok((job, result))
}

/// True for an error that PID 1 answered with, by its D-Bus name.
fn is(error: &Pid1Error, name: &str) -> bool {
    matches!(error, Pid1Error::Bus(zbus::Error::MethodError(answered, _, _)) if answered.as_str() == name)
}

async fn within<T, E>(task: impl Future<Output = Result<T, E>>) -> Result<T, Pid1Error>
where
    Pid1Error: From<E>,
{
    match tokio::time::timeout(DEADLINE, task).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Pid1Error::Late),
    }
}
