//! Whatever becomes of jitd: enforcing refuses within the deadline, watching lets through and writes it down.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jit_tests::group::Promise;
use jit_tests::impostor::{Impostor, Manner};
use jit_tests::promises;
use jit_tests::site::Site;
use jit_tests::ssh::Ssh;
use jit_tests::terminal::Terminal;
use jit_tests::wait::Deadline;

/// A decision's deadline of 3 s, and what ssh needs besides on a busy machine.
const REFUSED_WITHIN: Duration = Duration::from_millis(5000);

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        with_jitd_stopped,
        with_jitd_hung,
        with_its_socket_removed,
        with_a_file_in_the_sockets_place,
        with_a_folder_in_the_sockets_place,
        with_a_pipe_in_the_sockets_place,
        with_an_answer_of_garbage,
        with_an_answer_without_end,
        with_an_answer_byte_by_byte,
        with_no_answer,
        with_a_hang_up,
        with_an_answer_of_another_shape,
        t23_with_a_full_disk_entry_goes_on_while_the_log_works_and_ends_go_on_in_any_case,
        t23_with_a_state_that_is_read_only_entry_goes_on_while_the_log_works,
        t9_with_the_module_deleted_watching_lets_through_and_enforcing_does_not,
    ];
    jit_tests::group::keep_with("faults", Site::enforcing, Site::calm, promises)
}

fn with_jitd_stopped(site: &Site) -> Result<()> {
    broken_by(site, Site::stop_jitd)
}

fn with_jitd_hung(site: &Site) -> Result<()> {
    broken_by(site, |site| {
        site.host
            .sh("systemctl kill --signal=STOP jitd.service")
            .map(drop)
    })
}

fn with_its_socket_removed(site: &Site) -> Result<()> {
    broken_by(site, |site| {
        site.host.sh("rm -rf /run/jit/pam.sock").map(drop)
    })
}

fn with_a_file_in_the_sockets_place(site: &Site) -> Result<()> {
    broken_by(site, |site| {
        site.host
            .sh("rm -rf /run/jit/pam.sock; echo '{\"allow\": true}' > /run/jit/pam.sock")
            .map(drop)
    })
}

fn with_a_folder_in_the_sockets_place(site: &Site) -> Result<()> {
    broken_by(site, |site| {
        site.host
            .sh("rm -rf /run/jit/pam.sock; mkdir /run/jit/pam.sock")
            .map(drop)
    })
}

fn with_a_pipe_in_the_sockets_place(site: &Site) -> Result<()> {
    broken_by(site, |site| {
        site.host
            .sh("rm -rf /run/jit/pam.sock; mkfifo /run/jit/pam.sock")
            .map(drop)
    })
}

fn with_an_answer_of_garbage(site: &Site) -> Result<()> {
    answered(site, Manner::Garbage)
}

fn with_an_answer_without_end(site: &Site) -> Result<()> {
    answered(site, Manner::TooMuch)
}

fn with_an_answer_byte_by_byte(site: &Site) -> Result<()> {
    answered(site, Manner::ByteByByte)
}

fn with_no_answer(site: &Site) -> Result<()> {
    answered(site, Manner::Nothing)
}

fn with_a_hang_up(site: &Site) -> Result<()> {
    answered(site, Manner::HangsUp)
}

fn with_an_answer_of_another_shape(site: &Site) -> Result<()> {
    answered(site, Manner::OtherShape)
}

/// jitd's state on a file system of its own. What $1 says is done to it before jitd starts on it.
const SMALL_STATE: &str = "
    systemctl stop jitd-sync.path jitd-sync.service jitd.service
    mkdir /run/small-state
    mount -t tmpfs -o size=1m,mode=0700 small /run/small-state
    cp -a /var/lib/jit/. /run/small-state
    mount --bind /run/small-state /var/lib/jit";

const USUAL_STATE: &str = "
    systemctl stop jitd-sync.path jitd-sync.service jitd.service
    umount /var/lib/jit
    umount /run/small-state
    rmdir /run/small-state";

/// Nobody listens at /dev/log any more, and then again.
const LOG_AWAY: &str = "systemctl mask --runtime --quiet systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket
    systemctl stop systemd-journald-dev-log.socket systemd-journald.socket systemd-journald.service";
const LOG_BACK: &str = "systemctl unmask --runtime --quiet systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket
    systemctl start systemd-journald-dev-log.socket systemd-journald.socket systemd-journald.service";

fn t23_with_a_full_disk_entry_goes_on_while_the_log_works_and_ends_go_on_in_any_case(
    site: &Site,
) -> Result<()> {
    on_a_small_state(
        site,
        "cat /dev/zero > /var/lib/jit/filler || true",
        |site| {
            let granted = site.open("bob", "operator", 15)?;
            let _login = Ssh::new(&site.host, "bob").start("sudo sleep 7401 & sleep 7402")?;
            site.wait_until_runs("sleep 7401", Deadline::seconds(5))?;
            site.open("alice", "visitor", 600)?;
            let status = site.admin(&["status"])?;
            ensure!(
                status.said("cannot be written to disk"),
                "the disk takes it all: {status}"
            );
            site.host.sh(LOG_AWAY)?;
            let refused = Ssh::new(&site.host, "alice").run("echo alice is in");
            let ended = site.wait_until_gone(
                "sleep 740[12]",
                Deadline::within(granted.left() + Duration::from_millis(3500)),
            );
            site.host.sh(LOG_BACK)?;
            ended?;
            let refused = refused?.refused_saying(&["JIT-140"])?;
            ensure!(
                !refused.said("alice is in"),
                "let in without a record: {refused}"
            );
            Ssh::new(&site.host, "alice")
                .run("true")?
                .succeeded()
                .map(drop)
        },
    )
}

fn t23_with_a_state_that_is_read_only_entry_goes_on_while_the_log_works(site: &Site) -> Result<()> {
    on_a_small_state(site, "mount -o remount,bind,ro /var/lib/jit", |site| {
        let granted = site.open("bob", "operator", 6)?;
        let _login = Ssh::new(&site.host, "bob").start("sudo sleep 7403 & sleep 7404")?;
        site.wait_until_runs("sleep 7403", Deadline::seconds(5))?;
        site.wait_until_gone(
            "sleep 740[34]",
            Deadline::within(granted.left() + Duration::from_millis(3500)),
        )
    })
}

fn on_a_small_state(
    site: &Site,
    harm: &str,
    trial: impl FnOnce(&Site) -> Result<()>,
) -> Result<()> {
    site.host.sh(&format!(
        "{SMALL_STATE}\n{harm}\nsystemctl start jitd.service jitd-sync.path jitd-sync.service"
    ))?;
    let tried = site.wait_until_current().and_then(|()| trial(site));
    site.host.sh(USUAL_STATE)?;
    site.mend_jitd()?;
    tried
}

fn t9_with_the_module_deleted_watching_lets_through_and_enforcing_does_not(
    site: &Site,
) -> Result<()> {
    let module = site.host.sh("find /usr/lib -name pam_jit.so")?;
    let module = module.trim();
    ensure!(!module.is_empty(), "pam_jit.so is not where modules are");
    with_a_shell(site, |shell| {
        site.admin(&["monitor"])?;
        site.host.sh(&format!("mv {module} {module}.away"))?;
        let watching = let_through(site, shell);
        site.host.sh(&format!("mv {module}.away {module}"))?;
        watching?;
        site.enforce()?;
        site.host.sh(&format!("mv {module} {module}.away"))?;
        let refused = Ssh::new(&site.host, "alice").run("echo alice is in");
        site.host.sh(&format!("mv {module}.away {module}"))?;
        refused?.refused_saying(&[]).map(drop)
    })
}

/// With something else behind pam.sock that answers in this manner.
fn answered(site: &Site, manner: Manner) -> Result<()> {
    let mut impostor = None;
    broken_by(site, |site| {
        if impostor.is_some() {
            return Ok(());
        }
        site.stop_jitd()?;
        site.host.sh("rm -f /run/jit/pam.sock")?;
        impostor = Some(Impostor::start(&site.host, "/run/jit/pam.sock", manner)?);
        Ok(())
    })?;
    ensure!(
        impostor.is_some_and(|impostor| impostor.callers() > 0),
        "nobody asked the impostor, so nothing was tried"
    );
    Ok(())
}

/// Breaks it, looks how enforcing and watching take it, and mends it. The two who try it have grants for all they do.
fn broken_by(site: &Site, mut break_it: impl FnMut(&Site) -> Result<()>) -> Result<()> {
    with_a_shell(site, |shell| {
        break_it(site)?;
        refused_in_time(site, shell).context("enforcing")?;
        let mark = site.mark()?;
        site.admin(&["monitor"])?;
        // Whatever mended itself meanwhile: systemd kills a jitd that hangs and starts another.
        break_it(site)?;
        let_through(site, shell).context("watching")?;
        let log = site.log_since(&mark)?;
        ensure!(
            log.contains("JIT-1"),
            "what was let through is not in the log:\n{log}"
        );
        Ok(())
    })
}

/// With alice allowed in and bob in already and allowed to use sudo; back to enforcing with a sound jitd afterwards.
fn with_a_shell(site: &Site, trial: impl FnOnce(&mut Terminal) -> Result<()>) -> Result<()> {
    site.open("alice", "visitor", 1800)?;
    site.open("bob", "operator", 1800)?;
    let mut shell = Ssh::new(&site.host, "bob").open("")?;
    shell.shell("true", Deadline::seconds(10))?;
    let tried = trial(&mut shell);
    site.mend_jitd()?;
    site.enforce()?;
    tried
}

fn refused_in_time(site: &Site, shell: &mut Terminal) -> Result<()> {
    let login = Ssh::new(&site.host, "alice")
        .run("echo alice is in")?
        .refused_saying(&["JIT-15"])?;
    ensure!(login.took < REFUSED_WITHIN, "refused too late: {login}");
    let sudo = shell.shell(
        "sudo -n echo became root; echo at $SECONDS",
        Deadline::within(REFUSED_WITHIN),
    )?;
    ensure!(
        !sudo.contains("\nbecame root") && sudo.contains("JIT-15"),
        "sudo was not refused: {sudo}"
    );
    Ok(())
}

fn let_through(site: &Site, shell: &mut Terminal) -> Result<()> {
    Ssh::new(&site.host, "alice").run("true")?.succeeded()?;
    let sudo = shell.shell(
        "sudo -n echo became $(( 1 + 1 )) roots",
        Deadline::seconds(30),
    )?;
    ensure!(sudo.contains("became 2 roots"), "sudo was refused: {sudo}");
    Ok(())
}
