//! Expiry ends a login, its elevation and a unit of its user manager, whatever is done to the host at the wrong moment.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::intruder::Intruder;
use jit_tests::promises;
use jit_tests::site::Site;
use jit_tests::ssh::Ssh;
use jit_tests::wait::Deadline;

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        with_a_full_disk,
        with_a_state_that_became_read_only,
        with_a_dead_bus,
        t19_with_a_bus_starved_by_half_open_connections,
        with_logind_restarting,
        with_pid_1_executing_itself_anew,
        with_pid_1_executing_itself_anew_and_jitd_gone,
        with_a_user_out_of_processes,
        with_a_user_out_of_memory,
    ];
    jit_tests::group::keep_with("harms", Site::enforcing, Site::calm, promises)
}

/// From the end of a grant to the last death.
const DEATH: Duration = Duration::from_secs(4);

/// A login, an elevation and a user unit of bob's.
const ALL_THREE: &str =
    "systemd-run --user -q sh -c 'exec sleep 8901'; sudo sleep 8902 & exec sleep 8903";

/// Does harm 2 s before the end of bob's grant, mends it once all should be over, and says whether it was.
fn ends_though<H>(
    site: &Site,
    as_well: &str,
    harm: impl FnOnce(&Site) -> Result<H>,
    mend: &str,
) -> Result<()> {
    let granted = site.open("bob", "operator", 12)?;
    let _login = Ssh::new(&site.host, "bob").start(&format!("{as_well}\n{ALL_THREE}"))?;
    for number in ["8901", "8902", "8903"] {
        site.wait_until_runs(&format!("sleep {number}"), Deadline::seconds(8))?;
    }
    thread::sleep(granted.left().saturating_sub(Duration::from_secs(2)));
    let ended = harm(site).and_then(|harm| {
        let early = !granted.left().is_zero() && !site.runs("sleep 8902")?;
        ensure!(!early, "it ended before its time");
        let deadline = Deadline::within(granted.left() + DEATH);
        let ended = site.wait_until_gone("sleep 89[0-9][0-9]", deadline);
        drop(harm);
        ended
    });
    site.host.sh(mend)?;
    site.host.sh("pkill -KILL -f '^sleep 89' || true")?;
    ended?;
    site.mend_jitd()
}

fn shell(script: &'static str) -> impl FnOnce(&Site) -> Result<()> {
    move |site| site.host.sh(script).map(drop)
}

/// Every file system that jitd and systemd write to, as far as root may fill it.
fn with_a_full_disk(site: &Site) -> Result<()> {
    // A host's disk is a tmpfs as large as half the machine's memory: its state and its run time get small ones.
    ends_though(
        site,
        "true",
        shell(
            "mkdir -p /run/full; mount -t tmpfs -o size=256k full /run/full; cp -a /var/lib/jit/. /run/full || true
             mount --bind /run/full /var/lib/jit; cat /dev/zero > /var/lib/jit/filler || true
             mount -o remount,size=$(($(df -k --output=used /run | tail -n 1) + 64))k /run; cat /dev/zero > /run/filler || true",
        ),
        "rm -f /run/filler; mount -o remount,size=20% /run; umount /var/lib/jit; umount /run/full",
    )
}

fn with_a_state_that_became_read_only(site: &Site) -> Result<()> {
    ends_though(
        site,
        "true",
        shell(
            "mount --bind /var/lib/jit /var/lib/jit; mount -o remount,bind,ro /var/lib/jit
             nsenter --target $(systemctl show -P MainPID jitd) --mount mount -o remount,bind,ro /var/lib/jit",
        ),
        "systemctl stop jitd; umount --lazy /var/lib/jit",
    )
}

fn with_a_dead_bus(site: &Site) -> Result<()> {
    ends_though(
        site,
        "true",
        shell("systemctl stop dbus.socket dbus.service"),
        "systemctl start dbus.socket dbus.service; systemctl restart systemd-logind",
    )
}

fn t19_with_a_bus_starved_by_half_open_connections(site: &Site) -> Result<()> {
    let mallory = Intruder::user(&site.host, env!("CARGO_BIN_EXE_peer"), "emil")?;
    ends_though(
        site,
        "true",
        |_| mallory.crowds("/run/dbus/system_bus_socket", 400, ""),
        "true",
    )
}

fn with_logind_restarting(site: &Site) -> Result<()> {
    ends_though(
        site,
        "true",
        shell("systemctl restart --no-block systemd-logind"),
        "systemctl start systemd-logind",
    )
}

fn with_pid_1_executing_itself_anew(site: &Site) -> Result<()> {
    ends_though(site, "true", shell("systemctl daemon-reexec"), "true")
}

fn with_pid_1_executing_itself_anew_and_jitd_gone(site: &Site) -> Result<()> {
    ends_though(
        site,
        "true",
        shell(
            "systemctl mask --runtime --quiet jitd.service; systemctl kill --signal=KILL jitd; systemctl daemon-reexec",
        ),
        "true",
    )
}

/// Children that start others until no more are given, 300 at most.
fn with_a_user_out_of_processes(site: &Site) -> Result<()> {
    ends_though(
        site,
        "( ulimit -u 300; while :; do sleep 8904 & done ) >/dev/null 2>&1 &",
        |_| Ok(()),
        "true",
    )
}

/// A few hundred MB, and again whenever the limit is met.
fn with_a_user_out_of_memory(site: &Site) -> Result<()> {
    ends_though(
        site,
        "( ulimit -v 400000; while :; do tail /dev/zero; done ) >/dev/null 2>&1 &",
        |_| Ok(()),
        "true",
    )
}
