//! What a host holds a grant to beside its time: where a login comes from, and that there is one.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::image::Release;
use jit_tests::promises;
use jit_tests::run::Running;
use jit_tests::site::{POLICY, Site, find};
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use serde_json::Value;

const LIMITED: &str = r#"
[roles.office]
hosts = ["web1"]
actions = ["ssh", "sudo"]
longest = "1h"
default = "10m"
login_from = ["127.0.0.2"]
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"] }

[roles.door]
hosts = ["web1"]
actions = ["ssh"]
longest = "1h"
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"] }

[roles.once]
hosts = ["web1"]
actions = ["ssh", "sudo"]
longest = "1h"
single_use = true
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"] }
"#;

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        a_login_comes_in_from_the_role_s_network_and_from_no_other,
        a_login_from_elsewhere_that_another_role_holds_open_has_no_sudo_by_this_one,
        a_request_without_a_time_is_for_the_role_s,
        a_grant_for_one_login_opens_one_with_its_sudo_and_no_kill_of_jitd_gives_it_back,
        of_logins_that_race_for_a_grant_for_one_exactly_one_gets_in,
        with_its_memory_of_uses_lost_a_host_ends_no_login_and_opens_none,
    ];
    jit_tests::group::keep_with("limits", stage, Site::calm, promises)
}

fn stage(release: Release) -> Result<Site> {
    let site = Site::enforcing(release)?;
    let policy = format!("{POLICY}{LIMITED}");
    site.host
        .write("/etc/jit-server/policy.toml", "0644", policy)?;
    Ok(site)
}

/// bob's login from this address.
fn from<'h>(site: &'h Site, address: &str) -> Ssh<'h> {
    let bind = format!("-b{address}");
    Ssh::new(&site.host, "bob").to("127.0.0.1").option(&bind)
}

/// bob has the role here, and jitd knows; nobody has logged in by it.
fn given(site: &Site, role: &str) -> Result<()> {
    let before = grants(site)?;
    site.grant("bob", role, 600)?;
    wait::eventually("jitd to have the grant", Deadline::seconds(5), || {
        Ok((grants(site)? > before).then_some(()))
    })
}

/// How many grants jitd has.
fn grants(site: &Site) -> Result<u64> {
    let status = site.admin(&["status", "--json"])?;
    let status: Value = serde_json::from_str(&status.stdout)?;
    Ok(find(&status, "grants").and_then(Value::as_u64).unwrap_or(0))
}

fn a_login_comes_in_from_the_role_s_network_and_from_no_other(site: &Site) -> Result<()> {
    given(site, "office")?;
    from(site, "127.0.0.2").run("true")?.succeeded()?;
    let told = from(site, "127.0.0.3")
        .run("true")?
        .refused_saying(&["JIT-108"])?;
    ensure!(!told.said("127.0.0.2"), "it tells the networks: {told}");
    from(site, "127.0.0.2")
        .run("sudo -n true")?
        .succeeded()
        .map(drop)
}

fn a_login_from_elsewhere_that_another_role_holds_open_has_no_sudo_by_this_one(
    site: &Site,
) -> Result<()> {
    given(site, "office")?;
    given(site, "door")?;
    from(site, "127.0.0.3").run("true")?.succeeded()?;
    from(site, "127.0.0.3")
        .run("sudo -n true")?
        .refused_saying(&["JIT-108"])?;
    from(site, "127.0.0.2")
        .run("sudo -n true")?
        .succeeded()
        .map(drop)
}

fn a_request_without_a_time_is_for_the_role_s(site: &Site) -> Result<()> {
    let asked = site.json("bob", &["request", "office", "--reason", "a test"])?;
    let seconds = find(&asked, "for_seconds").and_then(Value::as_u64);
    ensure!(seconds == Some(600), "{asked}");
    let door = site.jitctl("bob", &["request", "door", "--reason", "a test"])?;
    door.refused_saying(&["--for"]).map(drop)
}

fn a_grant_for_one_login_opens_one_with_its_sudo_and_no_kill_of_jitd_gives_it_back(
    site: &Site,
) -> Result<()> {
    given(site, "once")?;
    let mut login = Ssh::new(&site.host, "bob").start("sudo sleep 7401 & sleep 7402")?;
    site.wait_until_runs("sleep 7401", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7402", Deadline::seconds(5))?;
    let second = || Ssh::new(&site.host, "bob").run("true");
    second()?.refused_saying(&["JIT-109"])?;
    site.host.sh("systemctl kill -s KILL jitd.service")?;
    site.wait_until_current()?;
    second()?.refused_saying(&["JIT-109"])?;
    ensure!(login.alive()?, "the first login did not go on");
    site.wait_until_runs("sleep 7401", Deadline::seconds(1))?;
    login.kill();
    second()?.refused_saying(&["JIT-109"]).map(drop)
}

fn of_logins_that_race_for_a_grant_for_one_exactly_one_gets_in(site: &Site) -> Result<()> {
    given(site, "once")?;
    let all: Vec<Running> = (0..6)
        .map(|_| Ssh::new(&site.host, "bob").start("echo came in; sleep 3"))
        .collect::<Result<_>>()?;
    let mut came = 0;
    for login in all {
        let ended = login.finish(Deadline::seconds(30))?;
        came += usize::from(ended.said("came in"));
    }
    ensure!(came == 1, "{came} came in");
    Ok(())
}

fn with_its_memory_of_uses_lost_a_host_ends_no_login_and_opens_none(site: &Site) -> Result<()> {
    given(site, "once")?;
    let mut login = Ssh::new(&site.host, "bob").start("sudo sleep 7403 & sleep 7404")?;
    site.wait_until_runs("sleep 7403", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7404", Deadline::seconds(5))?;
    // The second start finds what the first one wrote anew.
    for lose in [
        "rm /var/lib/jit/uses.json",
        "test -s /var/lib/jit/uses.json",
    ] {
        let and_kill = format!("{lose} && systemctl kill -s KILL jitd.service");
        site.host.sh(&and_kill)?;
        site.wait_until_current()?;
        let second = Ssh::new(&site.host, "bob").run("true")?;
        second.refused_saying(&["JIT-109"])?;
        ensure!(login.alive()?, "the login did not go on");
        site.wait_until_runs("sleep 7403", Deadline::seconds(1))?;
    }
    login.kill();
    Ok(())
}
