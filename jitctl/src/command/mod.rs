//! One module a command, and what they share.

mod audit;
mod codes_page;
mod decide;
mod enforce;
mod enroll;
mod explain;
mod extend;
mod gate;
mod generate;
mod left_behind;
mod list;
mod lock;
mod request;
mod show;
pub(crate) mod status;
mod timeline;

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::cli::{Audit, Cli, Command};
use crate::clock::Now;
use crate::daemon::Daemon;
use crate::doctor;
use crate::error::{Error, Exit};
use crate::gate::Gate;
use crate::screen::Screen;
use crate::server::{Server, ServerAddress};
use crate::trust::Trust;
use crate::words::Times;

/// Does what was typed.
pub(crate) async fn run(cli: Cli) -> Result<Exit, Error> {
    let now = Now::read()
        .map_err(|error| Error::file("/proc/sys/kernel/random/boot_id", "read", error))?;
    let here = Here {
        root: cli.root,
        json: cli.json,
        screen: Screen::new(),
        now,
    };
    obey(&here, cli.command)
        .await
        .map_err(|error| error.localized(&here.times()))
}

async fn obey(here: &Here, command: Command) -> Result<Exit, Error> {
    match command {
        Command::Enroll(options) => enroll::run(here, options).await,
        Command::Gate { service } => gate::gate(here, &service),
        Command::Ungate { service, .. } => gate::ungate(here, &service),
        Command::Monitor { service } => enforce::monitor(here, &service),
        Command::Enforce {
            service,
            confirm: true,
            ..
        } => enforce::confirm(here, &service),
        Command::Enforce {
            service,
            confirm_within,
            ..
        } => enforce::provisionally(here, &service, confirm_within),
        Command::Status => status::run(here).await,
        Command::Doctor => doctor::run(here),
        Command::Explain { code } => explain::run(here, code),
        Command::List(what) => list::run(here, what).await,
        Command::Show { id } => show::run(here, id).await,
        Command::Request(wanted) => request::request(here, wanted).await,
        Command::Ensure(wanted) => request::ensure(here, wanted).await,
        Command::Approve {
            id,
            lasting,
            comment,
        } => decide::approve(here, &id, lasting, comment).await,
        Command::Deny { id, reason } => decide::deny(here, &id, &reason).await,
        Command::Withdraw { id } => decide::withdraw(here, &id).await,
        Command::Release { grant } => decide::release(here, grant).await,
        Command::Extend {
            grant,
            lasting,
            reason,
            wait,
        } => extend::run(here, grant, lasting, reason, wait).await,
        Command::Lock { principal, reason } => lock::lock(here, &principal, &reason).await,
        Command::Unlock { principal } => lock::unlock(here, &principal).await,
        Command::Revoke { grant, reason } => decide::revoke(here, &grant, &reason).await,
        Command::Audit(Audit::List { after }) => audit::list(here, after).await,
        Command::Audit(Audit::Verify) => audit::verify(here),
        Command::Generate(what) => generate::run(&what),
    }
}

/// This machine, this moment, this terminal.
#[derive(Debug)]
pub(crate) struct Here {
    root: PathBuf,
    pub(crate) json: bool,
    pub(crate) screen: Screen,
    pub(crate) now: Now,
}

impl Here {
    /// `path`, which is absolute, on this machine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn daemon(&self) -> Daemon {
        Daemon::below(&self.root)
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::below(&self.root, nix::unistd::geteuid().as_raw())
    }

    pub(crate) fn times(&self) -> Times {
        Times {
            now: self.now.wall,
            zone: TimeZone::system(),
        }
    }

    /// The server that JIT_SERVER names, else the one this host is enrolled with, else the one on this machine.
    pub(crate) fn server(&self) -> Result<Server, Error> {
        let named = std::env::var("JIT_SERVER")
            .ok()
            .filter(|text| !text.is_empty());
        if let Some(text) = named {
            let address = text.parse().map_err(|problem: String| Error::Other {
                problem: format!("JIT_SERVER: {problem}"),
                remedy: "set it right, or unset it".to_owned(),
                exit: Exit::Usage,
            })?;
            let ca = Trust::read(&self.root)?.and_then(|trust| trust.ca);
            return Server::at(address, ca.as_deref());
        }
        match Trust::read(&self.root)? {
            Some(trust) => Server::at(trust.server, trust.ca.as_deref()),
            None => Server::at(ServerAddress::local(), None),
        }
    }

    /// Refuses unless the caller is root; below another root folder anyone may be who owns it.
    pub(crate) fn require_root(&self, what: &'static str) -> Result<(), Error> {
        if self.root == Path::new("/") && !nix::unistd::geteuid().is_root() {
            Err(Error::NotRoot(what))
        } else {
            Ok(())
        }
    }
}
