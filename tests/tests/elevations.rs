//! sudo and su in each of their ways: closed without a grant, open with one, each in a scope of its own with its end armed.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::people::password;
use jit_tests::promises;
use jit_tests::run::Outcome;
use jit_tests::site::Site;
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use serde_json::Value;

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        without_a_grant_for_it_every_way_of_sudo_is_refused,
        with_a_grant_every_way_of_sudo_opens_in_a_scope_of_its_own,
        a_cached_timestamp_opens_nothing_once_the_grant_is_gone,
        su_follows_the_callers_grant_and_not_the_targets,
        t6_without_a_session_phase_an_elevation_is_ended_after_five_seconds,
        t6_without_an_account_phase_the_session_phase_decides,
        t12_a_login_opened_inside_an_elevation_ends_with_it,
        t12_so_does_one_by_a_program_without_our_module,
        t14_without_logind_nobody_is_let_in_and_sshd_is_left_alone,
        t14_whom_logind_knows_as_another_process_s_guest_is_refused_and_nothing_there_is_ended,
        t14_the_end_of_a_login_leaves_an_sshd_started_by_hand_alone,
        t18_a_sudo_started_by_the_user_manager_runs_in_a_scope_of_its_own,
        t18_a_sudo_frozen_before_its_answer_outlives_its_grant_no_more_than_another,
    ];
    jit_tests::group::keep_with("elevations", Site::enforcing, Site::calm, promises)
}

/// Runs a command in a login of alice's or bob's on a terminal, answering one question for a password where one comes.
fn typed(site: &Site, person: &str, command: &str, password_of: Option<&str>) -> Result<Outcome> {
    let mut terminal = Ssh::new(&site.host, person).open(command)?;
    if let Some(login) = password_of {
        terminal.answers("assword", &password(login), Deadline::seconds(10))?;
    }
    terminal.finish(Deadline::seconds(20))
}

/// Each way to call sudo: who, how, whose password is asked for.
const WAYS: &[(&str, &str, Option<&str>)] = &[
    ("alice", "sudo", Some("alice")),
    ("bob", "sudo", None),
    ("bob", "sudo -i", None),
    ("bob", "sudo -u alice", None),
    ("alice", "sudo -k -S -p 'a password please'", Some("alice")),
];

/// True where a command ran outside its caller's login: in an elevation's scope, or in the session's that logind opened inside one.
fn away_from(caller: &str, outcome: &Outcome) -> bool {
    let callers = if caller == "alice" {
        "user-1000.slice"
    } else {
        "user-1001.slice"
    };
    outcome.said("jit-elevation-") || (outcome.said("/session-") && !outcome.said(callers))
}

fn without_a_grant_for_it_every_way_of_sudo_is_refused(site: &Site) -> Result<()> {
    site.open("alice", "visitor", 600)?;
    site.open("bob", "visitor", 600)?;
    for (person, way, password_of) in WAYS {
        let outcome = typed(
            site,
            person,
            &format!("{way} sh -c 'echo ran as $(id -un)'"),
            *password_of,
        )?;
        let outcome = outcome.refused_saying(&["JIT-104"])?;
        ensure!(!outcome.said("ran as"), "it ran: {outcome}");
    }
    typed(site, "bob", "sudo -b touch /tmp/background", None)?.refused_saying(&["JIT-104"])?;
    ensure!(
        site.host.run(&["test", "-e", "/tmp/background"])?.code == Some(1),
        "sudo -b ran"
    );
    Ok(())
}

fn with_a_grant_every_way_of_sudo_opens_in_a_scope_of_its_own(site: &Site) -> Result<()> {
    site.open("alice", "operator", 600)?;
    site.open("bob", "operator", 600)?;
    for (person, way, password_of) in WAYS {
        let target = if way.contains("-u alice") {
            "alice"
        } else {
            "root"
        };
        let outcome = typed(
            site,
            person,
            &format!("{way} sh -c 'id -un; cat /proc/self/cgroup'"),
            *password_of,
        )?
        .succeeded()?;
        ensure!(outcome.said(target), "not {target}: {outcome}");
        ensure!(
            away_from(person, &outcome),
            "{way} runs outside a scope of its own: {outcome}"
        );
    }
    let _login = Ssh::new(&site.host, "bob").start("sudo -b sleep 7201; sleep 7202")?;
    site.wait_until_runs("sleep 7202", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7201", Deadline::seconds(5))?;
    let armed = site
        .host
        .sh("systemctl list-timers --all --no-legend 'jit-end-*'")?;
    ensure!(
        armed.contains("jit-end-"),
        "no timer stands in PID 1: {armed}"
    );
    site.calm()?;
    ensure!(
        !site.runs("sleep 7201")?,
        "what sudo -b started outlived its grant"
    );
    Ok(())
}

fn a_cached_timestamp_opens_nothing_once_the_grant_is_gone(site: &Site) -> Result<()> {
    site.open("alice", "visitor", 600)?;
    let granted = site.open("alice", "operator", 600)?;
    let mut shell = Ssh::new(&site.host, "alice").open("")?;
    shell.enters("sudo true", Deadline::seconds(10))?;
    shell.answers(
        "password for alice:",
        &password("alice"),
        Deadline::seconds(10),
    )?;
    let cached = shell.shell(
        "sudo -n sh -c 'echo ran as $(id -un)'",
        Deadline::seconds(10),
    )?;
    ensure!(
        cached.contains("ran as root"),
        "the timestamp does not hold while the grant is there: {cached}"
    );
    site.revoke(&granted.grant)?;
    let refused = shell.shell(
        "while sudo -n true 2>/dev/null; do :; done; sudo -n sh -c 'echo still as $(id -un)'",
        Deadline::seconds(10),
    )?;
    ensure!(
        !refused.contains("still as root") && refused.contains("JIT-104"),
        "with a timestamp sudo opens without a grant: {refused}"
    );
    Ok(())
}

fn su_follows_the_callers_grant_and_not_the_targets(site: &Site) -> Result<()> {
    site.open("alice", "visitor", 600)?;
    // The target may do everything; that must not open it to alice.
    site.open("bob", "keeper", 600)?;
    for su in [
        "su bob -c 'echo ran as $(id -un)'",
        "su - bob -c 'echo ran as $(id -un)'",
    ] {
        let outcome = typed(site, "alice", su, Some("bob"))?.refused_saying(&["JIT-104"])?;
        ensure!(!outcome.said("ran as bob"), "it ran: {outcome}");
    }
    site.open("alice", "keeper", 600)?;
    for (su, target) in [
        ("su bob -c 'id -un; cat /proc/self/cgroup'", "bob"),
        ("su -c 'id -un; cat /proc/self/cgroup'", "root"),
    ] {
        let outcome = typed(site, "alice", su, Some(target))?.succeeded()?;
        ensure!(
            outcome.said(target) && away_from("alice", &outcome),
            "not {target} in a scope of its own: {outcome}"
        );
    }
    typed(site, "alice", "su - bob -c 'id -un'", Some("bob"))?
        .succeeded()
        .map(drop)
}

fn t6_without_a_session_phase_an_elevation_is_ended_after_five_seconds(site: &Site) -> Result<()> {
    site.open("bob", "operator", 600)?;
    site.host
        .write("/etc/sudoers.d/t6", "0440", "Defaults:bob !pam_session\n")?;
    let sudo = Ssh::new(&site.host, "bob").start("sudo sleep 7206")?;
    let ended = site
        .wait_until_runs("sleep 7206", Deadline::seconds(5))
        .and_then(|()| {
            let ended = sudo.ended(Deadline::within(Duration::from_millis(8500)))?;
            ensure!(
                ended && !site.runs("sleep 7206")?,
                "an elevation without a session lives on"
            );
            Ok(())
        });
    site.host.sh("rm /etc/sudoers.d/t6")?;
    ended
}

fn t6_without_an_account_phase_the_session_phase_decides(site: &Site) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    site.host
        .write("/etc/sudoers.d/t6", "0440", "Defaults:bob !pam_acct_mgmt\n")?;
    let refused = Ssh::new(&site.host, "bob").run("sudo -n sh -c 'echo ran as $(id -un)'")?;
    let allowed = site
        .open("bob", "operator", 600)
        .and_then(|_| Ssh::new(&site.host, "bob").run("sudo -n cat /proc/self/cgroup"));
    site.host.sh("rm /etc/sudoers.d/t6")?;
    ensure!(
        !refused.refused_saying(&["JIT-104"])?.said("ran as root"),
        "the command ran without a decision"
    );
    ensure!(
        allowed?.succeeded()?.said("jit-elevation-"),
        "with a grant it runs outside a scope of its own"
    );
    Ok(())
}

fn t12_a_login_opened_inside_an_elevation_ends_with_it(site: &Site) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    let granted = site.open("bob", "keeper", 600)?;
    let _login = Ssh::new(&site.host, "bob")
        .start("sudo -i setsid sleep 7207 & sudo su - alice -c 'setsid sleep 7208' & wait")?;
    site.wait_until_runs("sleep 7207", Deadline::seconds(10))?;
    site.wait_until_runs("sleep 7208", Deadline::seconds(10))?;
    site.revoke(&granted.grant)?;
    site.wait_until_gone(
        "sleep 720[78]",
        Deadline::within(Duration::from_millis(3500)),
    )
}

/// `runuser` has no line of ours. Given one of pam_systemd's it has a session and an audit session of its own, once root has left the
/// user's slice: inside it logind makes none.
fn t12_so_does_one_by_a_program_without_our_module(site: &Site) -> Result<()> {
    site.host.sh("cp -p /etc/pam.d/runuser-l /root/
         printf 'session required pam_%s.so\\n' loginuid systemd >> /etc/pam.d/runuser-l")?;
    let kept = unseen_login_ends(site);
    site.host.sh("mv /root/runuser-l /etc/pam.d/")?;
    kept
}

fn unseen_login_ends(site: &Site) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    let granted = site.open("bob", "operator", 600)?;
    let _login = Ssh::new(&site.host, "bob").start(
        "sudo sh -ec 'mkdir -p /sys/fs/cgroup/aside; echo $$ > /sys/fs/cgroup/aside/cgroup.procs
         exec runuser -l alice -c \"setsid sleep 7209 & wait\"'",
    )?;
    site.wait_until_runs("sleep 7209", Deadline::seconds(10))?;
    let of_sleep = "grep -h ^0:: /proc/$(pgrep -fx 'sleep 7209')/cgroup";
    let scope = site.host.sh(of_sleep)?;
    ensure!(
        scope.contains("/session-"),
        "logind gave it no session of its own: {scope}"
    );
    wait::eventually("the session to be held", Deadline::seconds(10), || {
        let adopted = |event: &Value| {
            event["kind"] == "elevation.adopted" && event["subject"] == granted.grant.as_str()
        };
        Ok(site.audit()?.iter().any(adopted).then_some(()))
    })?;
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 7209", Deadline::within(Duration::from_millis(3500)))
}

fn t14_without_logind_nobody_is_let_in_and_sshd_is_left_alone(site: &Site) -> Result<()> {
    let listener = site.listener()?;
    site.open("alice", "visitor", 600)?;
    site.host.sh(
        "systemctl mask --runtime --now systemd-logind.service dbus-org.freedesktop.login1.service",
    )?;
    let refused = Ssh::new(&site.host, "alice").run("echo alice is in; cat /proc/self/cgroup");
    site.host.sh("systemctl unmask --runtime systemd-logind.service dbus-org.freedesktop.login1.service; systemctl start systemd-logind")?;
    let refused = refused?;
    ensure!(
        refused.code != Some(0) && !refused.said("alice is in"),
        "let in without a session of her own: {refused}"
    );
    ensure!(
        site.listener()? == listener,
        "sshd's listener is another process now"
    );
    Ssh::new(&site.host, "alice")
        .run("true")?
        .succeeded()
        .map(drop)
}

/// Carol has a login session that jit knows nothing of, and an sshd is started in its scope. logind finds that whom it lets in is in
/// a session already and makes none, so she stays in a scope whose leader is another process.
fn t14_whom_logind_knows_as_another_process_s_guest_is_refused_and_nothing_there_is_ended(
    site: &Site,
) -> Result<()> {
    site.open("alice", "visitor", 600)?;
    let mark = site.mark()?;
    site.host.sh("systemd-run --quiet --no-block --unit=guest --property=PAMName=login --property=User=carol sleep 7213")?;
    site.wait_until_runs("/usr/bin/sleep 7213", Deadline::seconds(5))?;
    let cgroup =
        "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$(pgrep -x -f '/usr/bin/sleep 7213')/cgroup)";
    let listening = "sshd: /usr/sbin/sshd -D -p 2223 .*";
    let tried = site
        .host
        .sh(&format!(
            "echo $$ > {cgroup}/cgroup.procs; grep -q /session- /proc/self/cgroup; setsid /usr/sbin/sshd -D -p 2223 -o PidFile=none >/dev/null 2>&1 </dev/null &"
        ))
        .and_then(|_| site.wait_until_runs(listening, Deadline::seconds(5)))
        .and_then(|()| {
            let alice = Ssh::new(&site.host, "alice")
                .option("-p2223")
                .option("-oConnectionAttempts=5");
            let refused = alice.run("echo she is in")?.refused_saying(&["JIT-130"])?;
            ensure!(!refused.said("she is in"), "her command ran: {refused}");
            let log = site.log_since(&mark)?;
            ensure!(log.contains("not for this one"), "refused for another reason:\n{log}");
            ensure!(
                site.runs("/usr/bin/sleep 7213")? && site.runs(listening)?,
                "what else was in that scope was ended with her"
            );
            Ok(())
        });
    site.host
        .sh("systemctl stop guest.service; pkill -f 'ssh[d]: .*-D -p 2223' || true")?;
    tried
}

/// Such an sshd sits in the scope of whoever started it. Whom it lets in either gets a session of her own, whose end touches nothing
/// else, or (12 in a container, where the audit session of the starter is inherited) none, and is refused.
fn t14_the_end_of_a_login_leaves_an_sshd_started_by_hand_alone(site: &Site) -> Result<()> {
    site.open("bob", "operator", 600)?;
    let listening = "sshd: /usr/sbin/sshd -D -p 2222 .*";
    let admin = Ssh::new(&site.host, "bob")
        .start("sudo sh -c '/usr/sbin/sshd -D -p 2222 -o PidFile=none'")?;
    site.wait_until_runs(listening, Deadline::seconds(5))?;
    let granted = site.open("alice", "visitor", 600)?;
    let by_hand = Ssh::new(&site.host, "alice")
        .option("-p2222")
        .option("-oConnectionAttempts=5");
    let inside = by_hand.start("echo she is in; exec sleep 7209")?;
    if inside.says("she is in", Deadline::seconds(5)).is_ok() {
        site.revoke(&granted.grant)?;
        ensure!(
            inside.ended(Deadline::seconds(5))?,
            "alice's login outlived its grant"
        );
        site.wait_until_gone("sleep 7209", Deadline::seconds(1))?;
    } else {
        inside
            .finish(Deadline::seconds(5))?
            .refused_saying(&["JIT-130"])?;
    }
    ensure!(
        site.runs(listening)?,
        "the sshd that let her in ended with her"
    );
    ensure!(admin.alive()?, "who started it was ended with her");
    Ssh::new(&site.host, "bob")
        .run("true")?
        .succeeded()
        .map(drop)
}

fn t18_a_sudo_started_by_the_user_manager_runs_in_a_scope_of_its_own(site: &Site) -> Result<()> {
    let granted = site.open("bob", "operator", 600)?;
    let command = "XDG_RUNTIME_DIR=/run/user/$(id -u) systemd-run --user --unit=probe --quiet sudo sleep 7210";
    Ssh::new(&site.host, "bob").run(command)?.succeeded()?;
    site.wait_until_runs("sleep 7210", Deadline::seconds(5))?;
    let cgroup = site
        .host
        .sh("cat /proc/$(pgrep -f -o '^sleep 7210')/cgroup")?;
    ensure!(
        cgroup.contains("jit-elevation-"),
        "it runs where the user may freeze it: {cgroup}"
    );
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 7210", Deadline::within(Duration::from_millis(3500)))
}

/// jitd is stopped so that sudo has no answer yet when its cgroup is frozen. Thawed once the grant is gone it must come to nothing,
/// whether it had asked before or asks now.
fn t18_a_sudo_frozen_before_its_answer_outlives_its_grant_no_more_than_another(
    site: &Site,
) -> Result<()> {
    let granted = site.open("bob", "operator", 600)?;
    let login = Ssh::new(&site.host, "bob").start("exec sleep 7211")?;
    site.wait_until_runs("sleep 7211", Deadline::seconds(5))?;
    site.host
        .sh("kill -STOP $(systemctl show -P MainPID jitd)")?;
    let as_bob = |script: &str| site.host.command(&["sh", "-euc", script]).user("bob").run();
    let asked = as_bob(
        "XDG_RUNTIME_DIR=/run/user/$(id -u) systemd-run --user --unit=icy --quiet sudo sleep 7212",
    )
    .and_then(Outcome::succeeded)
    .and_then(|_| site.wait_until_runs("/usr/bin/sudo sleep 7212", Deadline::seconds(2)));
    let icy = "/sys/fs/cgroup/user.slice/user-$(id -u).slice/user@$(id -u).service/app.slice/icy.service/cgroup.freeze";
    let frozen = as_bob(&format!("echo 1 > {icy}"));
    site.host
        .sh("kill -CONT $(systemctl show -P MainPID jitd)")?;
    asked?;
    frozen?.succeeded()?;
    site.revoke(&granted.grant)?;
    as_bob(&format!("echo 0 > {icy} || true"))?;
    site.wait_until_gone("sleep 7212", Deadline::within(Duration::from_millis(3500)))?;
    site.wait_until_gone("/usr/bin/sudo sleep 7212", Deadline::seconds(5))?;
    ensure!(
        !site.runs("sleep 7212")?,
        "root's command runs after its grant"
    );
    drop(login);
    Ok(())
}
