//! What leaves a login's scope by way of its user manager, cron and at: held to grants, and ended with them (T16).
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::promises;
use jit_tests::site::Site;
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        t16_what_a_user_manager_started_ends_with_the_grant_and_linger_goes,
        t16_a_manager_outlives_one_grant_under_another,
        t16_on_a_shared_login_the_manager_ends_with_the_first_principal,
        t16_a_manager_from_before_the_gate_is_held_with_the_next_login,
        t16_a_job_needs_a_grant_that_covers_jobs_and_ends_with_it,
        t16_cron_runs_whose_grant_covers_it_and_services_jobs_unasked,
        t15_what_was_begun_in_another_user_s_manager_ends_though_it_waits_or_restarts_itself,
        t16_thousands_of_cgroups_in_a_manager_hold_up_nobody_else_s_end,
        t13_what_asks_for_time_ends_with_the_grant_while_jitd_is_stopped,
        t13_what_asks_for_time_ends_with_the_grant_when_jitd_is_gone_for_good,
        in_monitor_mode_managers_and_jobs_are_watched_and_none_is_refused,
        t16_linger_brings_no_manager_back_at_boot_without_a_grant,
        ungate_gives_the_services_their_files_back,
    ];
    jit_tests::group::keep_with("managers", Site::enforcing, Site::calm, promises)
}

/// In a unit that alice's manager has left to her: as many cgroups as would take seconds to go through, and a process in the last.
const MANY_CGROUPS: &str = "
    systemd-run --user --quiet --property=Delegate=yes sh -c '
        cgroup=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)
        seq --format=$cgroup/%05.0f 40000 | xargs mkdir
        echo $$ >$cgroup/40000/cgroup.procs
        exec sleep 7471'";

fn t16_thousands_of_cgroups_in_a_manager_hold_up_nobody_else_s_end(site: &Site) -> Result<()> {
    let bob = site.open("bob", "visitor", 600)?;
    let _bob = Ssh::new(&site.host, "bob").start("exec sleep 7470")?;
    site.wait_until_runs("sleep 7470", Deadline::seconds(5))?;
    site.open("alice", "visitor", 600)?;
    Ssh::new(&site.host, "alice")
        .run(MANY_CGROUPS)?
        .succeeded()?;
    site.wait_until_runs("sleep 7471", Deadline::seconds(60))?;
    // One bundle ends both.
    site.admin(&["lock", "alice", "--reason", "a test"])?;
    site.revoke(&bob.grant)?;
    site.wait_until_gone("sleep 7470", Deadline::within(Duration::from_secs(1)))?;
    site.wait_until_gone("sleep 7471", Deadline::within(DEATH))?;
    site.admin(&["unlock", "alice"])?;
    Ok(())
}

/// A service's account whose manager runs an enabled unit, before anybody uses it.
const KEEPER: &str = "
    useradd --system --create-home --shell /bin/sh keeper
    units=~keeper/.config/systemd/user
    mkdir -p $units/default.target.wants
    printf '[Service]\\nExecStart=sleep 7461\\n' >$units/own.service
    ln -s ../own.service $units/default.target.wants/
    chown -R keeper: ~keeper
    loginctl enable-linger keeper";

/// As that account, through sudo: a unit that comes back when it is killed, one that waits for its time, and one that is begun as soon
/// as the end is told of.
const BEGUN_THERE: &str = "
    sudo -u keeper XDG_RUNTIME_DIR=/run/user/$(id -u keeper) sh -c '
        systemd-run --user --quiet -p Restart=always -p RestartSec=100ms sh -c \"exec sleep 7462\"
        systemd-run --user --quiet --on-active=15s sleep 7463'
    sudo -u keeper XDG_RUNTIME_DIR=/run/user/$(id -u keeper) sh -c '
        trap \"\" HUP
        trap \"sleep 1; systemd-run --user --quiet -p Restart=always sh -c \\\"exec sleep 7465\\\"\" TERM
        while :; do sleep 7466; done' &";

fn t15_what_was_begun_in_another_user_s_manager_ends_though_it_waits_or_restarts_itself(
    site: &Site,
) -> Result<()> {
    site.host.sh(KEEPER)?;
    let kept = ends_in_keepers_manager(site);
    site.host
        .sh("loginctl disable-linger keeper; systemctl stop user@$(id -u keeper); userdel --remove keeper")?;
    kept
}

fn ends_in_keepers_manager(site: &Site) -> Result<()> {
    let within = Deadline::seconds(10);
    site.wait_until_runs("sleep 7461", within)?;
    let granted = site.open("bob", "operator", 600)?;
    let login = Ssh::new(&site.host, "bob").start(&format!("{BEGUN_THERE}\nexec sleep 7464"))?;
    site.wait_until_runs("sleep 7462", within)?;
    site.wait_until_runs("sleep 7464", within)?;
    site.wait_until_runs("sleep 7466", within)?;
    let waiting = "runuser -u keeper -- env XDG_RUNTIME_DIR=/run/user/$(id -u keeper) systemctl --user list-timers --all --no-legend | wc -l";
    ensure!(site.host.sh(waiting)?.trim() != "0", "nothing waits there");
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 746[24]", Deadline::within(DEATH))?;
    login.ended(Deadline::seconds(5))?;
    let ended = "the end of bob's elevation";
    wait::eventually(ended, Deadline::seconds(10), || {
        let mut held = site.sessions()?.into_iter();
        Ok((!held.any(|held| held["login"] == "bob")).then_some(()))
    })?;
    // What that account has enabled is back, and nothing else of it.
    site.wait_until_runs("sleep 7461", within)?;
    ensure!(
        site.host.sh(waiting)?.trim() == "0" && !site.runs("sleep 746[25]")?,
        "what was begun as keeper goes on"
    );
    Ok(())
}

/// From the end of a grant to the death of all that a user manager started.
const DEATH: Duration = Duration::from_secs(5);

/// Programs that need to be killed, each by another way out of the login's scope.
const WAYS_OUT: &str = "
    stubborn='-p KillSignal=SIGCONT -p TimeoutStopSec=infinity'
    systemd-run --user --quiet $stubborn sh -c 'exec sleep 7401'
    systemd-run --user --quiet --on-active=1s --timer-property=AccuracySec=100ms $stubborn sh -c 'exec sleep 7402'
    systemd-run --user --quiet --scope setsid sleep 7403 >/dev/null 2>&1 </dev/null &
    systemd-run --user --quiet --scope tmux -L out new-session -d 'exec sleep 7404' >/dev/null 2>&1 </dev/null &";
const WAYS: [u32; 4] = [7401, 7402, 7403, 7404];

fn leave_the_scope(site: &Site, person: &str, login: &str) -> Result<()> {
    Ssh::new(&site.host, person)
        .login(login)
        .run(WAYS_OUT)?
        .succeeded()?;
    WAYS.iter()
        .try_for_each(|way| site.wait_until_runs(&format!("sleep {way}"), Deadline::seconds(10)))
}

fn manager_of(site: &Site, login: &str) -> Result<String> {
    site.host
        .sh(&format!(
            "systemctl is-active user@$(id -u {login}) || true"
        ))
        .map(|state| state.trim().to_owned())
}

/// systemd takes a moment to see that the last process has gone.
fn until_alices_manager_is_gone(site: &Site) -> Result<()> {
    wait::eventually("alice's manager to be gone", Deadline::seconds(2), || {
        Ok((manager_of(site, "alice")? != "active").then_some(()))
    })
}

fn t16_what_a_user_manager_started_ends_with_the_grant_and_linger_goes(site: &Site) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    let _bob = Ssh::new(&site.host, "bob")
        .start("systemd-run --user --quiet sh -c 'exec sleep 7410'; exec sleep 7411")?;
    site.wait_until_runs("sleep 7410", Deadline::seconds(10))?;
    let granted = site.open("alice", "visitor", 600)?;
    leave_the_scope(site, "alice", "alice")?;
    site.host.sh("loginctl enable-linger alice")?;
    let sessions = site.sessions()?;
    let manager = sessions
        .iter()
        .find(|session| session["kind"] == "manager" && session["login"] == "alice");
    ensure!(
        manager.is_some_and(|manager| manager["grant"] == granted.grant.as_str()),
        "alice's manager is not held: {sessions:?}"
    );
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 740[1-4]", Deadline::within(DEATH))?;
    until_alices_manager_is_gone(site)?;
    site.host.sh("test ! -e /var/lib/systemd/linger/alice")?;
    ensure!(
        site.runs("sleep 7410")?
            && site.runs("sleep 7411")?
            && manager_of(site, "bob")? == "active",
        "bob's manager or login ended with alice's"
    );
    Ok(())
}

fn t16_a_manager_outlives_one_grant_under_another(site: &Site) -> Result<()> {
    let first = site.open("alice", "visitor", 600)?;
    let second = site.grant("alice", "operator", 600)?;
    let _login = Ssh::new(&site.host, "alice")
        .start("systemd-run --user --quiet sh -c 'exec sleep 7412'; exec sleep 7413")?;
    site.wait_until_runs("sleep 7412", Deadline::seconds(10))?;
    site.revoke(&first.grant)?;
    wait::eventually("the other grant to hold it", Deadline::seconds(5), || {
        let sessions = site.sessions()?;
        let mut held = sessions.iter().filter(|held| held["login"] == "alice");
        Ok(held
            .all(|held| held["grant"] == second.grant.as_str())
            .then_some(()))
    })?;
    ensure!(site.runs("sleep 7412")?, "a grant was left, and it ended");
    site.revoke(&second.grant)?;
    site.wait_until_gone("sleep 741[23]", Deadline::within(DEATH))
}

/// dora's and emil's units sit in the same manager, and nobody can say whose is whose.
fn t16_on_a_shared_login_the_manager_ends_with_the_first_principal(site: &Site) -> Result<()> {
    site.open("dora", "visitor", 600)?;
    let _dora = Ssh::new(&site.host, "dora")
        .login("deploy")
        .start("systemd-run --user --quiet sh -c 'exec sleep 7414'; exec sleep 7415")?;
    site.wait_until_runs("sleep 7414", Deadline::seconds(10))?;
    let emil = site.open("emil", "visitor", 600)?;
    Ssh::new(&site.host, "emil")
        .login("deploy")
        .run("systemd-run --user --quiet sh -c 'exec sleep 7416'")?
        .succeeded()?;
    ensure!(
        site.runs("sleep 7414")?,
        "dora's unit ended before either grant did"
    );
    site.revoke(&emil.grant)?;
    site.wait_until_gone("sleep 741[46]", Deadline::within(DEATH))?;
    ensure!(site.runs("sleep 7415")?, "dora's own login ended too");
    Ok(())
}

fn t16_a_manager_from_before_the_gate_is_held_with_the_next_login(site: &Site) -> Result<()> {
    site.admin(&["monitor", "systemd-user"])?;
    let begun = site
        .host
        .sh("loginctl enable-linger alice; systemctl start user@$(id -u alice)");
    site.admin(&["enforce", "systemd-user"])?;
    site.admin(&["enforce", "--confirm"])?;
    begun?;
    let granted = site.open("alice", "visitor", 600)?;
    leave_the_scope(site, "alice", "alice")?;
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 740[1-4]", Deadline::within(DEATH))?;
    site.host.sh("test ! -e /var/lib/systemd/linger/alice")?;
    until_alices_manager_is_gone(site)
}

/// What `at now` runs for a person, with a live login or without.
fn at_now(site: &Site, person: &str, command: &str) -> Result<()> {
    site.host
        .command(&["at", "now"])
        .user(person)
        .input(format!("{command}\n"))
        .run()?
        .succeeded()
        .map(drop)
}

fn t16_a_job_needs_a_grant_that_covers_jobs_and_ends_with_it(site: &Site) -> Result<()> {
    let daemon = "systemctl show --property=MainPID --value atd cron";
    site.host.sh("systemctl start atd cron")?;
    let daemons = site.host.sh(daemon)?;
    site.open("alice", "visitor", 600)?;
    let granted = site.open("bob", "keeper", 600)?;
    at_now(site, "bob", "setsid sleep 7421 & sudo -n sleep 7422")?;
    site.wait_until_runs("sleep 7421", Deadline::seconds(10))?;
    site.wait_until_runs("sleep 7422", Deadline::seconds(10))?;
    let mark = site.mark()?;
    at_now(site, "alice", "touch /tmp/alice-ran; exec sleep 7423")?;
    at_now(site, "carol", "touch /tmp/carol-ran; exec sleep 7423")?;
    let log = || site.log_since(&mark);
    wait::eventually("both to be refused", Deadline::seconds(10), || {
        let log = log()?;
        Ok((log.contains("JIT-104") && log.contains("JIT-101")).then_some(()))
    })?;
    site.host
        .sh("test ! -e /tmp/alice-ran && test ! -e /tmp/carol-ran")?;
    let cgroup = site
        .host
        .sh("cat /proc/$(pgrep -f -o '^sleep 7421')/cgroup")?;
    ensure!(
        cgroup.contains("jit-job-"),
        "the job runs outside a scope of its own: {cgroup}"
    );
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 742[12]", Deadline::within(DEATH))?;
    ensure!(
        site.host.sh(daemon)? == daemons,
        "cron or atd is another process now"
    );
    Ok(())
}

fn t16_cron_runs_whose_grant_covers_it_and_services_jobs_unasked(site: &Site) -> Result<()> {
    site.open("alice", "visitor", 600)?;
    let granted = site.open("bob", "keeper", 600)?;
    let everybody = ["root", "mail", "bob", "alice"];
    for person in everybody {
        let job = format!(
            "* * * * * touch /tmp/cron-{person}; exec sleep 743{}\n",
            u32::from(person == "bob")
        );
        site.host
            .command(&["crontab", "-u", person, "-"])
            .input(job)
            .run()?
            .succeeded()?;
    }
    let ran = wait::eventually("cron's minute", Deadline::seconds(70), || {
        let ran = site.host.sh("ls /tmp | grep ^cron- || true")?;
        let all = ["root", "mail", "bob"]
            .iter()
            .all(|person| ran.contains(&format!("cron-{person}")));
        Ok(all.then_some(()))
    });
    let bobs = site.wait_until_runs("sleep 7431", Deadline::seconds(5));
    for person in everybody {
        site.host.sh(&format!("crontab -u {person} -r"))?;
    }
    ran?;
    bobs?;
    site.host.sh("test ! -e /tmp/cron-alice")?;
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 7431", Deadline::within(DEATH))?;
    ensure!(
        site.runs("sleep 7430")?,
        "root's or a service's job ended with bob's grant"
    );
    site.host.sh("pkill -f '^sleep 7430'").map(drop)
}

/// Something happens to jitd three seconds before the end of alice's grant, and all ends all the same.
fn ends_though(site: &Site, harm: &str) -> Result<()> {
    let granted = site.open("alice", "visitor", 20)?;
    // systemd stops a manager 10 s after the last login of its user.
    let _login = Ssh::new(&site.host, "alice").start("exec sleep 7405")?;
    leave_the_scope(site, "alice", "alice")?;
    std::thread::sleep(granted.left().saturating_sub(Duration::from_secs(3)));
    let ended = site.host.sh(harm).and_then(|_| {
        ensure!(site.runs("sleep 7401")?, "it ended before its time");
        let deadline = Deadline::within(granted.left() + DEATH);
        site.wait_until_gone("sleep 740[1-5]", deadline)
    });
    site.host.sh("pkill -CONT -x jitd || true")?;
    site.mend_jitd()?;
    ended
}

fn t13_what_asks_for_time_ends_with_the_grant_while_jitd_is_stopped(site: &Site) -> Result<()> {
    ends_though(site, "kill -STOP $(systemctl show -P MainPID jitd)")
}

fn t13_what_asks_for_time_ends_with_the_grant_when_jitd_is_gone_for_good(
    site: &Site,
) -> Result<()> {
    ends_though(
        site,
        "systemctl mask --runtime --quiet jitd.service; systemctl kill --signal=KILL jitd",
    )
}

fn in_monitor_mode_managers_and_jobs_are_watched_and_none_is_refused(site: &Site) -> Result<()> {
    site.admin(&["monitor"])?;
    let watched = || {
        Ssh::new(&site.host, "alice")
            .run("systemd-run --user --quiet sh -c 'exec sleep 7441'")?
            .succeeded()?;
        at_now(site, "alice", "exec sleep 7442")?;
        site.wait_until_runs("sleep 7441", Deadline::seconds(10))?;
        site.wait_until_runs("sleep 7442", Deadline::seconds(10))?;
        let sessions = site.sessions()?;
        let listed = sessions
            .iter()
            .any(|session| session["kind"] == "manager" && session["login"] == "alice");
        ensure!(listed, "alice's manager is not listed: {sessions:?}");
        Ok(())
    };
    let watched = watched();
    site.host
        .sh("pkill -f '^sleep 744[12]'; systemctl stop user@$(id -u alice)")?;
    site.enforce()?;
    watched
}

fn t16_linger_brings_no_manager_back_at_boot_without_a_grant(site: &Site) -> Result<()> {
    let units = "/home/alice/.config/systemd/user";
    site.host.sh(&format!(
        "install -d -o alice -g alice {units}/default.target.wants
         printf '[Service]\nExecStart=sleep 7451\n' > {units}/again.service
         ln -sf ../again.service {units}/default.target.wants/
         install -d /var/lib/systemd/linger; touch /var/lib/systemd/linger/alice"
    ))?;
    site.host.reboot()?;
    site.wait_until_current()?;
    let refused = site
        .host
        .sh("journalctl --boot --quiet --output=cat | grep systemd-user || true")?;
    site.host
        .sh(&format!("rm -r {units} /var/lib/systemd/linger/alice"))?;
    ensure!(
        refused.contains("JIT-1"),
        "it was not even tried, so nothing was refused: {refused}"
    );
    ensure!(
        !site.runs("sleep 7451")? && manager_of(site, "alice")? != "active",
        "a lingering manager came back"
    );
    Ok(())
}

fn ungate_gives_the_services_their_files_back(site: &Site) -> Result<()> {
    site.admin(&["ungate", "sshd"])?;
    let ours = site.host.run(&[
        "grep",
        "--recursive",
        "--files-with-matches",
        "pam_jit",
        "/etc/pam.d",
    ])?;
    let changed = site
        .host
        .sh("dpkg --verify cron at systemd libpam-systemd | grep pam.d || true")?;
    site.admin(&["gate", "sshd"])?;
    site.enforce()?;
    let left: Vec<&str> = ["sshd", "systemd-user", "cron", "atd"]
        .into_iter()
        .filter(|service| ours.said(&format!("/etc/pam.d/{service}\n")))
        .collect();
    ensure!(
        left.is_empty() && changed.trim().is_empty(),
        "not as they were: {left:?} {changed}"
    );
    Ok(())
}
