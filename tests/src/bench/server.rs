//! The real jit-server as this build made it, on a loopback port, with a state folder of its own. Dropped, both are gone.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use jit_tests::api;
use jit_tests::machine;
use jit_tests::wait::{self, Deadline, Process};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::kibibytes;
use crate::people::as_user;

/// What its certificate is for.
pub(crate) const NAME: &str = "server";

/// Everybody may ask for everything: what is measured is the server, not its policy.
const POLICY: &str = r#"
[roles.operator]
hosts = ["*"]
actions = ["ssh"]
longest = "1h"
may_ask = { users = ["alice"] }
approve = { users = ["carol"] }
"#;

/// Below the ports that clients get, so that none of theirs is in its way when it restarts.
const PORTS: std::ops::Range<u16> = 17_443..17_943;

/// Where jit-server finds its database's address.
const DATABASE: &str = "JIT_SERVER_DATABASE";

/// What the names of state folders begin with; the number of the process that made one follows.
const FOLDER: &str = "jit-bench-";

/// Somebody with an account that every Debian machine has (base-passwd), so that none need be made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Person {
    Root,
    Alice,
    Carol,
}

impl Person {
    fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Alice => 1,
            Self::Carol => 2,
        }
    }
}

pub(crate) struct Server {
    folder: TempDir,
    /// Where hosts find it.
    pub(crate) address: SocketAddr,
    /// The certificate of its authority.
    pub(crate) authority: CertificateDer<'static>,
    running: Child,
    database: Option<String>,
}

/// Which server is to be set up.
pub(crate) struct Setup<'a> {
    pub(crate) policy: &'a str,
    /// The PostgreSQL that has its record. None: SQLite.
    pub(crate) database: Option<&'a str>,
    /// Another server on that database.
    pub(crate) beside: Option<&'a Server>,
}

impl Server {
    /// Set up with alice and carol, and answering.
    pub(crate) fn start() -> Result<Self> {
        let server = Self::set_up(&Setup {
            policy: POLICY,
            database: None,
            beside: None,
        })?;
        for (name, login) in [("alice", "daemon"), ("carol", "bin")] {
            let user = json!({ "name": name, "login": login });
            server.post(Person::Root, "/v1/users", &user)?;
        }
        Ok(server)
    }

    /// Set up with nobody, and answering.
    pub(crate) fn set_up(setup: &Setup<'_>) -> Result<Self> {
        sweep()?;
        let prefix = format!("{FOLDER}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let state = folder.path().join("state");
        fs::create_dir(&state)?;
        if let Some(beside) = setup.beside {
            let copied = Command::new("cp")
                .arg("-a")
                .args(["signing.key", "tls"].map(|file| beside.state().join(file)))
                .arg(&state)
                .status()?;
            ensure!(copied.success(), "the keys were not copied");
        }
        let database = setup.database.map(str::to_owned);
        let prepare = Command::new(program())
            .args(["prepare", "--name", NAME, "--state"])
            .arg(&state)
            .envs(database.iter().map(|address| (DATABASE, address)))
            .output()
            .context("starting jit-server")?;
        ensure!(
            prepare.status.success(),
            "jit-server prepare: {}",
            String::from_utf8_lossy(&prepare.stderr)
        );
        let authority = CertificateDer::from_pem_slice(&prepare.stdout)
            .map_err(|error| anyhow::anyhow!("no certificate of the authority: {error}"))?;
        fs::write(folder.path().join("policy.toml"), setup.policy)?;
        let address = free_address()?;
        let server = Self {
            running: serve(folder.path(), address, database.as_deref())?,
            folder,
            address,
            authority,
            database,
        };
        wait::there(&server.socket(), Deadline::seconds(10))?;
        Ok(server)
    }

    /// Ends it as systemd does, and starts it again. Comes back when it answers.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let before = Process::open(self.running.id())?;
        let pid = Pid::from_child(&self.running);
        kill_process(pid, Signal::TERM).context("ending jit-server")?;
        ensure!(
            before.ended(Deadline::seconds(10))?,
            "jit-server does not end"
        );
        self.running.wait()?;
        fs::remove_file(self.socket())?;
        self.running = serve(self.folder.path(), self.address, self.database.as_deref())?;
        wait::there(&self.socket(), Deadline::seconds(10))?;
        api::call_at(&self.socket(), "GET", "/healthz", None).map(drop)
    }

    /// What somebody is answered; it must be a success.
    pub(crate) fn post(&self, person: Person, path: &str, body: &Value) -> Result<Value> {
        self.post_as(person.uid(), path, body)
    }

    /// The same for whoever has that account.
    pub(crate) fn post_as(&self, uid: u32, path: &str, body: &Value) -> Result<Value> {
        let call = || api::call_at(&self.socket(), "POST", path, Some(body));
        let (status, answer) = as_user(uid, call)?;
        ensure!(
            (200..300).contains(&status),
            "uid {uid}: POST {path}: {status} {answer}"
        );
        Ok(answer)
    }

    /// Resident now, KiB.
    pub(crate) fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.id()))?;
        kibibytes(&status, "VmRSS")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.kill().ok();
        self.running.wait().ok();
    }
}

/// setpriv has the kernel end it with us, however we end.
fn serve(folder: &Path, address: SocketAddr, database: Option<&str>) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))?;
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program())
        .arg("serve")
        .arg("--state")
        .arg(folder.join("state"))
        .arg("--policy")
        .arg(folder.join("policy.toml"))
        .arg("--socket")
        .arg(folder.join("api.sock"))
        .args(["--listen", &address.to_string()])
        .envs(database.map(|address| (DATABASE, address)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("starting setpriv")
}

/// Removes the folders of benches that were killed.
fn sweep() -> Result<()> {
    for entry in fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name
            .strip_prefix(FOLDER)
            .and_then(|rest| rest.split_once('-'));
        if maker.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn program() -> PathBuf {
    machine::target().join("release/jit-server")
}

fn free_address() -> Result<SocketAddr> {
    PORTS
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .context("no port is free")
}
