//! Promises that need a machine with a clock of its own, which a container has not: Debian booted by QEMU, one machine a release.
//!
//! The test program boots the machine with itself and the packages on a second disk, and is started again inside, by
//! `jit-tests.service`. There it finds a [`Host`] that is the machine itself, so that sites, people, ssh and terminals are those of
//! the containers. What it says goes out through the second serial line, and is passed on outside.
//!
//! QEMU interprets the machine's code (TCG): that boots in a quarter of a minute, is the same everywhere, and asks nothing of the
//! processor. `JIT_TEST_ACCEL=kvm` has the kernel run it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::group::{Promise, Stage, Wanted, guarded, say};
use crate::host::Host;
use crate::image::{self, Release};
use crate::machine;
use crate::packages;
use crate::site::Site;

/// Says inside, by the release's name, that this is inside.
const INSIDE: &str = "JIT_TESTS_INSIDE";

/// Where the second disk is mounted inside: this program, its arguments, the packages.
const BROUGHT: &str = "/opt/jit-tests";

/// Where the machine keeps, across its reboots, which promises were tried.
const PROGRESS: &str = "/var/lib/jit-tests";

/// All of a machine, with several boots.
const ALL_WITHIN: Duration = Duration::from_secs(2700);

/// The last line that comes out of a machine, with how many promises were broken behind it.
const LAST_LINE: &str = "jit-tests: broken: ";

/// Starts this program, whose last act is to switch the machine off.
const UNIT: &str = "[Unit]
After=ssh.service dbus.service systemd-logind.service
[Service]
ExecStart=/bin/sh -c 'stty -F /dev/ttyS1 raw && mount -o ro /dev/vdb /opt/jit-tests && . /opt/jit-tests/environment && exec /opt/jit-tests/program $WORDS >/dev/ttyS1 2>&1'
[Install]
WantedBy=multi-user.target
";

/// What makes a base image a disk. $1 image, $2 where the disk, kernel and initrd go.
const DISK: &str = r#"
set -eu
image=$1 made=$2
mkdir -p "$made.half" "$image/opt/jit-tests"
cp "$image"/boot/vmlinuz-* "$made.half/kernel"
cp "$image"/boot/initrd.img-* "$made.half/initrd"
printf '%s' "$UNIT" > "$image/etc/systemd/system/jit-tests.service"
ln -sf /etc/systemd/system/jit-tests.service "$image/etc/systemd/system/multi-user.target.wants/"
echo web1 > "$image/etc/hostname"
echo '127.0.0.1 localhost web1' > "$image/etc/hosts"
mke2fs -q -F -t ext4 -d "$image" "$made.half/disk" 3G
rm -rf "$made"
mv "$made.half" "$made"
"#;

/// Tries promises on one machine a release, in their order, the releases side by side.
pub fn keep(group: &str, promises: &[Promise<Site>]) -> ExitCode {
    let wanted = Wanted::read();
    let chosen: Vec<_> = promises
        .iter()
        .filter(|(name, _)| wanted.has(name))
        .collect();
    if let Ok(inside) = std::env::var(INSIDE) {
        return inside_of(group, &inside, &chosen);
    }
    if wanted.list {
        chosen
            .iter()
            .for_each(|(name, _)| say(&format!("{name}: test")));
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    let words = wanted.words.join(" ");
    let broken: usize = thread::scope(|scope| {
        let machines: Vec<_> = wanted
            .releases
            .iter()
            .map(|&release| {
                let words = &words;
                scope.spawn(
                    move || match guarded(|| Machine::boot(release, words)?.watch()) {
                        Ok(broken) => broken,
                        Err(error) => {
                            say(&format!(
                                "{group}: the {} machine: {error:#}",
                                release.name()
                            ));
                            1
                        }
                    },
                )
            })
            .collect();
        machines
            .into_iter()
            .map(|machine| machine.join().unwrap_or(1))
            .sum()
    });
    let tried = chosen.len() * wanted.releases.len();
    say(&format!(
        "\n{group}: {} passed, {broken} failed",
        tried.saturating_sub(broken)
    ));
    if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A running virtual machine. Dropped, it is gone with its disk.
struct Machine {
    qemu: Child,
    console: PathBuf,
    _folder: tempfile::TempDir,
}

impl Machine {
    fn boot(release: Release, words: &str) -> Result<Self> {
        machine::ready()?;
        let made = disk(release)?;
        let hosts = machine::target().join("hosts");
        fs::create_dir_all(&hosts)?;
        let folder = tempfile::Builder::new()
            .prefix("machine-")
            .tempdir_in(hosts.canonicalize()?)?;
        let (brought, console) = (folder.path().join("brought"), folder.path().join("console"));
        bring(release, words, folder.path(), &brought)?;
        let accelerator = std::env::var("JIT_TEST_ACCEL").unwrap_or_else(|_| "tcg".to_owned());
        let drive = |file: &Path, more: &str| {
            format!("file={},if=virtio,format=raw,{more}", file.display())
        };
        let qemu = Command::new("qemu-system-x86_64")
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-nic",
                "none",
            ])
            // The paravirtual clock would bring the machine outside's time across a reboot.
            .args([
                "-accel",
                &accelerator,
                "-cpu",
                "max,-kvmclock",
                "-m",
                "1024",
            ])
            // S3, and no way out of it but the machine's own alarm clock.
            .args([
                "-global",
                "PIIX4_PM.disable_s3=0",
                "-rtc",
                "base=utc,clock=host",
            ])
            .arg("-kernel")
            .arg(made.join("kernel"))
            .arg("-initrd")
            .arg(made.join("initrd"))
            .args(["-append", "root=/dev/vda rw console=ttyS0 no-kvmclock"])
            .args(["-drive", &drive(&made.join("disk"), "snapshot=on")])
            .args(["-drive", &drive(&brought, "readonly=on")])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting qemu-system-x86_64, which make clocks installs")?;
        Ok(Self {
            qemu,
            console,
            _folder: folder,
        })
    }

    /// Passes on what comes out of it, to its end; gives how many promises were broken.
    fn watch(mut self) -> Result<usize> {
        let out = self.qemu.stdout.take().context("qemu has no output")?;
        let (lines, heard) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let began = Instant::now();
        loop {
            match heard.recv_timeout(ALL_WITHIN.saturating_sub(began.elapsed())) {
                Ok(line) => match line.trim_end().strip_prefix(LAST_LINE) {
                    Some(broken) => return broken.parse().context("the machine's last line"),
                    None => say(line.trim_end()),
                },
                Err(error) => {
                    let console = fs::read(&self.console).unwrap_or_default();
                    let console = String::from_utf8_lossy(&console).into_owned();
                    let start = console.len().saturating_sub(3000);
                    let end: String = console.chars().skip(start).collect();
                    bail!(
                        "{error} after {:.1?}; its console says:\n{end}",
                        began.elapsed()
                    );
                }
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.qemu.kill().ok();
        self.qemu.wait().ok();
    }
}

/// The folder with disk, kernel and initrd of a release; made where it is missing or older than its image.
fn disk(release: Release) -> Result<PathBuf> {
    let image = image::with_a_kernel(release)?;
    let made = image.with_extension("disk");
    let turn = File::create(image.with_extension("disk-lock"))?;
    turn.lock().context("waiting for the disk's lock")?;
    let stamp = format!(
        "{}{UNIT}{DISK}",
        fs::read_to_string(image.with_extension("stamp"))?
    );
    if fs::read_to_string(made.join("stamp")).is_ok_and(|made_by| made_by == stamp) {
        return Ok(made);
    }
    let status = Command::new("sh")
        .args(["-c", DISK, "disk"])
        .args([&image, &made])
        .env("UNIT", UNIT)
        .status()
        .context("making a disk")?;
    ensure!(status.success(), "making a disk: {status}");
    fs::write(made.join("stamp"), stamp)?;
    Ok(made)
}

/// Makes the second disk.
fn bring(release: Release, words: &str, folder: &Path, disk: &Path) -> Result<()> {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("packages"))?;
    fs::copy(std::env::current_exe()?, tree.join("program"))?;
    for name in ["jitd", "jit-server"] {
        let package = packages::built(name)?;
        let file = package.file_name().context("a package without a name")?;
        fs::copy(&package, tree.join("packages").join(file))?;
    }
    let environment = format!(
        "export {INSIDE}={} JIT_TEST_PACKAGES={BROUGHT}/packages WORDS='{words}'\n",
        release.name()
    );
    fs::write(tree.join("environment"), environment)?;
    let (tree, disk) = (tree.to_string_lossy(), disk.to_string_lossy());
    machine::output(
        "mke2fs",
        &["-q", "-F", "-t", "ext4", "-d", &tree, &disk, "512M"],
    )
    .map(drop)
}

fn inside_of(group: &str, release: &str, promises: &[&Promise<Site>]) -> ExitCode {
    let broken = match guarded(|| try_all(group, release, promises)) {
        Ok(broken) => broken,
        Err(error) => {
            say(&format!("{group}: the stage ({release}): {error:#}"));
            promises.len()
        }
    };
    say(&format!("{LAST_LINE}{broken}"));
    ExitCode::SUCCESS
}

/// Goes on behind the promises that were tried before a reboot.
fn try_all(group: &str, name: &str, promises: &[&Promise<Site>]) -> Result<usize> {
    let release = Release::ALL
        .into_iter()
        .find(|release| release.name() == name)
        .context("no such release")?;
    let began = Instant::now();
    let number = |file: &str| -> Option<usize> {
        let text = fs::read_to_string(Path::new(PROGRESS).join(file)).ok()?;
        text.trim().parse().ok()
    };
    let (tried, mut broken) = (number("tried"), number("broken").unwrap_or(0));
    let site = match tried {
        None => Site::here(release)?,
        Some(_) => Site {
            host: Host::here(release, "web1")?,
        },
    };
    fs::create_dir_all(PROGRESS)?;
    say(&format!(
        "{group}::the machine ({name}) {:.1?}",
        began.elapsed()
    ));
    for (at, (promise, trial)) in promises.iter().enumerate().skip(tried.unwrap_or(0)) {
        fs::write(Path::new(PROGRESS).join("tried"), at.to_string())?;
        let began = Instant::now();
        let kept = guarded(|| trial(&site));
        fs::remove_file(Path::new(PROGRESS).join(NOTE)).ok();
        let word = if kept.is_ok() { "kept" } else { "BROKEN" };
        say(&format!(
            "{group}::{promise} ({name}) … {word} {:.1?}",
            began.elapsed()
        ));
        if let Err(error) = kept {
            say(&format!(
                "---- {promise} ({name})\n{error:#}\n{}\n----",
                site.last_words()
            ));
            broken += 1;
            fs::write(Path::new(PROGRESS).join("broken"), broken.to_string())?;
        }
    }
    Ok(broken)
}

/// What a promise keeps across its reboot.
const NOTE: &str = "note";

/// What the promise that runs now left for itself before it rebooted the machine; none where it did not.
#[must_use]
pub fn note() -> Option<String> {
    fs::read_to_string(Path::new(PROGRESS).join(NOTE)).ok()
}

/// Boots the machine again, and has the promise that runs now tried again then, with this note. Does not come back but with an error.
///
/// # Errors
/// The machine does not go down.
pub fn reboot(host: &Host, note: &str) -> Result<()> {
    host.write(&format!("{PROGRESS}/{NOTE}"), "0600", note)?;
    host.sh("sync; systemctl --no-block reboot")?;
    thread::sleep(Duration::from_secs(120));
    bail!("the machine did not go down")
}
