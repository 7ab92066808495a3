//! An ordinary user of the host learns nothing of others, reaches nothing that decides, and starves nobody (T20).
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::intruder::Intruder;
use jit_tests::promises;
use jit_tests::site::Site;
use jit_tests::ssh::Ssh;
use jit_tests::wait::Deadline;

const PEER: &str = env!("CARGO_BIN_EXE_peer");

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        t20_a_user_reaches_neither_pam_sock_nor_sync_sock,
        t20_a_user_may_call_nothing_of_roots,
        t20_a_crowd_on_ctl_sock_delays_no_login,
        t20_a_crowd_saying_half_a_message_delays_no_login,
        anothers_request_is_not_shown,
        anothers_session_is_not_shown,
        anothers_grant_is_neither_shown_nor_released_nor_revoked,
        the_files_of_jitd_are_closed,
    ];
    jit_tests::group::keep_with("local_users", Site::enforcing, Site::calm, promises)
}

fn t20_a_user_reaches_neither_pam_sock_nor_sync_sock(site: &Site) -> Result<()> {
    let alice = Intruder::user(&site.host, PEER, "alice")?;
    for (socket, method) in [
        ("/run/jit/pam.sock", "io.jit.Pam.Account"),
        ("/run/jit/sync.sock", "io.jit.Sync.Hello"),
    ] {
        let output = alice.calls(socket, method, "{}")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && said.to_lowercase().contains("permission denied"),
            "{socket} let alice in: {said}"
        );
    }
    Ok(())
}

fn t20_a_user_may_call_nothing_of_roots(site: &Site) -> Result<()> {
    let alice = Intruder::user(&site.host, PEER, "alice")?;
    let gated = r#"{"what": "monitor", "services": ["sshd"], "detail": ""}"#;
    for (method, parameters) in [
        ("io.jit.Control.Enroll", "{}"),
        ("io.jit.Control.Reload", "{}"),
        ("io.jit.Control.Gated", gated),
        (
            "io.jit.Pam.Account",
            r#"{"service": "sshd", "user": "alice", "enforce": true}"#,
        ),
        ("io.jit.Sync.Hello", "{}"),
    ] {
        let output = alice.calls("/run/jit/ctl.sock", method, parameters)?;
        ensure!(
            !output.status.success(),
            "ctl.sock answered alice's {method}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let status = alice.calls("/run/jit/ctl.sock", "io.jit.Control.Status", "{}")?;
    ensure!(
        status.status.success(),
        "even io.jit.Control.Status was refused: {}",
        String::from_utf8_lossy(&status.stderr)
    );
    for command in [
        &["gate", "sshd"][..],
        &["ungate", "--all"],
        &["monitor"],
        &["enforce"],
        &["enroll", "--server", "unix:/run/x"],
    ] {
        let outcome = site.jitctl("alice", command)?;
        ensure!(
            outcome.code == Some(3),
            "alice's jitctl should have been refused: {outcome}"
        );
    }
    Ok(())
}

fn t20_a_crowd_on_ctl_sock_delays_no_login(site: &Site) -> Result<()> {
    crowded(site, "")
}

fn t20_a_crowd_saying_half_a_message_delays_no_login(site: &Site) -> Result<()> {
    crowded(
        site,
        r#"{"method": "io.jit.Control.Status", "parameters": {"#,
    )
}

/// With hundreds of a user's connections to ctl.sock, decisions and root's own commands come as before.
fn crowded(site: &Site, each_says: &str) -> Result<()> {
    site.open("bob", "operator", 600)?;
    let _crowd =
        Intruder::user(&site.host, PEER, "alice")?.crowds("/run/jit/ctl.sock", 100, each_says)?;
    let _more =
        Intruder::user(&site.host, PEER, "dora")?.crowds("/run/jit/ctl.sock", 100, each_says)?;
    for _ in 0..5 {
        let login = Ssh::new(&site.host, "bob")
            .run("sudo -n true")?
            .succeeded()?;
        ensure!(login.took < Duration::from_secs(3), "starved: {login}");
        let status = site.admin(&["status"])?;
        ensure!(
            status.took < Duration::from_secs(2),
            "root is starved: {status}"
        );
    }
    Ssh::new(&site.host, "alice")
        .run("id")?
        .refused_saying(&["JIT-101"])
        .map(drop)
}

fn anothers_request_is_not_shown(site: &Site) -> Result<()> {
    let asked = [
        "request",
        "visitor",
        "--for",
        "10m",
        "--reason",
        "a secret of bob's",
    ];
    let request = site.json("bob", &asked)?;
    let id = request["id"].as_str().unwrap_or_default().to_owned();
    // alice neither asked nor may approve; carol may.
    for command in [
        &["show", &id][..],
        &["list", "requests"],
        &["audit", "list"],
    ] {
        let outcome = site.jitctl("alice", command)?;
        ensure!(
            !outcome.said("a secret of bob's"),
            "alice sees bob's request: {outcome}"
        );
    }
    for command in [
        &["approve", &id][..],
        &["deny", &id, "--reason", "no"],
        &["withdraw", &id],
    ] {
        let outcome = site.jitctl("alice", command)?;
        ensure!(
            !matches!(outcome.code, Some(0 | 5)),
            "alice decides on bob's request: {outcome}"
        );
    }
    let seen = site.jitctl("carol", &["show", &id])?.succeeded()?;
    ensure!(
        seen.said("a secret of bob's"),
        "who may approve it does not see it: {seen}"
    );
    site.jitctl("bob", &["withdraw", &id])?
        .succeeded()
        .map(drop)
}

fn anothers_session_is_not_shown(site: &Site) -> Result<()> {
    site.open("alice", "visitor", 600)?;
    site.open("bob", "visitor", 600)?;
    let _bob = Ssh::new(&site.host, "bob").start("sleep 7301")?;
    site.wait_until_runs("sleep 7301", Deadline::seconds(5))?;
    let seen = Ssh::new(&site.host, "alice")
        .run("jitctl list sessions --json")?
        .succeeded()?;
    ensure!(
        seen.said("alice") && !seen.said("bob"),
        "alice sees others' sessions, or not her own: {seen}"
    );
    let seen_by_root = site.sessions()?;
    ensure!(
        seen_by_root.iter().any(|session| session["login"] == "bob"),
        "root does not see bob's: {seen_by_root:?}"
    );
    Ok(())
}

fn anothers_grant_is_neither_shown_nor_released_nor_revoked(site: &Site) -> Result<()> {
    let granted = site.open("bob", "visitor", 600)?;
    for command in [
        &["show", &granted.grant][..],
        &["release", &granted.grant],
        &["revoke", &granted.grant, "--reason", "envy"],
    ] {
        let outcome = site.jitctl("alice", command)?;
        ensure!(
            outcome.code != Some(0),
            "alice got at bob's grant: {outcome}"
        );
    }
    Ssh::new(&site.host, "bob")
        .run("true")?
        .succeeded()
        .map(drop)
}

fn the_files_of_jitd_are_closed(site: &Site) -> Result<()> {
    let paths = ["/var/lib/jit", "/run/jit/sessions", "/var/lib/jit-server"];
    for path in paths {
        let outcome = site.host.command(&["ls", path]).user("alice").run()?;
        ensure!(outcome.code != Some(0), "alice reads {path}: {outcome}");
    }
    let loose =
        "find /etc/jit /etc/jit-server /run/jit /run/jit-server -perm /022 ! -type l ! -type s";
    let loose = site.host.sh(loose)?;
    ensure!(loose.is_empty(), "others may write: {loose}");
    Ok(())
}
