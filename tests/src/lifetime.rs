//! Where a host is kept while it lives, and its end: whatever becomes of the process that booted it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::image::Release;
use crate::machine;

/// Waits until the process that booted the host closes this script's standard input, by ending in whatever way or by
/// dropping the host, then ends the host and removes what there is of it. $1 cgroup, $2 folder.
const REAPER: &str = r#"
read -r word
[ "$word" = keep ] && exit 0
echo 1 > "$1/cgroup.kill"
while [ -d "$1" ]; do find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.02; done
rm -rf --one-file-system "$2"
"#;

/// A folder and a cgroup for a new host, named after this process.
pub(crate) fn places(release: Release) -> Result<(PathBuf, PathBuf)> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let hosts = machine::target().join("hosts");
    fs::create_dir_all(&hosts).with_context(|| format!("making {}", hosts.display()))?;
    sweep(&hosts)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let own = format!("jit-{}-{number}-{}", std::process::id(), release.name());
    let folder = hosts.canonicalize()?.join(&own);
    let cgroup = machine::cgroups()?.join(&own);
    fs::create_dir_all(folder.join("disk"))
        .with_context(|| format!("making {}", folder.display()))?;
    fs::create_dir_all(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
    Ok((folder, cgroup))
}

/// Removes what is left of hosts whose process has gone and whose reaper did not do it, or that were kept and have stopped.
fn sweep(hosts: &Path) -> Result<()> {
    for entry in fs::read_dir(hosts)? {
        let folder = entry?.path();
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let Some(pid) = name
            .strip_prefix("jit-")
            .and_then(|rest| rest.split('-').next())
        else {
            continue;
        };
        let keeper = fs::read_to_string(folder.join("kept")).unwrap_or_else(|_| pid.to_owned());
        if Path::new("/proc").join(keeper.trim()).exists() {
            continue;
        }
        reaper(&machine::cgroups()?.join(name), &folder)?.wait_with_output()?;
    }
    Ok(())
}

pub(crate) fn reaper(cgroup: &Path, folder: &Path) -> Result<Child> {
    Command::new("setsid")
        .args(["sh", "-c", REAPER, "reaper"])
        .args([cgroup, folder])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the reaper")
}
