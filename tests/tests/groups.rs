//! Unix groups by a grant: a login has them for exactly as long as the grant lasts, and nothing else of that person has.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::image::Release;
use jit_tests::promises;
use jit_tests::run::Outcome;
use jit_tests::site::{POLICY, Site};
use jit_tests::ssh::{Proof, Ssh};
use jit_tests::wait::{self, Deadline};

/// `reader` is in adm, `worker` too and may use sudo and jobs, `lost` is in a group that no host has.
const GROUPS: &str = r#"
[roles.reader]
hosts = ["web1"]
actions = ["ssh"]
longest = "1h"
groups = ["adm"]
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"] }

[roles.worker]
hosts = ["web1"]
actions = ["ssh", "sudo", "jobs"]
longest = "1h"
groups = ["adm"]
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"] }

[roles.lost]
hosts = ["web1"]
actions = ["ssh"]
longest = "1h"
groups = ["adm", "nosuch"]
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"] }
"#;

/// Only adm may read it.
const FILE: &str = "/srv/for-adm";
/// SIGTERM, two seconds of grace, cgroup.kill, and a second for the machine under test to be busy.
const END_WITHIN: Duration = Duration::from_millis(3500);

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        a_login_by_the_grant_has_the_group_however_it_comes_in,
        a_login_by_a_grant_without_groups_has_none_of_another_s,
        the_end_of_the_grant_ends_the_login_with_the_group_and_not_the_one_before_it,
        a_revocation_ends_it_also_where_another_grant_opens_the_login_and_jitd_was_away,
        what_runs_beside_the_login_and_what_sudo_starts_is_in_no_group_of_the_grant,
        t16_a_job_that_was_left_with_the_group_does_not_begin,
        a_group_that_the_host_does_not_have_refuses_the_login_and_is_named,
        a_setgid_program_that_the_login_left_is_listed_for_the_grant,
        a_gate_of_before_gives_no_groups_so_that_the_role_is_not_to_be_had,
    ];
    jit_tests::group::keep_with("groups", stage, calm, promises)
}

fn stage(release: Release) -> Result<Site> {
    let site = Site::enforcing(release)?;
    let policy = format!("{POLICY}{GROUPS}");
    site.host
        .write("/etc/jit-server/policy.toml", "0644", policy)?;
    let secret = format!("echo secret > {FILE}; chgrp adm {FILE}; chmod 640 {FILE}");
    site.host.sh(&secret)?;
    announced(&site, true)?;
    Ok(site)
}

fn calm(site: &Site) -> Result<()> {
    site.calm()?;
    site.host
        .sh("rm -rf /var/tmp/left /var/tmp/groups-*; for job in $(atq | cut -f1); do atrm $job; done")
        .map(drop)
}

/// Waits until the host has told the server that it gives groups, or that it does not.
fn announced(site: &Site, gives: bool) -> Result<()> {
    // It tells when it asks for the next word, and after a restart that is at once.
    site.host.sh("systemctl restart jitd-sync.service")?;
    let what = format!("the server to know that the host gives groups: {gives}");
    wait::eventually(&what, Deadline::seconds(40), || {
        let asked = ["request", "reader", "--for", "60s", "--reason", "a test"];
        let asked = site.jitctl("bob", &asked)?;
        let refused = asked.said("cannot-enforce") || asked.said("enforce");
        Ok((refused != gives).then_some(()))
    })?;
    site.calm()
}

/// bob's login.
fn bob(site: &Site) -> Ssh<'_> {
    Ssh::new(&site.host, "bob")
}

fn is_in_adm(outcome: &Outcome) -> bool {
    outcome.stdout.split_whitespace().any(|word| word == "adm")
}

fn a_login_by_the_grant_has_the_group_however_it_comes_in(site: &Site) -> Result<()> {
    site.open("bob", "reader", 600)?;
    let read = format!("id -Gn; cat {FILE}");
    for login in [bob(site), bob(site).option("-tt")] {
        let came = login.run(&read)?.succeeded()?;
        ensure!(is_in_adm(&came) && came.said("secret"), "{came}");
        ensure!(
            came.said("bob"),
            "it lost the groups of the account: {came}"
        );
    }
    for proof in [Proof::Password, Proof::KeyboardInteractive] {
        let came = bob(site).by(proof).run("id -Gn")?;
        ensure!(is_in_adm(&came), "{came}");
    }
    bob(site)
        .sftp(&format!("get {FILE} /tmp/groups-got\n"))?
        .succeeded()?;
    let listed = bob(site).start("sleep 7501")?;
    site.wait_until_runs("sleep 7501", Deadline::seconds(5))?;
    let sessions = site.listed(&["sessions"])?;
    let theirs = sessions
        .iter()
        .find(|one| one["kind"] == "login" && one["login"] == "bob");
    ensure!(
        theirs.is_some_and(|one| one["groups"] == serde_json::json!(["adm"])),
        "{sessions:?}"
    );
    ensure!(listed.alive()?, "the login did not go on");
    Ok(())
}

fn a_login_by_a_grant_without_groups_has_none_of_another_s(site: &Site) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    site.open("alice", "reader", 600)?;
    let came = bob(site).run(&format!("id -Gn; cat {FILE}"))?;
    ensure!(!is_in_adm(&came) && !came.said("secret"), "{came}");
    Ok(())
}

fn the_end_of_the_grant_ends_the_login_with_the_group_and_not_the_one_before_it(
    site: &Site,
) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    let before = bob(site).start("sleep 7502")?;
    site.wait_until_runs("sleep 7502", Deadline::seconds(5))?;
    let granted = site.grant("bob", "reader", 12)?;
    given(site)?;
    // Left to itself in the background, it goes all the same.
    let _with = bob(site).start("id -Gn; setsid sleep 7504 & sleep 7503")?;
    site.wait_until_runs("sleep 7503", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7504", Deadline::seconds(5))?;
    for pattern in ["sleep 7503", "sleep 7504"] {
        site.wait_until_gone(pattern, Deadline::within(granted.left() + END_WITHIN))?;
        ensure!(
            granted.left() < Duration::from_secs(1),
            "{pattern} ended early"
        );
    }
    ensure!(before.alive()?, "the login without the group ended, too");
    site.wait_until_runs("sleep 7502", Deadline::seconds(1))?;
    let after = bob(site).run("id -Gn")?.succeeded()?;
    ensure!(!is_in_adm(&after), "{after}");
    Ok(())
}

/// Waits until a login has the group.
fn given(site: &Site) -> Result<()> {
    wait::eventually("a login to be in adm", Deadline::seconds(5), || {
        Ok(is_in_adm(&bob(site).run("id -Gn")?).then_some(()))
    })
}

fn a_revocation_ends_it_also_where_another_grant_opens_the_login_and_jitd_was_away(
    site: &Site,
) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    let granted = site.grant("bob", "reader", 600)?;
    given(site)?;
    let login = bob(site).start("sleep 7505")?;
    site.wait_until_runs("sleep 7505", Deadline::seconds(5))?;
    // Moved into the user manager, which the other grant holds open, by a login that is over: it has the group there.
    let moved = "XDG_RUNTIME_DIR=/run/user/$(id -u) systemd-run -q --user --scope setsid sleep 7506 >/dev/null 2>&1 </dev/null & sleep 1";
    bob(site).run(moved)?.succeeded()?;
    let beside = bob(site).run(
        "pid=$(pgrep -xf 'sleep 7506'); cat /proc/$pid/cgroup; grep ^Groups: /proc/$pid/status",
    )?;
    ensure!(
        beside.said("user@") && beside.said("\t4 "),
        "it was not moved, or without the group: {beside}"
    );
    // Whatever else is in there may have been handed the group.
    bob(site)
        .run("systemd-run -q --user sh -c 'exec sleep 7507'")?
        .succeeded()?;
    site.wait_until_runs("sleep 7507", Deadline::seconds(5))?;
    site.host.sh("systemctl kill -s KILL jitd.service")?;
    site.wait_until_current()?;
    ensure!(login.alive()?, "a restart of jitd ended the login");
    let sessions = site.listed(&["sessions"])?;
    ensure!(
        sessions
            .iter()
            .any(|one| one["groups"] == serde_json::json!(["adm"])),
        "{sessions:?}"
    );
    site.revoke(&granted.grant)?;
    for pattern in ["sleep 7505", "sleep 7506", "sleep 7507"] {
        site.wait_until_gone(pattern, Deadline::within(END_WITHIN))?;
    }
    bob(site).run("true")?.succeeded().map(drop)
}

fn what_runs_beside_the_login_and_what_sudo_starts_is_in_no_group_of_the_grant(
    site: &Site,
) -> Result<()> {
    site.open("bob", "worker", 600)?;
    let inside = bob(site)
        .run("sudo -n -u nobody id -Gn; sudo -n -u bob id -Gn")?
        .succeeded()?;
    ensure!(!is_in_adm(&inside), "{inside}");
    let leave =
        |name: &str| format!("sh -c 'id -Gn > /var/tmp/groups-of; mv /var/tmp/groups-of {name}'");
    let (managed, job) = ("/var/tmp/groups-of-manager", "/var/tmp/groups-of-at");
    bob(site)
        .run(&format!("systemd-run -q --user {}", leave(managed)))?
        .succeeded()?;
    in_no_group(site, managed)?;
    bob(site)
        .run(&format!("echo \"{}\" | at now", leave(job)))?
        .succeeded()?;
    in_no_group(site, job)
}

/// Waits until what was started has written its groups there: they are the account's.
fn in_no_group(site: &Site, path: &str) -> Result<()> {
    wait::eventually(
        &format!("{path} to be written"),
        Deadline::seconds(20),
        || Ok(site.host.run(&["test", "-s", path])?.succeeded().ok()),
    )?;
    let groups = site.host.run(&["cat", path])?;
    ensure!(!is_in_adm(&groups) && groups.said("bob"), "{groups}");
    Ok(())
}

/// Each has a grant for jobs all the time.
fn t16_a_job_that_was_left_with_the_group_does_not_begin(site: &Site) -> Result<()> {
    site.open("bob", "worker", 600)?;
    let mark = site.mark()?;
    let job = |name: &str| format!("echo 'id -Gn > /var/tmp/groups-{name}' | ");
    // A setgid copy of a program that can make this its real group: `at` writes that one into the job.
    let make =
        "cp /usr/bin/setpriv /var/tmp/left; chgrp adm /var/tmp/left; chmod 2755 /var/tmp/left";
    let leave = format!(
        "{make}; {}/var/tmp/left --regid adm --keep-groups at now",
        job("adm")
    );
    bob(site).run(&leave)?.succeeded()?;
    wait::eventually("the job to be refused", Deadline::seconds(20), || {
        let log = site.log_since(&mark)?;
        Ok((log.contains("JIT-120") && log.contains("begins with the group 4")).then_some(()))
    })?;
    site.host.sh("test ! -e /var/tmp/groups-adm")?;
    // Where the account itself is in the group, it keeps it as ever.
    site.host.sh("usermod -aG adm bob")?;
    let left = bob(site).run(&format!("{}sg adm 'at now'", job("own")))?;
    let ran = left.succeeded().and_then(|_| {
        wait::eventually("the job to run", Deadline::seconds(20), || {
            let ran = site.host.run(&["cat", "/var/tmp/groups-own"])?;
            Ok(is_in_adm(&ran).then_some(()))
        })
    });
    site.host.sh("gpasswd --delete bob adm")?;
    ran
}

fn a_group_that_the_host_does_not_have_refuses_the_login_and_is_named(site: &Site) -> Result<()> {
    site.grant("bob", "lost", 600)?;
    wait::eventually("the group to be missed", Deadline::seconds(5), || {
        let told = bob(site).run("true")?;
        Ok(told.refused_saying(&["JIT-113", "nosuch"]).ok())
    })?;
    // Another grant opens the login all the same, without any of them.
    site.open("bob", "visitor", 600)?;
    let came = bob(site).run("id -Gn")?.succeeded()?;
    ensure!(!is_in_adm(&came), "{came}");
    site.host.sh("groupadd nosuch")?;
    let came = bob(site).run("id -Gn")?.succeeded();
    site.host.sh("groupdel nosuch")?;
    let came = came?;
    ensure!(is_in_adm(&came) && came.said("nosuch"), "{came}");
    Ok(())
}

fn a_setgid_program_that_the_login_left_is_listed_for_the_grant(site: &Site) -> Result<()> {
    let granted = site.open("bob", "reader", 600)?;
    let leave = "cp /bin/cat /var/tmp/left; chgrp adm /var/tmp/left; chmod 2755 /var/tmp/left; touch /var/tmp/groups-plain";
    bob(site).run(leave)?.succeeded()?;
    // This is what is listed, and not undone.
    let mut seen = serde_json::Value::Null;
    wait::eventually("the program to be listed", Deadline::seconds(60), || {
        seen = site.json("bob", &["show", &granted.grant])?;
        let items = seen["left_behind"]["items"].as_array().cloned();
        let listed = items
            .unwrap_or_default()
            .into_iter()
            .find(|item| item["kind"] == "setgid" && item["path"] == "/var/tmp/left");
        Ok(listed.map(drop))
    })?;
    let listed = seen["left_behind"]["items"].as_array().map_or(0, Vec::len);
    ensure!(listed == 1, "more than that is listed: {seen}");
    Ok(())
}

fn a_gate_of_before_gives_no_groups_so_that_the_role_is_not_to_be_had(site: &Site) -> Result<()> {
    let granted = site.open("bob", "reader", 600)?;
    site.host
        .sh("sed -i '/^auth optional pam_jit.so/d' /etc/pam.d/sshd")?;
    bob(site).run("true")?.refused_saying(&["JIT-113", "adm"])?;
    let doctor = site.host.run(&["jitctl", "doctor"])?;
    ensure!(doctor.said("jitctl gate sshd"), "{doctor}");
    site.revoke(&granted.grant)?;
    announced(site, false)?;
    // The gate holds as it did.
    site.open("bob", "visitor", 600)?;
    site.calm()?;
    bob(site).run("true")?.refused_saying(&["JIT-101"])?;
    site.admin(&["gate", "sshd"])?;
    let gated = site.host.read("/etc/pam.d/sshd")?;
    ensure!(
        gated.contains("auth optional pam_jit.so enforce"),
        "{gated}"
    );
    announced(site, true)?;
    site.admin(&["ungate", "sshd"])?;
    let changed = site.host.run(&["dpkg", "--verify", "openssh-server"])?;
    ensure!(!changed.said("/etc/pam.d/sshd"), "{changed}");
    site.admin(&["gate", "sshd"])?;
    site.enforce()?;
    announced(site, true)
}
