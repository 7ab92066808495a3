//! From nothing to answering: reads what is kept, takes up the sessions that are open, and only then listens.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use jit_grant::HostName;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::access::Socket;
use crate::accounts::Accounts;
use crate::boot;
use crate::clock::Clock;
use crate::config::{ConfigError, Settings};
use crate::gates::Watched;
use crate::grants::{Grants, Places};
use crate::groups::LocalGroups;
use crate::handlers::{Files, Host, READING_AT_ONCE, Shown};
use crate::host_key;
use crate::record::{DEV_LOG, Record};
use crate::server::serve;
use crate::session::{Alarm, Judge, SessionError, Sessions};
use crate::wire::Listener;

/// Why jitd does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The settings are mistaken.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// systemd passed no such socket.
    #[error(
        "socket {0:?} was not passed; jitd is started by systemd with its three sockets: systemctl start jitd-pam.socket jitd-ctl.socket jitd-sync.socket jitd.service"
    )]
    NoSocket(&'static str),
    /// What was passed is no listening Unix socket.
    #[error("what was passed as socket {name:?} can't be listened on: {source}")]
    BadSocket {
        /// Its name.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file or folder that jitd can't do without.
    #[error("{what}: {source}")]
    Needs {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// Sessions can't be held.
    #[error(transparent)]
    Sessions(#[from] SessionError),
}

/// The three sockets, in the order pam, ctl, sync.
pub struct Sockets([(UnixListener, Socket); 3]);

impl Sockets {
    /// Takes them from systemd, by their `FileDescriptorName=`.
    ///
    /// # Errors
    /// Where one is missing.
    pub fn from_systemd() -> Result<Self, DaemonError> {
        let names: Vec<String> = sd_notify::listen_fds_with_names()
            .map(|passed| passed.map(|(_, name)| name).collect())
            .unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut take = |name: &'static str, socket| {
            let place = names
                .iter()
                .position(|passed| passed == name)
                .ok_or(DaemonError::NoSocket(name))?;
            let listener = passed
                .take_unix_listener(place)
                .map_err(|source| DaemonError::BadSocket { name, source })?;
            let listener = listener.ok_or(DaemonError::NoSocket(name))?;
            listener
                .set_nonblocking(true)
                .map_err(|source| DaemonError::BadSocket { name, source })?;
            Ok::<_, DaemonError>((listener, socket))
        };
        Ok(Self([
            take("pam", Socket::Pam)?,
            take("ctl", Socket::Control)?,
            take("sync", Socket::Sync)?,
        ]))
    }
}

const STATE: &str = "/var/lib/jit";
const RUN: &str = "/run/jit";

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Why it could not start.
pub async fn run(config: &Path, sockets: Sockets) -> Result<(), DaemonError> {
    let host = start(config).await?;
    tokio::spawn(Arc::clone(&host.record).keep());
    let alarm = Alarm::new().map_err(needs("a timer"))?;
    tokio::spawn(Arc::clone(&host).watch_freshness(alarm));
    tokio::spawn(Arc::clone(&host).end_half_open());
    tokio::spawn(Arc::clone(&host).watch_gates());
    for (listener, socket) in sockets.0 {
        let listener = Listener::new(listener).map_err(needs("a listening socket"))?;
        tokio::spawn(serve(listener, socket, Arc::clone(&host)));
    }
    tokio::spawn(feed_watchdog(Alarm::new().map_err(needs("a timer"))?));
    tell_systemd(&[NotifyState::Ready]);
    let stopped = until_stopped().await;
    tell_systemd(&[NotifyState::Stopping]);
    stop(&host).await;
    stopped
}

async fn start(config: &Path) -> Result<Arc<Host<Sessions>>, DaemonError> {
    #[derive(Serialize)]
    struct Started<'a> {
        version: &'static str,
        boot_id: &'a str,
        revision: Option<u64>,
        sessions: usize,
    }
    let settings = Settings::read(config)?;
    let state = PathBuf::from(STATE);
    let places = Places {
        state: state.clone(),
        run: PathBuf::from(RUN),
        boot_id: boot::id().map_err(needs(boot::PATH))?,
    };
    let clock = Clock::start(Grants::highest_time(&places));
    let record = Record::open(&state.join("events"), Path::new(DEV_LOG), clock.clone())
        .map_err(needs("the event chain in /var/lib/jit/events"))?;
    let grants = Grants::new(
        places.clone(),
        clock.clone(),
        settings.max_staleness,
        own_name()?,
    );
    let files = Files {
        config: config.to_owned(),
        trust: PathBuf::from("/etc/jit/trust.json"),
        machine_id: PathBuf::from("/etc/machine-id"),
        host_key: state.join("host.key"),
    };
    // Without its key the host decides as before; it can't speak to the server until somebody mends that.
    let key = host_key::read(&files.host_key).unwrap_or_else(|error| {
        tracing::error!("{error}");
        None
    });
    let host = Host {
        files,
        settings: RwLock::new(Arc::new(settings)),
        grants,
        record,
        accounts: Accounts::default(),
        groups: LocalGroups::default(),
        sessions: (),
        clock,
        key: Mutex::new(key),
        reading: Arc::new(Semaphore::new(READING_AT_ONCE)),
        shown: Shown::default(),
        refusals: Mutex::default(),
        troubles: Mutex::default(),
        gates: Arc::new(Watched::new(
            PathBuf::from("/etc/pam.d"),
            state.join("gates.json"),
            &places.boot_id,
        )),
    };
    let host = Arc::new(take_up(host, &places.run).await?);
    let revision = host.grants.overview().revision;
    host.note(
        "started",
        Started {
            version: env!("CARGO_PKG_VERSION"),
            boot_id: &places.boot_id,
            revision,
            sessions: host.sessions.list().len(),
        },
    );
    Ok(host)
}

/// Takes up the sessions that are open. What is believed is read first: the sessions ask the judge, and what is over by the word
/// heard before a restart is ended, and nothing else.
async fn take_up(host: Host<()>, run: &Path) -> Result<Host<Sessions>, SessionError> {
    host.believe();
    let judge: Arc<dyn Judge> = host.grants.clone();
    let record = Arc::clone(&host.record);
    let grace = host.settings().grace;
    let sessions = Sessions::start(run, host.clock.clone(), judge, record, grace).await?;
    sessions.set_warnings(host.settings().warn_before.clone());
    Ok(host.holding(sessions))
}

async fn stop(host: &Arc<Host<Sessions>>) {
    #[derive(Serialize)]
    struct Stopped {}
    host.note("stopped", Stopped {});
    if let Err(error) = host.grants.persist(None).await {
        tracing::warn!("the highest time seen is not on disk: {error}");
    }
    host.record.sync().await;
}

async fn until_stopped() -> Result<(), DaemonError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(needs("SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(needs("SIGINT"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// From the daemon's one thread, so that a loop that hangs is noticed. A long sleep of the runtime's own wakes several times on the
/// way, as its timer wheel turns; the kernel's timer wakes once.
async fn feed_watchdog(alarm: Alarm) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    loop {
        tell_systemd(&[NotifyState::Watchdog]);
        if let Err(error) = alarm.set_in(within / 2) {
            tracing::error!(%error, "the watchdog can't be fed");
            return;
        }
        alarm.rings().await;
    }
}

fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd was not told: {error}");
    }
}

/// What this machine calls itself, for messages before it is enrolled.
fn own_name() -> Result<HostName, DaemonError> {
    let own = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default();
    let name = own
        .to_ascii_lowercase()
        .parse()
        .or_else(|_| "localhost".parse());
    name.map_err(io::Error::other)
        .map_err(needs("this machine's name"))
}

fn needs(what: &str) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::Needs {
        what: what.to_owned(),
        source,
    }
}

/// How long the runtime waits for threads that hang in a directory or a descriptor, when jitd stops.
pub const LEFT_BEHIND: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
