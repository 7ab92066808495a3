//! The machine outside: what it must have, and where things are on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Programs that the harness calls, with the Debian package that has each.
const PROGRAMS: &[(&str, &str)] = &[
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("ip", "iproute2"),
    ("ssh-keygen", "openssh-client"),
];

/// Fails with one line that names what is missing, unless hosts can be booted here.
///
/// # Errors
/// Not root, a program missing, or no cgroup v2 mount.
pub fn ready() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "booting test hosts needs root: run this as root (sudo make test)"
    );
    for (program, package) in PROGRAMS {
        ensure!(
            found(program),
            "booting test hosts needs {program}: apt-get install {package}"
        );
    }
    cgroups().map(drop)
}

fn found(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|folder| Path::new(folder).join(program).exists())
}

/// The repository's build folder, honouring `CARGO_TARGET_DIR`.
#[must_use]
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

/// Where the cgroup v2 tree is mounted: its own mount on a hybrid machine, `/sys/fs/cgroup` on others.
///
/// # Errors
/// There is none.
pub fn cgroups() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| fields.get(1).map(PathBuf::from))
        .context("booting test hosts needs cgroup v2: no cgroup2 is mounted on this machine")
}

/// Runs a program of the machine outside to its end and gives what it printed.
///
/// # Errors
/// It can't be started, or fails; the error has what it wrote to standard error.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
