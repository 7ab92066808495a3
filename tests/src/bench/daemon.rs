//! jitd itself: how fast it starts, how much memory it holds.

use anyhow::{Context, Result};
use jit_tests::site::Site;

use crate::figures::{Figure, median};

const STARTS: usize = 11;
const START_GOAL_MS: f64 = 50.0;
const MEMORY_GOAL_MIB: f64 = 12.0;

/// From systemd's fork to READY=1, by systemd's own record. The bundle of a thousand grants is on disk.
pub(crate) fn start(site: &Site) -> Result<Vec<Figure>> {
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        site.host.sh("systemctl restart jitd.service")?;
        let forked = microseconds(site, "ExecMainStartTimestampMonotonic")?;
        let ready = microseconds(site, "ActiveEnterTimestampMonotonic")?;
        times.push((ready - forked) / 1e3);
    }
    let resident = resident_mib(site, "VmRSS")?;
    site.wait_until_current()?;
    Ok(vec![
        Figure::beside("jitd.start", median(&mut times)?, "ms")
            .at_most(START_GOAL_MS)
            .note(format!("median of {STARTS}, with systemd's sandbox")),
        Figure::beside("jitd.memory_at_start", resident, "MiB"),
    ])
}

/// What jitd holds resident, now.
pub(crate) fn memory(site: &Site) -> Result<Vec<Figure>> {
    Ok(vec![
        Figure::beside("jitd.memory", resident_mib(site, "VmRSS")?, "MiB")
            .at_most(MEMORY_GOAL_MIB)
            .note("resident, after all of the above"),
        Figure::beside("jitd.memory_peak", resident_mib(site, "VmHWM")?, "MiB"),
    ])
}

fn microseconds(site: &Site, property: &str) -> Result<f64> {
    shown(site, property)?
        .parse()
        .with_context(|| format!("{property} of jitd.service"))
}

fn shown(site: &Site, property: &str) -> Result<String> {
    let property = format!("--property={property}");
    let shown = ["systemctl", "show", &property, "--value", "jitd.service"];
    Ok(site.host.command(&shown).text()?.trim().to_owned())
}

/// A field of /proc/PID/status that is in kB (proc_pid_status(5)).
fn resident_mib(site: &Site, field: &str) -> Result<f64> {
    let status = site
        .host
        .read(&format!("/proc/{}/status", shown(site, "MainPID")?))?;
    let kilobytes: Option<f64> = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
    Ok(kilobytes.with_context(|| format!("jitd has no {field}"))? / 1024.0)
}
