//! Nothing outlives its grant, and the end of one thing touches no other.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jit_tests::group::Promise;
use jit_tests::people::SHARED_LOGIN;
use jit_tests::promises;
use jit_tests::run::Running;
use jit_tests::site::{Granted, POLICY, Site};
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use serde_json::Value;

/// SIGTERM, two seconds of grace, cgroup.kill, and a second for the machine under test to be busy.
const END_WITHIN: Duration = Duration::from_millis(3500);

/// A tenth of a second, and a second for the machine under test to be busy: `make bench` looks closer.
const SIGNAL_WITHIN: Duration = Duration::from_millis(1100);

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        an_elevation_ends_at_its_expiry_and_the_login_lives_on,
        a_login_ends_at_its_expiry_and_takes_its_elevation_with_it,
        a_revoked_grant_ends_a_live_session_at_once,
        a_released_grant_ends_its_own_session,
        what_ignores_signals_dies_all_the_same,
        with_jitd_stopped_the_end_still_comes,
        with_jitd_hung_the_end_still_comes,
        with_jitd_killed_the_end_still_comes,
        nohup_after_logout_dies_at_expiry,
        other_sessions_and_the_listener_are_left_alone,
        a_second_grant_carries_a_session_over_the_end_of_the_first,
        a_second_grant_without_sudo_carries_the_login_and_not_its_elevation,
        an_end_says_what_became_of_the_grant_that_held_it_last,
        sessions_of_two_principals_of_a_shared_login_end_apart,
        of_many_sessions_under_one_grant_none_ends_early_and_none_late,
        t12_what_left_an_elevation_that_closed_ends_with_its_grant,
        t12_it_does_also_where_jitd_was_restarted_since,
        t17_a_login_ends_with_its_elevation_s_access_where_the_role_says_so,
        t17_it_does_also_where_jitd_was_away_at_that_moment,
        t17_it_does_also_where_what_root_ran_has_returned,
        t17_it_does_also_where_that_has_returned_and_jitd_is_away,
    ];
    jit_tests::group::keep_with("expiry", Site::enforcing, Site::calm, promises)
}

/// Bob's login lives on; his sudo has long returned, and left a process outside of every scope.
fn what_left_ends_with_its_grant(site: &Site, harm: fn(&Site) -> Result<()>) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    let granted = site.open("bob", "operator", 8)?;
    let left = "mkdir -p /sys/fs/cgroup/aside; echo $$ > /sys/fs/cgroup/aside/cgroup.procs; \
                setsid sleep 7192 >/dev/null 2>&1 </dev/null &";
    let command = format!("sudo sh -c '{left}'; exec sleep 7193");
    let login = Ssh::new(&site.host, "bob").start(&command)?;
    site.wait_until_runs("sleep 7192", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7193", Deadline::seconds(5))?;
    harm(site)?;
    ends_with(site, &granted, "sleep 7192")?;
    ensure!(
        site.runs("sleep 7193")?,
        "the login ended with what its elevation had left"
    );
    drop(login);
    site.host.sh("rmdir /sys/fs/cgroup/aside")?;
    Ok(())
}

fn t12_what_left_an_elevation_that_closed_ends_with_its_grant(site: &Site) -> Result<()> {
    what_left_ends_with_its_grant(site, |_| Ok(()))
}

fn t12_it_does_also_where_jitd_was_restarted_since(site: &Site) -> Result<()> {
    what_left_ends_with_its_grant(site, |site| {
        site.host.sh("systemctl restart jitd.service")?;
        Ok(())
    })
}

const POLICY_FILE: &str = "/etc/jit-server/policy.toml";

/// Bob is in by a long grant, and has sudo by a short one whose role takes the login with it.
fn bob_in_with_short_sudo(site: &Site, script: &str) -> Result<(Granted, Running)> {
    let taking = POLICY.replace("end_login_with_elevation = false\n", "");
    site.host.write(POLICY_FILE, "0644", taking)?;
    site.host.sh("systemctl restart jit-server.service")?;
    site.grant("bob", "visitor", 600)?;
    wait::eventually("the grant to reach the host", Deadline::seconds(10), || {
        let login = Ssh::new(&site.host, "bob").run("true")?;
        Ok((login.code == Some(0)).then_some(()))
    })?;
    let granted = site.open("bob", "operator", 8)?;
    Ok((granted, Ssh::new(&site.host, "bob").start(script)?))
}

/// He loses both when the short one ends.
fn login_taken_by_its_elevation(
    site: &Site,
    harm: fn(&Site) -> Result<()>,
    mend: fn(&Site) -> Result<()>,
) -> Result<()> {
    let before = (
        recorded(site, "elevation.ended", "JIT-301")?,
        recorded(site, "session.ended", "JIT-305")?,
    );
    let (granted, login) = bob_in_with_short_sudo(site, "sudo sleep 7180 & exec sleep 7181")?;
    site.wait_until_runs("sleep 7180", Deadline::seconds(5))?;
    harm(site)?;
    ends_with(site, &granted, "sleep 7180")?;
    mend(site)?;
    site.wait_until_gone("sleep 7181", Deadline::within(END_WITHIN))?;
    ensure!(
        login.ended(Deadline::seconds(5))?,
        "the ssh client is still connected"
    );
    recorded_anew(site, "elevation.ended", "JIT-301", before.0)?;
    recorded_anew(site, "session.ended", "JIT-305", before.1)?;
    Ssh::new(&site.host, "bob").run("true")?.succeeded()?;
    Ok(())
}

/// As [`login_taken_by_its_elevation`], where what root ran has returned long before.
fn login_taken_by_what_returned(
    site: &Site,
    harm: fn(&Site) -> Result<()>,
    mend: fn(&Site) -> Result<()>,
) -> Result<()> {
    let before = recorded(site, "session.ended", "JIT-305")?;
    let (granted, login) = bob_in_with_short_sudo(site, "sudo true; exec sleep 7181")?;
    site.wait_until_runs("sleep 7181", Deadline::seconds(5))?;
    harm(site)?;
    ends_with(site, &granted, "sleep 7181")?;
    mend(site)?;
    ensure!(
        login.ended(Deadline::seconds(5))?,
        "the ssh client is still connected"
    );
    recorded_anew(site, "session.ended", "JIT-305", before)?;
    Ssh::new(&site.host, "bob").run("true")?.succeeded()?;
    Ok(())
}

/// How many events of this kind about bob are recorded with this code.
fn recorded(site: &Site, kind: &str, code: &str) -> Result<usize> {
    let script = r#"grep -h -F "\"kind\":\"$1\"" /var/lib/jit/events/*.jsonl | grep -F '"login":"bob"' | grep -F -c "$2" || true"#;
    let counted = site.host.command(&["sh", "-euc", script, "sh", kind, code]);
    Ok(counted.text()?.trim().parse()?)
}

/// Waits until there are more of them than before.
fn recorded_anew(site: &Site, kind: &str, code: &str, before: usize) -> Result<()> {
    let what = format!("{kind} to be recorded with {code}");
    wait::eventually(&what, Deadline::seconds(5), || {
        Ok((recorded(site, kind, code)? > before).then_some(()))
    })
}

/// Does something to jitd.
type Act = fn(&Site) -> Result<()>;

fn with_a_taking_role(
    site: &Site,
    keep: fn(&Site, Act, Act) -> Result<()>,
    harm: Act,
    mend: Act,
) -> Result<()> {
    let kept = keep(site, harm, mend);
    mend(site)?;
    site.host.write(POLICY_FILE, "0644", POLICY)?;
    site.host.sh("systemctl restart jit-server.service")?;
    kept
}

fn t17_a_login_ends_with_its_elevation_s_access_where_the_role_says_so(site: &Site) -> Result<()> {
    with_a_taking_role(site, login_taken_by_its_elevation, |_| Ok(()), |_| Ok(()))
}

fn t17_it_does_also_where_jitd_was_away_at_that_moment(site: &Site) -> Result<()> {
    with_a_taking_role(
        site,
        login_taken_by_its_elevation,
        Site::stop_jitd,
        Site::mend_jitd,
    )
}

fn t17_it_does_also_where_what_root_ran_has_returned(site: &Site) -> Result<()> {
    with_a_taking_role(site, login_taken_by_what_returned, |_| Ok(()), |_| Ok(()))
}

fn t17_it_does_also_where_that_has_returned_and_jitd_is_away(site: &Site) -> Result<()> {
    with_a_taking_role(
        site,
        login_taken_by_what_returned,
        Site::stop_jitd,
        Site::mend_jitd,
    )
}

/// Waits until such a process has ended, and checks that it neither ended before its grant nor outlived it.
fn ends_with(site: &Site, granted: &Granted, pattern: &str) -> Result<()> {
    ensure!(
        site.runs(pattern)?,
        "{pattern} is not running in the first place"
    );
    site.wait_until_gone(pattern, Deadline::within(granted.left() + END_WITHIN))?;
    let early = granted.left();
    ensure!(
        early < Duration::from_secs(1),
        "{pattern} ended {early:.1?} before its grant"
    );
    Ok(())
}

fn an_elevation_ends_at_its_expiry_and_the_login_lives_on(site: &Site) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    let granted = site.open("bob", "operator", 5)?;
    let mut shell = Ssh::new(&site.host, "bob").open("")?;
    shell.enters("sudo sleep 7101", Deadline::seconds(10))?;
    site.wait_until_runs("sleep 7101", Deadline::seconds(5))?;
    ends_with(site, &granted, "sleep 7101")?;
    let said = shell.shell("echo login is $((40 + 2))", Deadline::seconds(10))?;
    ensure!(
        said.contains("login is 42"),
        "the login did not live on: {said}"
    );
    let again = shell.shell("sudo -n id", Deadline::seconds(10))?;
    ensure!(!again.contains("uid=0"), "sudo still opens: {again}");
    Ok(())
}

fn a_login_ends_at_its_expiry_and_takes_its_elevation_with_it(site: &Site) -> Result<()> {
    let granted = site.open("bob", "operator", 5)?;
    let login = Ssh::new(&site.host, "bob").start("sudo sleep 7102 & sleep 7103")?;
    site.wait_until_runs("sleep 7102", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7103", Deadline::seconds(5))?;
    ends_with(site, &granted, "sleep 710[23]")?;
    ensure!(
        login.ended(Deadline::seconds(5))?,
        "the ssh client is still connected"
    );
    site.wait_until_empty(Deadline::seconds(5))
}

fn a_revoked_grant_ends_a_live_session_at_once(site: &Site) -> Result<()> {
    let granted = site.open("bob", "operator", 600)?;
    let login = Ssh::new(&site.host, "bob").start("sudo sleep 7104 & sleep 7105")?;
    site.wait_until_runs("sleep 7104", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7105", Deadline::seconds(5))?;
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 710[45]", Deadline::within(END_WITHIN))?;
    ensure!(
        login.ended(Deadline::seconds(5))?,
        "the ssh client is still connected"
    );
    Ssh::new(&site.host, "bob")
        .run("id")?
        .refused_saying(&[])
        .map(drop)
}

fn a_released_grant_ends_its_own_session(site: &Site) -> Result<()> {
    let granted = site.open("alice", "visitor", 600)?;
    let login = Ssh::new(&site.host, "alice").start("sleep 7106")?;
    site.wait_until_runs("sleep 7106", Deadline::seconds(5))?;
    site.jitctl("alice", &["release", &granted.grant])?
        .succeeded()?;
    site.wait_until_gone("sleep 7106", Deadline::within(END_WITHIN))?;
    ensure!(
        login.ended(Deadline::seconds(5))?,
        "the ssh client is still connected"
    );
    Ok(())
}

fn what_ignores_signals_dies_all_the_same(site: &Site) -> Result<()> {
    let granted = site.open("bob", "operator", 5)?;
    let deaf = "trap '' TERM HUP INT QUIT; sleep 7107 & sleep 7107";
    let _login =
        Ssh::new(&site.host, "bob").start(&format!("sudo setsid sh -c \"{deaf}\" & {deaf}"))?;
    site.wait_until_runs("sleep 7107", Deadline::seconds(5))?;
    ends_with(site, &granted, "sleep 7107")
}

fn with_jitd_stopped_the_end_still_comes(site: &Site) -> Result<()> {
    backstop(site, "7110", Site::stop_jitd)
}

fn with_jitd_hung_the_end_still_comes(site: &Site) -> Result<()> {
    backstop(site, "7112", |site| {
        site.host
            .sh("systemctl kill --signal=STOP jitd.service")
            .map(drop)
    })
}

fn with_jitd_killed_the_end_still_comes(site: &Site) -> Result<()> {
    // It would be back in 200 ms; masked it is not.
    let kill = "systemctl kill --signal=KILL jitd.service; systemctl mask --runtime --now --quiet jitd.service";
    backstop(site, "7114", |site| site.host.sh(kill).map(drop))
}

/// With jitd out of the way before the grant's expiry, a login and its elevation end at that time all the same.
fn backstop(site: &Site, sleep: &str, harm: impl FnOnce(&Site) -> Result<()>) -> Result<()> {
    let granted = site.open("bob", "operator", 6)?;
    let _login =
        Ssh::new(&site.host, "bob").start(&format!("sudo sleep {sleep} & nohup sleep {sleep}"))?;
    site.wait_until_runs(&format!("sudo sleep {sleep}"), Deadline::seconds(5))?;
    harm(site)?;
    let ended = ends_with(site, &granted, &format!("sleep {sleep}"));
    site.mend_jitd()?;
    ended
}

fn nohup_after_logout_dies_at_expiry(site: &Site) -> Result<()> {
    let granted = site.open("alice", "visitor", 6)?;
    Ssh::new(&site.host, "alice")
        .run("nohup setsid sleep 7116 >/dev/null 2>&1 &")?
        .succeeded()?;
    ends_with(site, &granted, "sleep 7116")
}

fn other_sessions_and_the_listener_are_left_alone(site: &Site) -> Result<()> {
    let listener = site.listener()?;
    site.open("alice", "visitor", 600)?;
    let other = Ssh::new(&site.host, "alice").start("sleep 7117")?;
    site.wait_until_runs("sleep 7117", Deadline::seconds(5))?;
    let granted = site.open("bob", "operator", 5)?;
    let _login = Ssh::new(&site.host, "bob").start("sudo sleep 7118")?;
    site.wait_until_runs("sleep 7118", Deadline::seconds(5))?;
    ends_with(site, &granted, "sleep 7118")?;
    ensure!(
        other.alive()? && site.runs("sleep 7117")?,
        "alice's session ended with bob's"
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

fn a_second_grant_carries_a_session_over_the_end_of_the_first(site: &Site) -> Result<()> {
    let first = site.open("alice", "visitor", 5)?;
    let login = Ssh::new(&site.host, "alice").start("sleep 7119")?;
    site.wait_until_runs("sleep 7119", Deadline::seconds(5))?;
    let second = site.grant("alice", "visitor", 12)?;
    let still = !login.ended(Deadline::within(first.left() + END_WITHIN))?;
    ensure!(
        still,
        "the session ended with its first grant, with a second in force"
    );
    ends_with(site, &second, "sleep 7119")
}

fn a_second_grant_without_sudo_carries_the_login_and_not_its_elevation(site: &Site) -> Result<()> {
    let first = site.open("bob", "operator", 7)?;
    let _login = Ssh::new(&site.host, "bob").start("sudo sleep 7120 & exec sleep 7121")?;
    site.wait_until_runs("sleep 7120", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7121", Deadline::seconds(5))?;
    let second = site.grant("bob", "visitor", 14)?;
    ends_with(site, &first, "sleep 7120")?;
    ends_with(site, &second, "sleep 7121")
}

/// One of two grants is revoked, and the other goes on with what it opens.
fn an_end_says_what_became_of_the_grant_that_held_it_last(site: &Site) -> Result<()> {
    let before = (
        recorded(site, "elevation.ended", "JIT-302")?,
        recorded(site, "session.ended", "JIT-302")?,
    );
    let operator = site.open("bob", "operator", 600)?;
    let _login = Ssh::new(&site.host, "bob").start("sudo sleep 7124 & exec sleep 7126")?;
    site.wait_until_runs("sleep 7124", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7126", Deadline::seconds(5))?;
    let visitor = site.open("bob", "visitor", 300)?;
    site.revoke(&operator.grant)?;
    site.wait_until_gone("sleep 7124", Deadline::within(END_WITHIN))?;
    recorded_anew(site, "elevation.ended", "JIT-302", before.0)?;
    ensure!(
        site.runs("sleep 7126")?,
        "the login ended with a grant that was not its last"
    );
    site.revoke(&visitor.grant)?;
    site.wait_until_gone("sleep 7126", Deadline::within(END_WITHIN))?;
    recorded_anew(site, "session.ended", "JIT-302", before.1)?;
    // The login's end is told under both of the grants that held it.
    let told = || {
        let first = site.jitctl("bob", &["show", &operator.request])?.stdout;
        let last = site.jitctl("bob", &["show", &visitor.grant])?.stdout;
        let all = [
            "login opened on web1: sshd",
            "elevation opened on web1: sudo",
            "elevation ended on web1: JIT-302",
            "login ended on web1: JIT-302",
        ];
        let told = all.iter().all(|line| first.contains(line)) && last.contains(all[3]);
        Ok(told.then_some(()))
    };
    let what = "the timelines to have the login and its elevation";
    wait::eventually(what, Deadline::seconds(10), told)
}

fn sessions_of_two_principals_of_a_shared_login_end_apart(site: &Site) -> Result<()> {
    let doras = site.open("dora", "visitor", 7)?;
    let emils = site.open("emil", "visitor", 14)?;
    let shared = |person| Ssh::new(&site.host, person).login(SHARED_LOGIN);
    let _dora = shared("dora").start("exec sleep 7122")?;
    let _emil = shared("emil").start("exec sleep 7123")?;
    site.wait_until_runs("sleep 7122", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7123", Deadline::seconds(5))?;
    ends_with(site, &doras, "sleep 7122")?;
    ends_with(site, &emils, "sleep 7123")
}

fn of_many_sessions_under_one_grant_none_ends_early_and_none_late(site: &Site) -> Result<()> {
    const MANY: usize = 20;
    let granted = site.open("alice", "visitor", 20)?;
    let _logins = (0..MANY)
        .map(|_| Ssh::new(&site.host, "alice").start("exec sleep 7125"))
        .collect::<Result<Vec<_>>>()?;
    let count = ["pgrep", "--full", "--exact", "--count", "--", "sleep 7125"];
    let all_in = || Ok((site.host.run(&count)?.stdout.trim() == MANY.to_string()).then_some(()));
    wait::eventually("all to be in", Deadline::within(granted.left()), all_in)?;
    ends_with(site, &granted, "sleep 7125")?;
    site.wait_until_empty(Deadline::seconds(5))?;
    for (kind, field, most) in [
        ("session.ending", "first_signal_late_ms", SIGNAL_WITHIN),
        ("session.ended", "last_death_late_ms", END_WITHIN),
    ] {
        let script = r#"grep -h -F "\"kind\":\"$1\"" /var/lib/jit/events/*.jsonl | grep -F "\"grant\":\"$2\"""#;
        let script = ["sh", "-euc", script, "sh", kind, &granted.grant];
        let lines = site.host.command(&script).text()?;
        for line in lines.lines() {
            let value: Value = serde_json::from_str(line)?;
            let late = value["event"][field].as_i64();
            let late = late.with_context(|| format!("no {field}: {line}"))?;
            let late = u64::try_from(late).with_context(|| format!("ended early: {line}"))?;
            ensure!(Duration::from_millis(late) <= most, "ended late: {line}");
        }
        // The one that tried whether the grant opens the login may have been in, too.
        ensure!(lines.lines().count() >= MANY, "not all have a {kind}");
    }
    Ok(())
}
