//! The daemon.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use listenfd::ListenFd;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::api::{self, Limits};
use crate::cli::ServeOptions;
use crate::clock::Keeper;
use crate::error::Error;
use crate::listen::{self, SystemAccounts};
use crate::mark::Mark;
use crate::server::Server;
use crate::signer;
use crate::tls::{self, Authority, Given, Identity};

/// So often it looks whether a request has lapsed or the policy has changed.
const TICK: Duration = Duration::from_secs(1);
/// What systemd calls the socket for this machine, and the one for hosts elsewhere.
const SOCKET_NAME: &str = "api";
const TLS_SOCKET_NAME: &str = "tls";

/// Runs until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// Where it can't start, or can't go on with what it has in memory.
pub async fn serve(options: ServeOptions) -> Result<(), Error> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(Error::io("listening for SIGTERM"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(Error::io("listening for SIGINT"))?;
    only_for_ourselves();
    let _only_one = lock(&options.state)?;
    let mark = options
        .mark
        .map_or_else(|| Mark::beside(&options.state), Ok)?;
    Mark::make_folder(&mark)?;
    let _only_one_raises_it = lock(&mark)?;
    let key = signer::load(&options.state.join("signing.key"))?;
    // Before the database starts threads: taking systemd's socket changes the environment.
    let mut sockets = Sockets::inherited();
    let listener = sockets.local(options.socket.as_deref())?;
    let elsewhere = sockets.tls(options.listen)?;
    let store = options.database.open(&options.state).await?;
    let mark = Mark::open(&mark)?;
    let mut keeper = None;
    let server = Server::start(store, key, mark, options.policy, |last| {
        let (clock, its_keeper) = Keeper::start(options.state.join("time"), last);
        keeper = Some(its_keeper);
        Box::new(clock)
    })
    .await?;

    let given = options.tls_cert.zip(options.tls_key);
    let given = given.map(|(certificate, key)| Given { certificate, key });
    let door = match elsewhere {
        Some(listener) => {
            let identity = identity(&options.state, given, server.now())?;
            Some(tls::Door::new(listener, identity)?)
        }
        None => None,
    };
    let limits = Arc::new(Limits::default());
    let router = api::router(Arc::clone(&server), Arc::clone(&limits));
    let identity = door.as_ref().map(tls::Door::identity);
    let mut tasks = vec![(
        "letting time pass",
        tokio::spawn(tick(Arc::clone(&server), keeper, identity)),
    )];
    tasks.push((
        "following other servers",
        tokio::spawn(Arc::clone(&server).follow()),
    ));
    if let Some(door) = door {
        let answering = door.answer(router.clone(), Arc::default(), server.stopping());
        tasks.push(("answering hosts elsewhere", tokio::spawn(answering)));
    }
    let answering = listen::answer(
        listener,
        router,
        Arc::new(SystemAccounts),
        limits,
        server.stopping(),
    );
    tasks.push(("answering", tokio::spawn(answering)));
    tell_systemd(&[NotifyState::Ready]);
    tracing::info!("jit-server {} answers", env!("CARGO_PKG_VERSION"));

    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        // The service starts it again.
        why = server.must_start_anew() => Err(Error::Setup(why)),
    };
    tell_systemd(&[NotifyState::Stopping]);
    server.stop();
    for (what, task) in tasks {
        if let Err(error) = task.await {
            tracing::error!("{what} ended badly: {error}");
        }
    }
    server.close().await;
    ended
}

/// From here on nobody else can read a file that this program makes, the database above all.
pub(crate) fn only_for_ourselves() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}

/// Two servers on one database would each believe their own memory, and two with one mark take each other's databases for older copies.
fn lock(folder: &Path) -> Result<Flock<File>, Error> {
    let path = folder.join("lock");
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
            folder.display()
        ))
    })
}

/// What is shown to hosts elsewhere.
fn identity(state: &Path, given: Option<Given>, now: Timestamp) -> Result<Arc<Identity>, Error> {
    let identity = match given {
        Some(given) => Identity::given(given, now),
        None => Authority::load(&Authority::folder(state))
            .and_then(|authority| Identity::ours(authority, now)),
    };
    identity.map(Arc::new)
}

/// The sockets that systemd passed, by name.
struct Sockets {
    names: Vec<String>,
    passed: ListenFd,
}

impl Sockets {
    /// Call it once, before there are threads: it changes the environment.
    fn inherited() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            names: names.split(':').map(str::to_owned).collect(),
            passed: ListenFd::from_env(),
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|found| found == name)
    }

    /// The socket for this machine: one of our own, or systemd's.
    fn local(&mut self, path: Option<&Path>) -> Result<UnixListener, Error> {
        let listener = match (path, self.place(SOCKET_NAME)) {
            (Some(path), _) => Some(bind(path)?),
            (None, Some(place)) => self
                .passed
                .take_unix_listener(place)
                .map_err(Error::io("taking systemd's socket"))?,
            (None, None) => None,
        };
        let listener = listener.ok_or_else(|| {
            Error::Setup(
                "systemd passed no socket named `api`; start jit-server.service, or give --socket PATH"
                    .to_owned(),
            )
        })?;
        listener
            .set_nonblocking(true)
            .map_err(Error::io("preparing the socket"))?;
        UnixListener::from_std(listener).map_err(Error::io("preparing the socket"))
    }

    /// The socket for hosts elsewhere, where there is to be one: of our own, or systemd's.
    fn tls(&mut self, address: Option<SocketAddr>) -> Result<Option<TcpListener>, Error> {
        let listener = match (address, self.place(TLS_SOCKET_NAME)) {
            (Some(address), _) => {
                let bound = std::net::TcpListener::bind(address);
                Some(bound.map_err(Error::io(format!("listening on {address}")))?)
            }
            (None, Some(place)) => self
                .passed
                .take_tcp_listener(place)
                .map_err(Error::io("taking systemd's socket for hosts"))?,
            (None, None) => None,
        };
        let Some(listener) = listener else {
            return Ok(None);
        };
        listener
            .set_nonblocking(true)
            .map_err(Error::io("preparing the socket for hosts"))?;
        let listener = TcpListener::from_std(listener);
        listener
            .map(Some)
            .map_err(Error::io("preparing the socket for hosts"))
    }
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

/// Lets time pass. Usually once a second; where the database is away a tick waits for it, and for the calls before it, as long as the
/// store does. So it is no sign of life for systemd: one that waits behind many calls works, and is not to be killed for that.
async fn tick(server: Arc<Server>, mut keeper: Option<Keeper>, identity: Option<Arc<Identity>>) {
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
        match server.tick().await {
            // Said once by what follows other servers.
            Ok(()) | Err(Error::Away) => {}
            Err(error) => tracing::error!("time passes and can't be recorded: {error}"),
        }
        if let Some(Err(error)) = identity
            .as_ref()
            .map(|identity| identity.renew(server.now()))
        {
            tracing::error!(
                "the TLS certificate can't be renewed, and the one before is shown on: {error}"
            );
        }
    }
}

pub(crate) fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd can't be told: {error}");
    }
}
