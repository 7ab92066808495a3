//! No grant, no entry; an approved one opens what it names, at once, and nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::promises;
use jit_tests::site::Site;
use jit_tests::ssh::{Proof, Ssh};
use jit_tests::wait::{self, Deadline};

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        without_a_grant_every_way_of_proving_oneself_is_refused_and_told_why,
        without_a_grant_sftp_scp_and_forwards_are_refused,
        without_a_grant_sudo_and_su_are_refused,
        an_approved_grant_opens_the_login_within_a_second_in_every_way,
        nobody_approves_his_own_request,
        a_denied_or_withdrawn_request_opens_nothing,
        a_grant_opens_no_other_login,
        a_grant_for_another_host_opens_nothing_here,
        a_grant_opens_no_other_action,
        t2_on_a_shared_login_a_key_of_another_principal_is_refused_and_his_connection_ended,
        t2_on_a_shared_login_a_password_tells_nobody_apart_and_is_refused,
        a_login_whose_last_session_line_never_comes_is_ended_after_a_minute,
        what_happened_is_in_the_audit_trail,
    ];
    jit_tests::group::keep_with("first_light", Site::enforcing, Site::calm, promises)
}

fn without_a_grant_every_way_of_proving_oneself_is_refused_and_told_why(site: &Site) -> Result<()> {
    for proof in Proof::ALL {
        let refused = Ssh::new(&site.host, "alice")
            .by(proof)
            .run("touch /tmp/was-here")?;
        refused.refused_saying(&["JIT-101", "jitctl request"])?;
    }
    ensure!(
        site.host.run(&["test", "-e", "/tmp/was-here"])?.code == Some(1),
        "a refused login ran its command"
    );
    Ok(())
}

fn without_a_grant_sftp_scp_and_forwards_are_refused(site: &Site) -> Result<()> {
    Ssh::new(&site.host, "alice")
        .sftp("ls /\n")?
        .refused_saying(&["JIT-101"])?;
    Ssh::new(&site.host, "alice")
        .scp("/etc/hostname", "/tmp/copied")?
        .refused_saying(&["JIT-101"])?;
    ensure!(
        site.host.run(&["test", "-e", "/tmp/copied"])?.code == Some(1),
        "a refused scp copied its file"
    );
    let forward = Ssh::new(&site.host, "alice")
        .option("-N")
        .option("-L9000:localhost:22")
        .start("")?;
    forward
        .finish(Deadline::seconds(10))?
        .refused_saying(&["JIT-101"])
        .map(drop)
}

fn without_a_grant_sudo_and_su_are_refused(site: &Site) -> Result<()> {
    // From outside any login, where neither asks for more than bob can give.
    site.host
        .command(&["sudo", "-n", "id"])
        .user("bob")
        .run()?
        .refused_saying(&["JIT-101"])?;
    site.host
        .command(&["su", "-c", "id"])
        .user("bob")
        .run()?
        .refused_saying(&[])
        .map(drop)
}

fn an_approved_grant_opens_the_login_within_a_second_in_every_way(site: &Site) -> Result<()> {
    site.open("alice", "visitor", 600)?;
    for proof in Proof::ALL {
        let outcome = Ssh::new(&site.host, "alice")
            .by(proof)
            .run("id -un")?
            .succeeded()?;
        ensure!(outcome.said("alice"), "not alice: {outcome}");
    }
    Ssh::new(&site.host, "alice").sftp("ls /\n")?.succeeded()?;
    Ssh::new(&site.host, "alice")
        .scp("/etc/hostname", "/tmp/allowed")?
        .succeeded()?;
    let _forward = Ssh::new(&site.host, "alice")
        .option("-N")
        .option("-L9000:localhost:22")
        .start("")?;
    wait::eventually("the forward to open", Deadline::seconds(10), || {
        let through = site.host.run(&[
            "bash",
            "-c",
            "read -r line < /dev/tcp/localhost/9000 && echo $line",
        ])?;
        Ok(through.said("SSH-2.0").then_some(()))
    })
}

fn nobody_approves_his_own_request(site: &Site) -> Result<()> {
    let request = site.ask("bob", "visitor", 600)?;
    let outcome = site.jitctl("bob", &["approve", &request])?;
    ensure!(
        outcome.code == Some(3),
        "should have been refused, but: {outcome}"
    );
    Ssh::new(&site.host, "bob")
        .run("id")?
        .refused_saying(&["JIT-101"])
        .map(drop)
}

fn a_denied_or_withdrawn_request_opens_nothing(site: &Site) -> Result<()> {
    let denied = site.ask("alice", "visitor", 600)?;
    site.jitctl("carol", &["deny", &denied, "--reason", "not today"])?
        .succeeded()?;
    ensure!(
        site.jitctl("carol", &["approve", &denied])?.code != Some(0),
        "a denied request was approved"
    );
    let withdrawn = site.ask("alice", "visitor", 600)?;
    site.jitctl("alice", &["withdraw", &withdrawn])?
        .succeeded()?;
    ensure!(
        site.jitctl("carol", &["approve", &withdrawn])?.code != Some(0),
        "a withdrawn request was approved"
    );
    Ssh::new(&site.host, "alice")
        .run("id")?
        .refused_saying(&["JIT-101"])
        .map(drop)
}

fn a_grant_opens_no_other_login(site: &Site) -> Result<()> {
    site.open("alice", "keeper", 600)?;
    Ssh::new(&site.host, "bob")
        .run("id")?
        .refused_saying(&["JIT-101"])?;
    Ssh::new(&site.host, "dora")
        .login("deploy")
        .run("id")?
        .refused_saying(&["JIT-101"])?;
    site.host
        .command(&["sudo", "-n", "id"])
        .user("bob")
        .run()?
        .refused_saying(&["JIT-101"])
        .map(drop)
}

fn a_grant_for_another_host_opens_nothing_here(site: &Site) -> Result<()> {
    site.grant("alice", "elsewhere", 600)?;
    // A grant for this host, approved later, is here: so what was approved before would have arrived too.
    site.open("bob", "visitor", 600)?;
    Ssh::new(&site.host, "alice")
        .run("id")?
        .refused_saying(&["JIT-101"])
        .map(drop)
}

fn a_grant_opens_no_other_action(site: &Site) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    let sudo = Ssh::new(&site.host, "bob")
        .run("sudo -n id")?
        .refused_saying(&["JIT-104"])?;
    ensure!(!sudo.said("uid=0"), "sudo ran: {sudo}");
    let mut su = Ssh::new(&site.host, "bob").open("su -c 'id -u; echo became root'")?;
    su.answers(
        "assword:",
        &jit_tests::people::password("root"),
        Deadline::seconds(10),
    )?;
    su.finish(Deadline::seconds(10))?
        .refused_saying(&["JIT-104"])
        .map(drop)
}

fn t2_on_a_shared_login_a_key_of_another_principal_is_refused_and_his_connection_ended(
    site: &Site,
) -> Result<()> {
    site.open("dora", "visitor", 600)?;
    Ssh::new(&site.host, "emil")
        .login("deploy")
        .run("id; echo emil is in")?
        .refused_saying(&["JIT-105"])?;
    let idle = Ssh::new(&site.host, "emil")
        .login("deploy")
        .option("-N")
        .start("")?;
    let outcome = idle.finish(Deadline::seconds(5))?;
    ensure!(
        outcome.code != Some(0),
        "emil's connection ended well: {outcome}"
    );
    let inside = Ssh::new(&site.host, "dora")
        .login("deploy")
        .run("id -un")?
        .succeeded()?;
    ensure!(inside.said("deploy"), "not deploy: {inside}");
    Ok(())
}

fn t2_on_a_shared_login_a_password_tells_nobody_apart_and_is_refused(site: &Site) -> Result<()> {
    site.open("dora", "visitor", 600)?;
    for proof in [Proof::Password, Proof::KeyboardInteractive] {
        let refused = Ssh::new(&site.host, "emil")
            .login("deploy")
            .by(proof)
            .run("echo emil is in")?;
        refused.refused_saying(&["JIT-106"])?;
    }
    Ok(())
}

/// Without that line nothing holds her login to its grant.
fn a_login_whose_last_session_line_never_comes_is_ended_after_a_minute(site: &Site) -> Result<()> {
    site.open("alice", "visitor", 600)?;
    let mark = site.mark()?;
    site.host.sh(
        "cp -p /etc/pam.d/sshd /root/sshd.pam; sed -i '/pam_jit.so.* after$/d' /etc/pam.d/sshd",
    )?;
    let login = Ssh::new(&site.host, "alice").start("sleep 7001");
    let tried = login.and_then(|login| {
        site.wait_until_runs("sleep 7001", Deadline::seconds(10))?;
        ensure!(
            !login.ended(Deadline::seconds(50))?,
            "it was ended before its last line was late"
        );
        ensure!(login.ended(Deadline::seconds(20))?, "it goes on and on");
        site.wait_until_gone("sleep 7001", Deadline::seconds(2))?;
        let log = site.log_since(&mark)?;
        ensure!(log.contains("login.half_open"), "not recorded:\n{log}");
        Ok(())
    });
    site.host.sh("mv /root/sshd.pam /etc/pam.d/sshd")?;
    tried
}

fn what_happened_is_in_the_audit_trail(site: &Site) -> Result<()> {
    let granted = site.open("alice", "visitor", 600)?;
    site.revoke(&granted.grant)?;
    wait::eventually(
        "the host's events to reach the server",
        Deadline::seconds(20),
        || {
            let events = site.audit()?;
            let of = |origin: &str, word: &str| {
                events.iter().any(|event| {
                    event["origin"] == origin && event.to_string().contains(&format!("\"{word}\""))
                })
            };
            Ok((of("server", &granted.request)
                && of("server", &granted.grant)
                && of("web1", &granted.grant))
            .then_some(()))
        },
    )?;
    site.admin(&["audit", "verify"]).map(drop)
}
