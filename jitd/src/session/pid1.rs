//! PID 1, over its private socket: scopes for elevations, and the timers that end what jitd may no longer be there to end.
//!
//! systemd answers here however starved the bus is (T19), and only to root. A connection is opened for each task and dropped
//! after it: that costs well under a millisecond, there is nothing to mend when PID 1 is re-executed, and PID 1's signals wake
//! nobody while nothing is to be done.

use std::time::Duration;

use zbus::{OwnedObjectPath, OwnedVariant};

use super::private_bus::{BusError, PrivateBus};
use super::unit::{EndTimer, Properties};

const SOCKET: &str = "/run/systemd/private";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SCOPE: &str = "org.freedesktop.systemd1.Scope";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const NO_SUCH_RUN: &str = "org.freedesktop.systemd1.NoUnitForInvocationID";
const NO_SUCH_OBJECT: &str = "org.freedesktop.DBus.Error.UnknownObject";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// PID 1 sends it to every private connection, subscribed or not.
const JOB_REMOVED: &str = "JobRemoved";

/// One call takes no longer than this, or it has failed.
const DEADLINE: Duration = Duration::from_secs(2);

/// What PID 1 could not be brought to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Pid1Error {
    #[error("systemd did not answer within {} s on {SOCKET}", DEADLINE.as_secs())]
    Late,
    #[error("systemd already has a unit {0}")]
    UnitExists(String),
    #[error("systemd could not start {unit}: its job ended as {result:?}")]
    Job { unit: String, result: String },
    #[error("systemd on {SOCKET}: {0}")]
    Bus(#[from] BusError),
}

/// A unit as PID 1 knows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// Made anew at each start of a unit: tells this run of it from every other. 32 hexadecimal digits.
    pub(crate) invocation: String,
    /// Path below /sys/fs/cgroup.
    pub(crate) cgroup: String,
}

/// A unit in PID 1's list, by its name first: org.freedesktop.systemd1(5), ListUnits().
type Listed = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// A connection to PID 1.
pub(crate) struct Pid1(PrivateBus);

impl Pid1 {
    pub(crate) async fn connect() -> Result<Self, Pid1Error> {
        Ok(Self(
            within(PrivateBus::connect(SOCKET, JOB_REMOVED)).await?,
        ))
    }

    /// Starts a scope, with the process that its properties name in it.
    pub(crate) async fn start_scope(
        &mut self,
        name: &str,
        properties: Properties<'_>,
    ) -> Result<(), Pid1Error> {
        self.start(name, &properties, &[]).await
    }

    /// Arms a timer that ends its scopes by PID 1's own means.
    pub(crate) async fn start_end_timer(&mut self, timer: &EndTimer<'_>) -> Result<(), Pid1Error> {
        let name = EndTimer::name(timer.id, timer.number);
        let service = (EndTimer::service_of(&name), timer.service_properties());
        self.start(&name, &timer.timer_properties(), &[service])
            .await
    }

    /// Starts a unit that is there, without waiting until it has run.
    pub(crate) async fn run(&mut self, name: &str) -> Result<(), Pid1Error> {
        let parameters = (name, "replace");
        within(self.0.call(MANAGER_PATH, MANAGER, "StartUnit", &parameters))
            .await
            .map(drop)
    }

    /// The names of loaded units that match a pattern of fnmatch(3).
    pub(crate) async fn units_like(&mut self, pattern: &str) -> Result<Vec<String>, Pid1Error> {
        let parameters = (Vec::<&str>::new(), vec![pattern]);
        let listed = self
            .0
            .call(MANAGER_PATH, MANAGER, "ListUnitsByPatterns", &parameters);
        let units: Vec<Listed> = within(listed).await?.read()?;
        Ok(units.into_iter().map(|unit| unit.0).collect())
    }

    /// Stops a unit without waiting for it to be gone. A unit that is not there is stopped.
    pub(crate) async fn stop(&mut self, name: &str) -> Result<(), Pid1Error> {
        let parameters = (name, "replace");
        match within(self.0.call(MANAGER_PATH, MANAGER, "StopUnit", &parameters)).await {
            Err(Pid1Error::Bus(error)) if error.is(NO_SUCH_UNIT) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Stops the unit of which this is a run, without waiting for it to be gone. One that has ended is stopped, another run of the same
    /// unit is left alone. `invocation` is [`Loaded::invocation`].
    pub(crate) async fn stop_run(&mut self, invocation: &str) -> Result<(), Pid1Error> {
        let digits = invocation.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> = digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        // Of none, systemd would take the caller's own.
        let Some(id) = bytes.filter(|id| !id.is_empty()) else {
            return Ok(());
        };
        let asked = self
            .0
            .call(MANAGER_PATH, MANAGER, "GetUnitByInvocationID", &id);
        let unit: OwnedObjectPath = match within(asked).await {
            Err(Pid1Error::Bus(error)) if error.is(NO_SUCH_RUN) => return Ok(()),
            other => other?.read()?,
        };
        match within(self.0.call(unit.as_str(), UNIT, "Stop", &"replace")).await {
            Err(Pid1Error::Bus(error))
                if [NO_SUCH_RUN, NO_SUCH_UNIT, NO_SUCH_OBJECT]
                    .iter()
                    .any(|name| error.is(name)) =>
            {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Stops a unit that is loaded, and waits until it is gone.
    pub(crate) async fn stop_whole(&mut self, name: &str) -> Result<(), Pid1Error> {
        let parameters = (name, "replace");
        let job = self.0.call(MANAGER_PATH, MANAGER, "StopUnit", &parameters);
        let job: OwnedObjectPath = within(job).await?.read()?;
        self.done(name, job).await
    }

    /// The scope or service `name`, where it is loaded and has a cgroup.
    pub(crate) async fn unit(&mut self, name: &str) -> Result<Option<Loaded>, Pid1Error> {
        let unit: OwnedObjectPath =
            match within(self.0.call(MANAGER_PATH, MANAGER, "GetUnit", &name)).await {
                Err(Pid1Error::Bus(error)) if error.is(NO_SUCH_UNIT) => return Ok(None),
                other => other?.read()?,
            };
        let invocation: Vec<u8> = self.property(&unit, UNIT, "InvocationID").await?;
        let interface = if name.ends_with(".service") {
            SERVICE
        } else {
            SCOPE
        };
        let cgroup: String = self.property(&unit, interface, "ControlGroup").await?;
        let invocation = invocation
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok((!cgroup.is_empty()).then_some(Loaded { invocation, cgroup }))
    }

    /// Starts a transient unit and waits until its job is done.
    async fn start(
        &mut self,
        name: &str,
        properties: &Properties<'_>,
        aux: &[(String, Properties<'_>)],
    ) -> Result<(), Pid1Error> {
        let parameters = (name, "fail", properties, aux);
        let job = within(
            self.0
                .call(MANAGER_PATH, MANAGER, "StartTransientUnit", &parameters),
        )
        .await;
        let job: OwnedObjectPath = match job {
            Err(Pid1Error::Bus(error)) if error.is(UNIT_EXISTS) => {
                return Err(Pid1Error::UnitExists(name.to_owned()));
            }
            other => other?.read()?,
        };
        self.done(name, job).await
    }

    /// Waits for a job of this unit.
    async fn done(&mut self, name: &str, job: OwnedObjectPath) -> Result<(), Pid1Error> {
        let result = within(self.result_of(job)).await?;
        if result == "done" {
            Ok(())
        } else {
            Err(Pid1Error::Job {
                unit: name.to_owned(),
                result,
            })
        }
    }

    /// What a job ended with: `done`, or why not. Its signal may have come before the reply that named it.
    async fn result_of(&mut self, job: OwnedObjectPath) -> Result<String, BusError> {
        loop {
            let (_, ended, _, result): (u32, OwnedObjectPath, String, String) =
                self.0.signal().await?.read()?;
            if ended == job {
                return Ok(result);
            }
        }
    }

    async fn property<T>(
        &mut self,
        unit: &OwnedObjectPath,
        interface: &str,
        name: &str,
    ) -> Result<T, Pid1Error>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: Into<zbus::Error>,
    {
        let parameters = (interface, name);
        let value = self.0.call(
            unit.as_str(),
            "org.freedesktop.DBus.Properties",
            "Get",
            &parameters,
        );
        let value: OwnedVariant = within(value).await?.read()?;
        T::try_from(value).map_err(|error| BusError::from(error.into()).into())
    }
}

async fn within<T>(task: impl Future<Output = Result<T, BusError>>) -> Result<T, Pid1Error> {
    match tokio::time::timeout(DEADLINE, task).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Pid1Error::Late),
    }
}
