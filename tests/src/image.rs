//! Base images: one folder a release, made once by mmdebstrap from this machine's own Debian mirror.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::machine;

/// A Debian release that hosts are booted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Debian 12: systemd 252, OpenSSH 9.2, sudo 1.9.13.
    Bookworm,
    /// Debian 13: systemd 257, OpenSSH 10.0, sudo 1.9.16.
    Trixie,
}

impl Release {
    /// Every release that the promises are kept on.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// Debian's code name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The release of the machine outside where it is one of ours, else Debian 12.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let about = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self::ALL
            .into_iter()
            .find(|r| about.contains(&format!("VERSION_CODENAME={}\n", r.name())))
            .unwrap_or(Self::Bookworm)
    }
}

/// What every host has: what a small server has, and no more than the tests call.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,openssh-client,sudo,procps,iproute2,cron,at,tmux,screen,polkitd,pkexec,strace,login,passwd";

/// Changes whenever images made earlier no longer do.
const RECIPE: &str = "3";

/// The base image of `release`; makes it first where it is missing or was made by another recipe. Tests that run
/// at the same time wait for the one that makes it.
///
/// # Errors
/// No mirror known to apt, or mmdebstrap failed.
pub fn base(release: Release) -> Result<PathBuf> {
    kept(release, release.name(), PACKAGES)
}

/// The same with what a virtual machine needs besides: a kernel, and what starts it and sets its hardware clock.
///
/// # Errors
/// As [`base`].
pub fn with_a_kernel(release: Release) -> Result<PathBuf> {
    // util-linux-extra has hwclock; Debian 12 and 13 both have that package.
    let packages =
        format!("{PACKAGES},linux-image-cloud-amd64,initramfs-tools,udev,util-linux-extra");
    kept(release, &format!("{}-machine", release.name()), &packages)
}

/// The same with another of Debian's packages, set up for nothing.
///
/// # Errors
/// As [`base`].
pub fn with(release: Release, package: &str) -> Result<PathBuf> {
    let packages = format!("{PACKAGES},{package}");
    kept(release, &format!("{}-{package}", release.name()), &packages)
}

fn kept(release: Release, name: &str, packages: &str) -> Result<PathBuf> {
    let images = machine::target().join("images");
    fs::create_dir_all(&images).with_context(|| format!("making {}", images.display()))?;
    let images = images.canonicalize()?;
    let image = images.join(name);
    let stamp = images.join(format!("{name}.stamp"));
    let wanted = format!("{RECIPE} {packages}\n");

    let turn = File::create(images.join(format!("{name}.lock")))?;
    turn.lock().context("waiting for the image's lock")?;
    if image.is_dir() && fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(image);
    }
    make(release, packages, &image)?;
    fs::write(&stamp, wanted)?;
    Ok(image)
}

fn make(release: Release, packages: &str, image: &Path) -> Result<()> {
    let half_made = image.with_extension("half");
    remove(&half_made)?;
    remove(image)?;
    let output = Command::new("mmdebstrap")
        .args([
            "--quiet",
            "--variant=minbase",
            &format!("--include={packages}"),
            release.name(),
        ])
        .arg(&half_made)
        .arg(mirror()?)
        .output()
        .context("starting mmdebstrap")?;
    if !output.status.success() {
        bail!(
            "mmdebstrap {}: {}: {}",
            release.name(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    fs::rename(&half_made, image).context("putting the image in place")
}

fn remove(tree: &Path) -> Result<()> {
    match fs::remove_dir_all(tree) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", tree.display()))
        }
        _ => Ok(()),
    }
}

/// The Debian mirror that this machine installs from; `JIT_TEST_MIRROR` names another.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var("JIT_TEST_MIRROR") {
        return Ok(mirror);
    }
    let release = machine::output(
        "sh",
        &["-c", ". /etc/os-release && echo \"$VERSION_CODENAME\""],
    )?;
    let targets = machine::output(
        "apt-get",
        &[
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ],
    )?;
    targets
        .lines()
        .filter_map(|line| line.strip_suffix(&format!(" {} main", release.trim())))
        .next()
        .map(|uri| uri.trim_end_matches('/').to_owned())
        .context("apt on this machine knows no Debian mirror: name one in JIT_TEST_MIRROR")
}
