//! jitd-sync: what it holds, and how often it wakes while there is nothing to carry.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jit_tests::site::Site;

use crate::daemon::{kibibytes, shown};
use crate::figures::Figure;

const SYNC: &str = "jitd-sync.service";
const MEMORY_GOAL_MIB: f64 = 16.0;

const WATCHED: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What it does within so long of the last is one waking: a word takes some round trips.
const QUIET: Duration = Duration::from_millis(500);

/// What wakes it in a minute: a word every 30 s, the server's sign of life on the stream every 15 s, a ping to its watchdog every 20 s,
/// jitd's answer every 30 s that there are no events, and the end of a thread that has waited 10 s for more work after each word.
const TIMERS: f64 = 13.0;

/// What it holds resident, and its wake-ups. The host should have been left alone for some seconds.
pub(crate) fn figures(site: &Site) -> Result<Vec<Figure>> {
    let pid = shown(site, SYNC, "MainPID")?;
    let process = site.host.outside(&format!("/proc/{pid}"))?;
    let wakings = f64::from(wakings(&process.join("task"))?);
    let status = fs::read_to_string(process.join("status"))?;
    Ok(vec![
        Figure::beside("jitd_sync.memory", kibibytes(&status, "VmRSS")? / 1024.0, "MiB")
            .at_most(MEMORY_GOAL_MIB)
            .note("resident, after all of the above"),
        Figure::beside("jitd_sync.idle_wakeups", (wakings - TIMERS).max(0.0), "/min")
            .at_most(0.0)
            .note(format!(
                "beyond {TIMERS} a minute: 2 words and 2 ends of their threads, 4 signs of life on the stream, 3 watchdog pings, 2 answers of jitd's"
            )),
        Figure::beside("jitd_sync.wakeups", wakings, "/min")
            .note("moments at which a thread of it ran, half a second or more apart"),
    ])
}

/// How often it wakes. A thread that ran and sleeps again has given up the processor of its own accord once more (proc_pid_status(5)).
fn wakings(tasks: &Path) -> Result<u32> {
    let began = Instant::now();
    let (mut before, mut active, mut wakings) = (switches(tasks)?, None, 0);
    while began.elapsed() < WATCHED {
        thread::sleep(LOOK_EVERY);
        let now = switches(tasks)?;
        if now != before {
            if active.is_none_or(|at: Instant| at.elapsed() > QUIET) {
                wakings += 1;
            }
            active = Some(Instant::now());
            before = now;
        }
    }
    Ok(wakings)
}

fn switches(tasks: &Path) -> Result<Vec<String>> {
    let mut switches = Vec::new();
    for task in fs::read_dir(tasks)? {
        // It may have ended since, which is seen by its line.
        let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("voluntary"));
        switches.push(line.unwrap_or_default().to_owned());
    }
    (!switches.is_empty())
        .then_some(switches)
        .context("jitd-sync has ended")
}
