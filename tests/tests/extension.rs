//! A grant that lasts longer, is given back or is taken from somebody who is locked: what happens to live sessions.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::image::Release;
use jit_tests::promises;
use jit_tests::site::{Granted, POLICY, Site};
use jit_tests::ssh::Ssh;
use jit_tests::wait::Deadline;

/// `extender` is extended at once, `asker` by carol.
const EXTENDABLE: &str = r#"
[roles.extender]
hosts = ["web1"]
actions = ["ssh", "sudo"]
longest = "60s"
extendable = "30s"
extend_without_approval = true
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"] }

[roles.asker]
hosts = ["web1"]
actions = ["ssh"]
longest = "1h"
extendable = "30m"
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"] }
"#;

/// SIGTERM, two seconds of grace, cgroup.kill, and a second for the machine under test to be busy.
const END_WITHIN: Duration = Duration::from_millis(3500);

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        an_extended_session_and_its_sudo_go_on_over_the_old_end_without_a_gap,
        an_extension_moves_the_timer_in_pid_1,
        an_extension_that_needs_approval_waits_for_it,
        release_from_inside_ends_that_session,
        a_lock_ends_all_sessions_of_a_principal_within_a_second,
    ];
    jit_tests::group::keep_with("extension", stage, calm, promises)
}

fn stage(release: Release) -> Result<Site> {
    let site = Site::enforcing(release)?;
    let policy = format!("{POLICY}{EXTENDABLE}");
    site.host
        .write("/etc/jit-server/policy.toml", "0644", policy)?;
    Ok(site)
}

fn calm(site: &Site) -> Result<()> {
    site.admin(&["unlock", "bob"])?;
    site.calm()
}

/// The same grant with so many seconds more.
fn longer(granted: &Granted, seconds: u64) -> Granted {
    Granted {
        lasts: granted.lasts + Duration::from_secs(seconds),
        ..granted.clone()
    }
}

/// Waits until such a process has ended, and checks that it did so neither early nor late.
fn ends_with(site: &Site, granted: &Granted, pattern: &str) -> Result<()> {
    site.wait_until_gone(pattern, Deadline::within(granted.left() + END_WITHIN))?;
    let early = granted.left();
    ensure!(
        early < Duration::from_secs(1),
        "{pattern} ended {early:.1?} before its grant"
    );
    Ok(())
}

fn an_extended_session_and_its_sudo_go_on_over_the_old_end_without_a_gap(
    site: &Site,
) -> Result<()> {
    let first = site.open("bob", "extender", 8)?;
    let _login = Ssh::new(&site.host, "bob").start("sudo sleep 7301 & sleep 7302")?;
    site.wait_until_runs("sleep 7301", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7302", Deadline::seconds(5))?;
    let said = site.jitctl("bob", &["extend", &first.grant, "--for", "10s"])?;
    ensure!(
        said.succeeded()?.stdout.contains("is extended until"),
        "it does not say until when"
    );
    ends_with(site, &longer(&first, 10), "sleep 730[12]")?;
    let shown = site.json("bob", &["show", &first.request])?;
    ensure!(
        shown.to_string().contains("extended "),
        "the timeline does not tell of it: {shown}"
    );
    let late = site.jitctl("bob", &["extend", &first.grant, "--for", "10s"])?;
    ensure!(late.code == Some(3), "it came back from its end: {late}");
    Ok(())
}

fn an_extension_moves_the_timer_in_pid_1(site: &Site) -> Result<()> {
    let first = site.open("bob", "extender", 8)?;
    let _login = Ssh::new(&site.host, "bob").start("sudo sleep 7303 & sleep 7304")?;
    site.wait_until_runs("sleep 7303", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7304", Deadline::seconds(5))?;
    site.jitctl("bob", &["extend", &first.grant, "--for", "10s"])?
        .succeeded()?;
    // Only once the host has the new bundle and PID 1 the new timers (number 2 and up) may jitd be hung. Bob's user manager has one, too.
    jit_tests::wait::eventually("PID 1's timers to move", Deadline::seconds(5), || {
        let timers = site
            .host
            .sh("systemctl list-units --plain --no-legend 'jit-end-*.timer'")?;
        let moved = timers.lines().filter(|line| !line.contains("-1.timer"));
        Ok((moved.count() >= 2 && !timers.contains("-1.timer")).then_some(()))
    })?;
    site.host.sh("systemctl kill --signal=STOP jitd.service")?;
    let ended = ends_with(site, &longer(&first, 10), "sleep 730[34]");
    site.mend_jitd()?;
    ended
}

fn an_extension_that_needs_approval_waits_for_it(site: &Site) -> Result<()> {
    let first = site.open("alice", "asker", 600)?;
    let asked = site.jitctl("alice", &["extend", &first.grant, "--for", "10m", "--json"])?;
    ensure!(asked.code == Some(5), "it is not pending: {asked}");
    let request: serde_json::Value = serde_json::from_str(&asked.stdout)?;
    let request = request["id"].as_str().unwrap_or_default().to_owned();
    let own = site.jitctl("alice", &["approve", &request])?;
    ensure!(own.code == Some(3), "alice approves for herself: {own}");
    site.approve("carol", &request)?;
    let shown = site.json("alice", &["show", &request])?;
    ensure!(
        shown["grants"][0] == first.grant.as_str(),
        "it is another grant: {shown}"
    );
    Ok(())
}

fn release_from_inside_ends_that_session(site: &Site) -> Result<()> {
    site.open("alice", "visitor", 600)?;
    let login = Ssh::new(&site.host, "alice").start("sleep 7305 & jitctl release; wait")?;
    site.wait_until_gone("sleep 7305", Deadline::within(END_WITHIN))?;
    ensure!(
        login.ended(Deadline::seconds(5))?,
        "the ssh client is still connected"
    );
    let again = Ssh::new(&site.host, "alice").run("true")?;
    ensure!(again.code == Some(255), "the grant still opens: {again}");
    Ok(())
}

fn a_lock_ends_all_sessions_of_a_principal_within_a_second(site: &Site) -> Result<()> {
    site.open("alice", "visitor", 600)?;
    let other = Ssh::new(&site.host, "alice").start("sleep 7308")?;
    site.open("bob", "operator", 600)?;
    let _first = Ssh::new(&site.host, "bob").start("sudo sleep 7306")?;
    let _second = Ssh::new(&site.host, "bob").start("sleep 7307")?;
    for sleep in ["sleep 7306", "sleep 7307", "sleep 7308"] {
        site.wait_until_runs(sleep, Deadline::seconds(5))?;
    }
    site.admin(&["lock", "bob", "--reason", "his laptop was stolen"])?;
    site.wait_until_gone("sleep 730[67]", Deadline::seconds(1))?;
    ensure!(other.alive()?, "alice's session ended with bob's");
    let ask = ["request", "visitor", "--for", "1m", "--reason", "a test"];
    let refused = site.jitctl("bob", &ask)?;
    ensure!(
        refused.code == Some(3) && refused.stderr.contains("his laptop was stolen"),
        "it does not say why: {refused}"
    );
    let status = site.jitctl("bob", &["status"])?;
    ensure!(
        status.stdout.starts_with("Your access is locked, by ")
            && status.stdout.contains("his laptop was stolen"),
        "status does not tell him: {status}"
    );
    let locks = site.admin(&["list", "locks"])?;
    ensure!(
        locks.stdout.contains("bob") && locks.stdout.contains("his laptop was stolen"),
        "the lock is not listed: {locks}"
    );
    site.admin(&["unlock", "bob"])?;
    let still_out = Ssh::new(&site.host, "bob").run("true")?;
    ensure!(
        still_out.code == Some(255),
        "the grant is back: {still_out}"
    );
    site.open("bob", "visitor", 60).map(drop)
}
