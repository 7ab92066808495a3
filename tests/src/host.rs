//! A host: Debian booted in a container by systemd-nspawn, on an overlay over a base image, in a cgroup tree and a network
//! of its own. Whatever happens to the process that booted it, the host ends with that process. Or the very machine that this
//! process runs on, where that is a virtual machine made for a test.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::group::Stage;
use crate::image::{self, Release};
use crate::lifetime::{places, reaper};
use crate::machine;
use crate::news::News;
use crate::run::{Inside, Outcome};
use crate::wait::{self, Deadline};

/// A host is up within seconds; on a machine busy with a build it may take longer.
const BOOT_WITHIN: Duration = Duration::from_secs(120);

/// Boots a host, again whenever it reboots (systemd-nspawn then ends with 133), each time in a cgroup of its own. The mounts are
/// made in a mount namespace of their own and so end with it. $1 cgroup, $2 folder, $3 base image, $4 host name, $5 more for /etc/hosts,
/// then the arguments of systemd-nspawn.
const BOOT: &str = r#"
set -eu
cgroup=$1 folder=$2 base=$3 name=$4 known=$5; shift 5
mkdir "$cgroup/start"
echo $$ > "$cgroup/start/cgroup.procs"
mount -t tmpfs -o mode=0755 jit-host "$folder/disk"
mkdir "$folder/disk/upper" "$folder/disk/work" "$folder/disk/root"
mount -t overlay -o "lowerdir=$base,upperdir=$folder/disk/upper,workdir=$folder/disk/work" jit-host "$folder/disk/root"
echo "$name" > "$folder/disk/root/etc/hostname"
printf '127.0.0.1 localhost %s\n%s' "$name" "$known" > "$folder/disk/root/etc/hosts"
boot=0 code=133
while [ $code = 133 ]; do
    boot=$((boot + 1)) code=0
    mkdir "$cgroup/boot-$boot"
    sh -c 'echo $$ > "$0/cgroup.procs" && exec systemd-nspawn "$@"' \
        "$cgroup/boot-$boot" --directory="$folder/disk/root" "$@" || code=$?
done
exit $code
"#;

const NO_CONTAINER: &str = "the host is this machine itself, not a container";

/// How a host differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Its host name; `host` unless said.
    pub name: Option<String>,
    /// A network namespace made by [`crate::net`]; without one it has a loopback and no other link.
    pub network: Option<PathBuf>,
    /// More lines for /etc/hosts.
    pub known_hosts: String,
    /// With one more of Debian's packages, as it installs itself.
    pub package: Option<&'static str>,
}

/// A booted host. Dropped, it is gone with everything on it.
#[derive(Debug)]
pub struct Host {
    release: Release,
    name: String,
    /// None where the host is this machine itself.
    container: Option<Container>,
    inside: Mutex<Handles>,
    commands: AtomicU32,
}

/// What keeps a host in a container, from outside.
#[derive(Debug)]
struct Container {
    folder: PathBuf,
    news: News,
    nspawn: Child,
    reaper: Child,
}

/// What changes when the host boots again.
#[derive(Debug, Default, Clone)]
struct Handles {
    leader: Option<u32>,
    commands: PathBuf,
}

impl Host {
    /// Boots a host of this release and waits until all its services are up.
    ///
    /// # Errors
    /// The machine can't boot hosts, or this one did not come up; the error has the end of its console.
    pub fn boot(release: Release, options: &Options) -> Result<Self> {
        machine::ready()?;
        let base = match options.package {
            Some(package) => image::with(release, package)?,
            None => image::base(release)?,
        };
        let name = options.name.clone().unwrap_or_else(|| "host".to_owned());
        let (folder, cgroup) = places(release)?;
        let reaper = reaper(&cgroup, &folder)?;
        let news = News::listen(&folder.join("news"))?;
        let nspawn = nspawn(&folder, &cgroup, &base, &name, options)?;
        let inside = Mutex::new(Handles::default());
        let host = Self {
            release,
            name,
            container: Some(Container {
                folder,
                news,
                nspawn,
                reaper,
            }),
            inside,
            commands: AtomicU32::new(0),
        };
        host.wait_until_up().with_context(|| {
            format!(
                "booting a {} host; its console says:\n{}",
                release.name(),
                host.console()
            )
        })?;
        Ok(host)
    }

    /// This machine itself, once all its services are up. For what runs inside of a virtual machine: a container has no clock of its own.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn here(release: Release, name: &str) -> Result<Self> {
        let host = Self {
            release,
            name: name.to_owned(),
            container: None,
            inside: Mutex::new(Handles::default()),
            commands: AtomicU32::new(0),
        };
        host.up(1)?;
        Ok(host)
    }

    /// Its release.
    #[must_use]
    pub fn release(&self) -> Release {
        self.release
    }

    /// Its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command to be run inside, as root in root's home unless told otherwise.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Inside<'_> {
        Inside::new(self, words)
    }

    /// Runs a shell script inside as root; it must succeed.
    ///
    /// # Errors
    /// It does not.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.command(&["sh", "-euc", script]).text()
    }

    /// Runs a command inside as root, to its end, whatever its exit code.
    ///
    /// # Errors
    /// It can't be started or hangs.
    pub fn run(&self, words: &[&str]) -> Result<Outcome> {
        self.command(words).run()
    }

    /// Writes a file of root's inside, with its folders.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, path: &str, mode: &str, content: impl Into<Vec<u8>>) -> Result<()> {
        self.command(&["install", "-D", "-m", mode, "/dev/stdin", path])
            .input(content)
            .text()
            .map(drop)
    }

    /// The content of a file inside.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(&self, path: &str) -> Result<String> {
        self.command(&["cat", path]).text()
    }

    /// A place inside as the machine outside sees it. Links with absolute targets lead astray: they are followed outside.
    ///
    /// # Errors
    /// The host is not running.
    pub fn outside(&self, path: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!(
            "/proc/{}/root{path}",
            self.leader()?
        )))
    }

    /// The number outside of its process 1.
    ///
    /// # Errors
    /// The host is not running.
    pub fn leader(&self) -> Result<u32> {
        self.handles().leader.context("the host is not running")
    }

    /// Boots it again, with everything that was written kept, and waits until it is up.
    ///
    /// # Errors
    /// It does not come up again.
    pub fn reboot(&self) -> Result<()> {
        let leader = wait::Process::open(self.leader()?)?;
        self.command(&["systemctl", "reboot"])
            .start()?
            .ended(Deadline::within(BOOT_WITHIN))?;
        ensure!(
            leader.ended(Deadline::within(BOOT_WITHIN))?,
            "the host did not go down; its console says:\n{}",
            self.console()
        );
        *self.inside.lock().unwrap_or_else(PoisonError::into_inner) = Handles::default();
        self.wait_until_up()
            .with_context(|| format!("rebooting; the console says:\n{}", self.console()))
    }

    /// Lets it live on after this process; gives the command that enters it.
    ///
    /// # Errors
    /// The host is not running.
    pub fn keep(mut self) -> Result<String> {
        let leader = self.leader()?;
        let container = self.container.as_mut().context(NO_CONTAINER)?;
        container
            .reaper
            .stdin
            .as_mut()
            .context("the reaper has no input")?
            .write_all(b"keep\n")?;
        fs::write(
            container.folder.join("kept"),
            container.nspawn.id().to_string(),
        )?;
        Ok(format!("nsenter --target {leader} --all -- /bin/bash -l"))
    }

    /// The last lines of its console.
    #[must_use]
    pub fn console(&self) -> String {
        let console = self
            .container
            .as_ref()
            .map(|container| container.folder.join("console"));
        let text = console
            .and_then(|console| fs::read(console).ok())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn handles(&self) -> Handles {
        self.inside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn wait_until_up(&self) -> Result<()> {
        let container = self.container.as_ref().context(NO_CONTAINER)?;
        self.up(container.news.up(Deadline::within(BOOT_WITHIN))?)
    }

    /// Makes the unit that commands from outside run in, beside the host's own services and not above them.
    fn up(&self, leader: u32) -> Result<()> {
        let root = fs::read_to_string(format!("/proc/{leader}/cgroup"))?;
        let root = root
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .context("the host is in no cgroup v2")?;
        // A machine of its own is in `/init.scope`, a container in a cgroup above it.
        let root = root.trim_end_matches("init.scope").trim_end_matches('/');
        let root = machine::cgroups()?.join(root);
        *self.inside.lock().unwrap_or_else(PoisonError::into_inner) = Handles {
            leader: Some(leader),
            commands: root.clone(),
        };
        self.run(&[
            "systemd-run",
            "--quiet",
            "--unit=harness",
            "--property=Delegate=yes",
            "sleep",
            "infinity",
        ])?
        .succeeded()?;
        let commands = root.join("system.slice/harness.service");
        ensure!(commands.is_dir(), "{} is missing", commands.display());
        *self.inside.lock().unwrap_or_else(PoisonError::into_inner) = Handles {
            leader: Some(leader),
            commands,
        };
        let state = self.run(&["systemctl", "is-system-running", "--wait"])?;
        if state.stdout.trim() != "running" {
            bail!(
                "it is {}: {}",
                state.stdout.trim(),
                self.run(&["systemctl", "--failed", "--no-legend"])?.stdout
            );
        }
        Ok(())
    }

    /// A new cgroup for one command.
    pub(crate) fn new_cgroup(&self) -> Result<PathBuf> {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let cgroup = self.handles().commands.join(format!("command-{number}"));
        fs::create_dir(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
        Ok(cgroup)
    }
}

impl Stage for Host {
    fn last_words(&self) -> String {
        let script = "journalctl --sync; journalctl --no-pager --quiet --since=-15s | tail -n 30 | cut -c 1-300";
        self.sh(script).unwrap_or_else(|error| format!("{error:#}"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(container) = &mut self.container {
            drop(container.reaper.stdin.take());
            container.reaper.wait().ok();
            container.nspawn.try_wait().ok();
        }
    }
}

fn nspawn(
    folder: &Path,
    cgroup: &Path,
    base: &Path,
    name: &str,
    options: &Options,
) -> Result<Child> {
    let console = File::create(folder.join("console"))?;
    let machine = folder
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(name);
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "setsid",
        "sh",
        "-c",
        BOOT,
        "boot",
    ]);
    command
        .args([cgroup, folder, base])
        .args([name, &options.known_hosts])
        .args([
            "--boot",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
        ]);
    command.args([
        "--notify-ready=yes",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
    ]);
    command.args([format!("--machine={machine}"), format!("--hostname={name}")]);
    match &options.network {
        Some(namespace) => command.arg(format!("--network-namespace-path={}", namespace.display())),
        None => command.arg("--private-network"),
    };
    command
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .env("NOTIFY_SOCKET", folder.join("news"))
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .context("starting systemd-nspawn")
}
