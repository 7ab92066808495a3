//! No clock lengthens a grant, and none locks a host for ever (T24, T25). On virtual machines, whose clocks may be set.
//!
//! jit-server runs on the same machine, so its wall clock steps too. It never lets its own time run backwards, so a backward step
//! says nothing of a server whose clock is right and shows the host's part as it is. A forward step shows the host's part only with
//! the server stopped, since it signs the wrong time otherwise, as the last promises want it to. A server on a machine whose clock is
//! right is not shown.
//!
//! The order matters: what a server has signed is never taken back, so that after the promises of T25 at the end of the list the
//! time of host and server stays days ahead of the wall clock.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jit_tests::group::Promise;
use jit_tests::promises;
use jit_tests::run::Running;
use jit_tests::site::{Granted, Site};
use jit_tests::ssh::Ssh;
use jit_tests::virtual_machine;
use jit_tests::wait::{self, Deadline};

/// SIGTERM, two seconds of grace, cgroup.kill; the rest is for an interpreted processor.
const END_WITHIN: Duration = Duration::from_secs(8);

const KILL: &str = "systemctl kill --signal=KILL jitd.service; systemctl mask --runtime --now --quiet jitd.service";

/// With its socket, in which the courier would start it again.
const STOP_SERVER: &str = "systemctl stop jit-server.socket jit-server.service";
const START_SERVER: &str = "systemctl start jit-server.socket jit-server.service";

/// A day, set by the wall clock alone.
const BACK: &str = "date --set='-1 day'";
const FORWARD: &str = "date --set='+1 day'";

/// For the next boot.
const KEEP_CLOCK: &str = "hwclock --systohc --utc";

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        a_clock_set_one_day_back_moves_no_end_and_revives_nothing,
        with_jitd_killed_a_clock_set_back_moves_no_end,
        with_jitd_killed_a_clock_set_forward_ends_at_once,
        t25_a_forward_step_ends_what_is_over_by_it_and_is_forgotten_when_taken_back,
        a_suspend_over_the_end_of_a_grant_ends_it_at_resume,
        a_short_suspend_does_not_lengthen_a_grant,
        a_user_out_of_processes_ends_on_time,
        a_user_out_of_memory_ends_on_time,
        t24_back_across_a_reboot_nothing_counts_before_the_server_speaks,
        t25_a_forward_step_that_the_server_signed_is_gone_on_from_when_taken_back,
        t25_a_host_that_did_not_listen_meanwhile_goes_on_with_the_server,
        t25_while_the_servers_time_is_ahead_neither_suspend_nor_its_restart_shortens_a_grant,
    ];
    virtual_machine::keep("clocks", promises)
}

/// Bob's login with an elevation in it, both of them sleeping for this long.
fn busy(site: &Site, sleep: &str) -> Result<Running> {
    let login =
        Ssh::new(&site.host, "bob").start(&format!("sudo sleep {sleep} & nohup sleep {sleep}"))?;
    site.wait_until_runs(&format!("sudo sleep {sleep}"), Deadline::seconds(20))?;
    Ok(login)
}

fn granted(site: &Site, seconds: u64) -> Result<Granted> {
    let granted = site.grant("bob", "operator", seconds)?;
    wait::eventually("the grant to open the login", Deadline::seconds(20), || {
        Ok((Ssh::new(&site.host, "bob").run("true")?.code == Some(0)).then_some(()))
    })?;
    Ok(granted)
}

/// It runs now, and ends with its grant by the clock that nobody sets.
fn ends_on_time(site: &Site, granted: &Granted, sleep: &str) -> Result<()> {
    let pattern = format!("sleep {sleep}");
    ensure!(
        site.runs(&pattern)?,
        "{pattern} ended with {:.1?} left",
        granted.left()
    );
    site.wait_until_gone(&pattern, Deadline::within(granted.left() + END_WITHIN))?;
    ensure!(
        granted.left() < Duration::from_secs(2),
        "{pattern} ended {:.1?} before its grant",
        granted.left()
    );
    Ok(())
}

fn refused(site: &Site) -> Result<()> {
    Ssh::new(&site.host, "bob")
        .run("id")?
        .refused_saying(&[])
        .map(drop)
}

fn a_clock_set_one_day_back_moves_no_end_and_revives_nothing(site: &Site) -> Result<()> {
    // The first logins after a boot take long on an interpreted processor.
    let granted = granted(site, 45)?;
    let _login = busy(site, "7201")?;
    site.host.sh(BACK)?;
    let ended = ends_on_time(site, &granted, "7201").and_then(|()| refused(site));
    site.host.sh(FORWARD)?;
    ended?;
    refused(site)
}

fn with_jitd_killed_a_clock_set_back_moves_no_end(site: &Site) -> Result<()> {
    let granted = granted(site, 30)?;
    let _login = busy(site, "7202")?;
    site.host.sh(KILL)?;
    site.host.sh(BACK)?;
    let ended = ends_on_time(site, &granted, "7202");
    site.host.sh(FORWARD)?;
    site.mend_jitd()?;
    ended
}

fn with_jitd_killed_a_clock_set_forward_ends_at_once(site: &Site) -> Result<()> {
    let granted = granted(site, 600)?;
    let _login = busy(site, "7203")?;
    site.host.sh(STOP_SERVER)?;
    site.host.sh(KILL)?;
    site.host.sh(FORWARD)?;
    let ended = site.wait_until_gone("sleep 7203", Deadline::within(END_WITHIN));
    site.host.sh(BACK)?;
    site.host.sh(START_SERVER)?;
    site.mend_jitd()?;
    site.revoke(&granted.grant)?;
    ended
}

fn t25_a_forward_step_ends_what_is_over_by_it_and_is_forgotten_when_taken_back(
    site: &Site,
) -> Result<()> {
    let granted = granted(site, 600)?;
    let _login = busy(site, "7204")?;
    site.host.sh(STOP_SERVER)?;
    site.host.sh(FORWARD)?;
    let ended = site
        .wait_until_gone("sleep 7204", Deadline::within(END_WITHIN))
        .and_then(|()| refused(site));
    site.host.sh(BACK)?;
    // The line of signed time did not move: the grant is in force as if nothing had been.
    let again = Ssh::new(&site.host, "bob").run("id")?.succeeded();
    site.host.sh(START_SERVER)?;
    site.wait_until_current()?;
    site.revoke(&granted.grant)?;
    ended?;
    again.map(drop)
}

/// Suspends the machine to memory for so many seconds by its own alarm clock. The clock that `Instant` reads stands meanwhile.
fn suspend(site: &Site, seconds: u64) -> Result<Duration> {
    let uptime = || -> Result<f64> {
        let text = site.host.read("/proc/uptime")?;
        Ok(text.split(' ').next().unwrap_or_default().parse()?)
    };
    let (before, began) = (uptime()?, Instant::now());
    site.host
        .command(&[
            "rtcwake",
            "--utc",
            "--mode",
            "mem",
            "--seconds",
            &seconds.to_string(),
        ])
        .within(Duration::from_secs(120))
        .run()?
        .succeeded()?;
    let slept =
        Duration::from_secs_f64((uptime()? - before).max(0.0)).saturating_sub(began.elapsed());
    ensure!(
        slept + Duration::from_secs(3) > Duration::from_secs(seconds),
        "it was to sleep for {seconds} s, and the boot clock knows of {slept:.1?}"
    );
    Ok(slept)
}

fn a_suspend_over_the_end_of_a_grant_ends_it_at_resume(site: &Site) -> Result<()> {
    granted(site, 30)?;
    let _login = busy(site, "7205")?;
    suspend(site, 35)?;
    site.wait_until_gone("sleep 7205", Deadline::within(END_WITHIN))?;
    refused(site)
}

fn a_short_suspend_does_not_lengthen_a_grant(site: &Site) -> Result<()> {
    let mut granted = granted(site, 45)?;
    let _login = busy(site, "7206")?;
    let slept = suspend(site, 12)?;
    granted.lasts = granted.lasts.saturating_sub(slept);
    ends_on_time(site, &granted, "7206")
}

fn a_user_out_of_processes_ends_on_time(site: &Site) -> Result<()> {
    let granted = granted(site, 30)?;
    let _login = busy(site, "7207")?;
    site.host
        .sh("systemctl set-property --runtime user-$(id -u bob).slice TasksMax=40")?;
    let _more =
        Ssh::new(&site.host, "bob").start("exec 2>/dev/null; while :; do sleep 7207 & done")?;
    wait::eventually("bob to be out of processes", Deadline::seconds(20), || {
        // pids.events counts in the forking process's own cgroup before Linux 6.11, in the limited one since.
        let full = site.host.sh(
            "cd /sys/fs/cgroup/user.slice/user-$(id -u bob).slice && [ $(cat pids.current) -ge $(cat pids.max) ] && echo full || true",
        )?;
        Ok((full.trim() == "full").then_some(()))
    })?;
    let ended = ends_on_time(site, &granted, "7207");
    site.host
        .sh("systemctl revert user-$(id -u bob).slice || true")?;
    ended
}

fn a_user_out_of_memory_ends_on_time(site: &Site) -> Result<()> {
    let granted = granted(site, 45)?;
    let _login = busy(site, "7208")?;
    site.host.sh(
        "systemctl set-property --runtime user-$(id -u bob).slice MemorySwapMax=0 MemoryMax=64M",
    )?;
    // tail keeps the one endless line. Killed for it, it is started again, to the end.
    let _more = Ssh::new(&site.host, "bob").start("while :; do tail /dev/zero; done")?;
    wait::eventually("bob to be out of memory", Deadline::seconds(20), || {
        let kills = site.host.sh(
            "sed -n 's/^oom_kill //p' /sys/fs/cgroup/user.slice/user-$(id -u bob).slice/memory.events",
        )?;
        Ok((kills.trim().parse::<u32>()? >= 3).then_some(()))
    })?;
    let ended = ends_on_time(site, &granted, "7208")
        .and_then(|()| site.wait_until_gone("tail /dev/zero", Deadline::seconds(2)));
    site.host
        .sh("systemctl revert user-$(id -u bob).slice || true")?;
    ended
}

/// The hardware clock is set back with the wall clock, and nobody listens for the server when the machine is up again.
fn t24_back_across_a_reboot_nothing_counts_before_the_server_speaks(site: &Site) -> Result<()> {
    let Some(note) = virtual_machine::note() else {
        let over = granted(site, 20)?;
        wait::eventually("the grant to be over", Deadline::seconds(40), || {
            Ok(over.left().is_zero().then_some(()))
        })?;
        let live = site.grant("alice", "visitor", 3000)?;
        wait::eventually("alice to get in", Deadline::seconds(20), || {
            Ok((Ssh::new(&site.host, "alice").run("true")?.code == Some(0)).then_some(()))
        })?;
        site.host
            .sh("systemctl disable --quiet jit-server.service jit-server.socket")?;
        site.host.sh(BACK)?;
        site.host.sh(KEEP_CLOCK)?;
        let before = site.host.sh("date +%s")?;
        return virtual_machine::reboot(&site.host, &format!("{} {}", live.grant, before.trim()));
    };
    let (grant, before) = note.split_once(' ').context("a note of another kind")?;
    let passed = site.host.sh("date +%s")?.trim().parse::<i64>()? - before.parse::<i64>()?;
    ensure!(
        (0..3600).contains(&passed),
        "the hardware clock does not go on a day back: {passed} s"
    );
    let silent = Ssh::new(&site.host, "alice")
        .run("id")?
        .refused_saying(&["JIT-112"])
        .map(drop)
        .and_then(|()| refused(site));
    site.host
        .sh("systemctl enable --quiet --now jit-server.socket jit-server.service")?;
    // The courier has tried for a while, so that it waits for up to half a minute between two tries.
    let heard = wait::eventually("alice to get in again", Deadline::seconds(60), || {
        Ok((Ssh::new(&site.host, "alice").run("true")?.code == Some(0)).then_some(()))
    });
    let over = refused(site);
    site.host.sh(FORWARD)?;
    site.host.sh(KEEP_CLOCK)?;
    site.revoke(grant)?;
    silent?;
    heard?;
    over
}

fn t25_a_forward_step_that_the_server_signed_is_gone_on_from_when_taken_back(
    site: &Site,
) -> Result<()> {
    let today = granted(site, 600)?;
    let _login = busy(site, "7209")?;
    site.host.sh(FORWARD)?;
    site.wait_until_gone("sleep 7209", Deadline::within(END_WITHIN))?;
    refused(site)?;
    // A bundle with tomorrow's time, which opens something: the host has heard it.
    let tomorrow = granted(site, 600)?;
    site.host.sh(BACK)?;
    Ssh::new(&site.host, "bob").run("id")?.succeeded()?;
    site.revoke(&tomorrow.grant)?;
    wait::eventually("the revocation to count", Deadline::seconds(5), || {
        Ok((Ssh::new(&site.host, "bob").run("true")?.code != Some(0)).then_some(()))
    })?;
    ensure!(
        !today.left().is_zero(),
        "today's grant would be over in any case"
    );
    lasts_as_long_as_it_says(site, "7210")?;
    lasts_as_long_as_it_says(site, "7211")
}

/// A new grant opens a login, ends it on time by the clock that nobody sets, and is over then.
fn lasts_as_long_as_it_says(site: &Site, sleep: &str) -> Result<()> {
    let granted = granted(site, 30)?;
    let _login = busy(site, sleep)?;
    ends_on_time(site, &granted, sleep)?;
    refused(site)
}

/// Away while the server's clock is wrong, the host learns of it from the first word after.
fn t25_a_host_that_did_not_listen_meanwhile_goes_on_with_the_server(site: &Site) -> Result<()> {
    site.host.sh("systemctl stop jitd-sync.service")?;
    // Further than the server has been.
    site.host.sh("date --set='+2 days'")?;
    let asked = site.ask("alice", "visitor", 600);
    site.host.sh("date --set='-2 days'")?;
    site.host.sh("systemctl start jitd-sync.service")?;
    site.jitctl("alice", &["withdraw", &asked?])?.succeeded()?;
    lasts_as_long_as_it_says(site, "7212")?;
    lasts_as_long_as_it_says(site, "7213")
}

fn t25_while_the_servers_time_is_ahead_neither_suspend_nor_its_restart_shortens_a_grant(
    site: &Site,
) -> Result<()> {
    let slept = suspend(site, 35)?;
    ensure!(
        slept > Duration::from_secs(30),
        "too short to be told from nothing: {slept:.1?}"
    );
    lasts_as_long_as_it_says(site, "7214")?;
    // That grant was the last event, and is over: a server started from it would grant nothing in time.
    site.host.sh("systemctl restart jit-server.service")?;
    lasts_as_long_as_it_says(site, "7215")
}
