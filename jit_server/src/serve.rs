//! The daemon.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::api::{self, Limits};
use crate::cli::ServeOptions;
use crate::clock::Keeper;
use crate::error::Error;
use crate::listen::{self, SystemAccounts};
use crate::server::Server;
use crate::signer;
use crate::store::SqliteStore;

/// So often it looks whether a request has lapsed or the policy has changed.
const TICK: Duration = Duration::from_secs(1);
const SOCKET_NAME: &str = "api";

/// Runs until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// Where it can't start. Once it answers, it does not fail.
pub async fn serve(options: ServeOptions) -> Result<(), Error> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(Error::io("listening for SIGTERM"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(Error::io("listening for SIGINT"))?;
    only_for_ourselves();
    let _only_one = lock(&options.state)?;
    let key = signer::load(&options.state.join("signing.key"))?;
    // Before the database starts threads: taking systemd's socket changes the environment.
    let listener = listener(options.socket.as_deref())?;
    let store = SqliteStore::open(&options.state.join("jit-server.db")).await?;
    let mut keeper = None;
    let server = Server::start(Box::new(store.clone()), key, options.policy, |last| {
        let (clock, its_keeper) = Keeper::start(options.state.join("time"), last);
        keeper = Some(its_keeper);
        Box::new(clock)
    })
    .await?;

    let limits = Arc::new(Limits::default());
    let router = api::router(Arc::clone(&server), Arc::clone(&limits));
    let answering = tokio::spawn(listen::answer(
        listener,
        router,
        Arc::new(SystemAccounts),
        limits,
        server.stopping(),
    ));
    let ticking = tokio::spawn(tick(Arc::clone(&server), keeper));
    tell_systemd(&[NotifyState::Ready]);
    tracing::info!("jit-server {} answers", env!("CARGO_PKG_VERSION"));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tell_systemd(&[NotifyState::Stopping]);
    server.stop();
    if let Err(error) = ticking.await {
        tracing::error!("letting time pass ended badly: {error}");
    }
    if let Err(error) = answering.await {
        tracing::error!("answering ended badly: {error}");
    }
    store.close().await;
    Ok(())
}

/// From here on nobody else can read a file that this program makes, the database above all.
pub(crate) fn only_for_ourselves() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}

/// Two servers on one database would each believe their own memory.
fn lock(state: &Path) -> Result<Flock<File>, Error> {
    let path = state.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(Error::io(format!(
        "opening {}; run `jit-server init` as root",
        path.display()
    )))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        Error::Setup(format!(
            "another jit-server runs on {}: {error}",
            state.display()
        ))
    })
}

/// systemd's socket, or one of our own.
fn listener(path: Option<&Path>) -> Result<UnixListener, Error> {
    let listener = match path {
        Some(path) => bind(path)?,
        None => inherited()?,
    };
    listener
        .set_nonblocking(true)
        .map_err(Error::io("preparing the socket"))?;
    UnixListener::from_std(listener).map_err(Error::io("preparing the socket"))
}

fn inherited() -> Result<std::os::unix::net::UnixListener, Error> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let place = names.split(':').position(|name| name == SOCKET_NAME);
    let listener = match place {
        Some(place) => ListenFd::from_env()
            .take_unix_listener(place)
            .map_err(Error::io("taking systemd's socket"))?,
        None => None,
    };
    listener.ok_or_else(|| {
        Error::Setup(
            "systemd passed no socket named `api`; start jit-server.service, or give --socket PATH"
                .to_owned(),
        )
    })
}

fn bind(path: &Path) -> Result<std::os::unix::net::UnixListener, Error> {
    // The lock says that no other server of this state runs, so a socket here is one that was left behind.
    if path
        .symlink_metadata()
        .is_ok_and(|found| found.file_type().is_socket())
    {
        std::fs::remove_file(path)
            .map_err(Error::io(format!("removing the old {}", path.display())))?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)
        .map_err(Error::io(format!("making {}", path.display())))?;
    let everybody = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(path, everybody).map_err(Error::io(format!(
        "opening {} to everybody",
        path.display()
    )))?;
    Ok(listener)
}

/// Lets time pass, and shows systemd's watchdog that the server still does what it is there for.
async fn tick(server: Arc<Server>, mut keeper: Option<Keeper>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping = server.stopping();
    loop {
        let stopped = tokio::select! {
            _ = ticks.tick() => false,
            _ = stopping.wait_for(|stopping| *stopping) => true,
        };
        let kept = keeper.as_mut().map(|keeper| {
            if stopped {
                keeper.keep_last()
            } else {
                keeper.keep()
            }
        });
        if let Some(Err(error)) = kept {
            tracing::error!(
                "a restart may fall behind what the hosts were told, since the time can't be kept: {error}"
            );
        }
        if stopped {
            return;
        }
        if let Err(error) = server.tick().await {
            tracing::error!("time passes and can't be recorded: {error}");
        }
        tell_systemd(&[NotifyState::Watchdog]);
    }
}

fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd can't be told: {error}");
    }
}
