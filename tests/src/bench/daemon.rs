//! jitd itself: how fast it starts, how much memory it holds.

use anyhow::{Context, Result};
use jit_tests::site::Site;

use crate::figures::{Figure, median};

const STARTS: usize = 11;
const START_GOAL_MS: f64 = 50.0;
const MEMORY_GOAL_MIB: f64 = 12.0;

const JITD: &str = "jitd.service";
const EMPTY: &str = "jitd-empty.service";

/// jitd.service with its sandbox, and a program in it that does nothing: what systemd's part of a start takes.
const EMPTY_UNIT: &str = r"
sed -e 's,^ExecStart=.*,ExecStart=/bin/true,; s,^Type=.*,Type=oneshot\nRemainAfterExit=yes,' \
    -e '/^Restart/d; /^Watchdog/d; /^Requires=/d; /^After=/d; /^Wants=/d; /^StateDirectory/d; /^RuntimeDirectory/d' \
    /usr/lib/systemd/system/jitd.service > /run/systemd/system/jitd-empty.service
systemctl daemon-reload
";

/// How long until jitd answers, with the bundle of a thousand grants on disk.
///
/// systemd's record has a unit's start from its fork to READY=1; within that it makes the sandbox before it executes jitd. systemd of
/// Debian 12 keeps no time of that execution, so what /bin/true takes in the same sandbox, right after, is taken off.
pub(crate) fn start(site: &Site) -> Result<Vec<Figure>> {
    let mut own = Vec::with_capacity(STARTS);
    let mut units = Vec::with_capacity(STARTS);
    let mut sandboxes = Vec::with_capacity(STARTS);
    site.host.sh(EMPTY_UNIT)?;
    for _ in 0..STARTS {
        site.host
            .sh("systemctl restart jitd.service; systemctl restart jitd-empty.service")?;
        let unit = between(site, JITD, "ActiveEnterTimestampMonotonic")?;
        let sandbox = between(site, EMPTY, "ExecMainExitTimestampMonotonic")?;
        own.push(unit - sandbox);
        units.push(unit);
        sandboxes.push(sandbox);
    }
    let resident = resident_mib(site, "VmRSS")?;
    let anonymous = resident_mib(site, "RssAnon")?;
    site.wait_until_current()?;
    Ok(vec![
        Figure::beside("jitd.start", median(&mut own)?, "ms")
            .at_most(START_GOAL_MS)
            .note(format!(
                "from executing jitd to READY=1: jitd.unit_start less jitd.start_sandbox, start by start; median of {STARTS}"
            )),
        Figure::beside("jitd.unit_start", median(&mut units)?, "ms")
            .note("from systemd's fork to READY=1: jitd's start with the making of its sandbox"),
        Figure::beside("jitd.start_sandbox", median(&mut sandboxes)?, "ms")
            .note("/bin/true in jitd.service's place, from fork to exit"),
        Figure::beside("jitd.memory_at_start", resident, "MiB"),
        Figure::beside("jitd.memory_at_start_anonymous", anonymous, "MiB"),
    ])
}

/// Long enough that threads which wait for more work have ended, and that a minute can be told from it.
const SETTLE_S: u32 = 15;
const WATCHED_S: u32 = 30;
/// systemd is told that jitd lives this often: half of WatchdogSec=10.
const PING_S: u32 = 5;

/// How often jitd wakes while nothing is due, beside the pings to its watchdog. jitd-sync, which brings a word every 30 s, is away
/// meanwhile. A thread that slept and woke has given up the processor of its own accord once (proc_pid_status(5)).
pub(crate) fn idle_wakeups(site: &Site) -> Result<Vec<Figure>> {
    site.host
        .sh("systemctl stop jitd-sync.path jitd-sync.service")?;
    let pid = shown(site, JITD, "MainPID")?;
    let count = format!(
        "cat /proc/{pid}/task/*/status | awk '/^voluntary/ {{ sum += $2 }} END {{ print sum }}'"
    );
    let both = site
        .host
        .command(&[
            "sh",
            "-euc",
            &format!("sleep {SETTLE_S}; {count}; sleep {WATCHED_S}; {count}"),
        ])
        .within(std::time::Duration::from_secs(120))
        .text();
    site.host
        .sh("systemctl start jitd-sync.path jitd-sync.service")?;
    let both = both?;
    let counts: Vec<f64> = both.lines().map(str::parse).collect::<Result<_, _>>()?;
    let [before, after] = counts[..] else {
        anyhow::bail!("no two counts: {both}");
    };
    site.wait_until_current()?;
    let a_minute = 60.0 / f64::from(WATCHED_S);
    let pings = f64::from(WATCHED_S / PING_S);
    Ok(vec![
        Figure::beside(
            "jitd.idle_wakeups",
            (after - before - pings).max(0.0) * a_minute,
            "/min",
        )
        .at_most(0.0)
        .note("a minute, beside jitd.watchdog_pings; jitd-sync stopped"),
        Figure::beside("jitd.watchdog_pings", pings * a_minute, "/min"),
    ])
}

/// What jitd holds resident, now.
pub(crate) fn memory(site: &Site) -> Result<Vec<Figure>> {
    Ok(vec![
        Figure::beside("jitd.memory", resident_mib(site, "VmRSS")?, "MiB")
            .at_most(MEMORY_GOAL_MIB)
            .note("resident, after all of the above"),
        Figure::beside("jitd.memory_anonymous", resident_mib(site, "RssAnon")?, "MiB")
            .note("of that its heap and stacks; the rest are pages of its files, which the kernel may drop"),
        Figure::beside("jitd.memory_peak", resident_mib(site, "VmHWM")?, "MiB"),
    ])
}

/// Milliseconds from the fork of a unit's program until `then`.
fn between(site: &Site, unit: &str, then: &str) -> Result<f64> {
    let microseconds = |property: &str| -> Result<f64> {
        let shown = shown(site, unit, property)?;
        shown
            .parse()
            .with_context(|| format!("{property} of {unit}"))
    };
    Ok((microseconds(then)? - microseconds("ExecMainStartTimestampMonotonic")?) / 1e3)
}

pub(crate) fn shown(site: &Site, unit: &str, property: &str) -> Result<String> {
    let property = format!("--property={property}");
    let shown = ["systemctl", "show", &property, "--value", unit];
    Ok(site.host.command(&shown).text()?.trim().to_owned())
}

fn resident_mib(site: &Site, field: &str) -> Result<f64> {
    let status = site
        .host
        .read(&format!("/proc/{}/status", shown(site, JITD, "MainPID")?))?;
    Ok(kibibytes(&status, field)? / 1024.0)
}

/// A field of /proc/PID/status that is in kB (proc_pid_status(5)).
pub(crate) fn kibibytes(status: &str, field: &str) -> Result<f64> {
    let kibibytes: Option<f64> = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
    kibibytes.with_context(|| format!("a process without {field}"))
}
