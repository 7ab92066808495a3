//! People are told at their terminals that an end is near, and why it came; and no terminal holds up an end.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::image::Release;
use jit_tests::promises;
use jit_tests::site::Site;
use jit_tests::ssh::Ssh;
use jit_tests::terminal::Terminal;
use jit_tests::wait::Deadline;

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        a_login_is_warned_of_its_end_and_told_why_it_ended,
        an_elevation_that_ends_before_its_login_is_warned_of,
        what_is_revoked_or_released_says_so_on_its_terminal,
        t22_a_terminal_that_nobody_reads_holds_up_no_warning_and_no_end,
    ];
    jit_tests::group::keep_with("warnings", warning, Site::calm, promises)
}

/// With warnings so short that they can be waited for.
fn warning(release: Release) -> Result<Site> {
    let site = Site::enforcing(release)?;
    site.host.write(
        "/etc/jit/jitd.toml",
        "0644",
        "warn_before = [\"5s\", \"2s\"]\n",
    )?;
    site.host.sh("systemctl restart jitd.service")?;
    site.wait_until_current()?;
    Ok(site)
}

fn said(screen: &str, text: &str) -> usize {
    screen.matches(text).count()
}

/// A shell of this person's, ready for a command.
fn shell(site: &Site, person: &str) -> Result<Terminal> {
    let mut shell = Ssh::new(&site.host, person).open("")?;
    shell.shell("true", Deadline::seconds(10))?;
    Ok(shell)
}

fn a_login_is_warned_of_its_end_and_told_why_it_ended(site: &Site) -> Result<()> {
    let granted = site.open("alice", "visitor", 8)?;
    let mut shell = shell(site, "alice")?;
    let time = Deadline::within(granted.left() + Duration::from_secs(3));
    shell.sees("this login ends in 5 seconds", time)?;
    shell.sees(&format!("jitctl extend {}", granted.grant), time)?;
    shell.sees("this login ends in 2 seconds", time)?;
    shell.sees("JIT-301", time)?;
    shell.sees("jitctl request", time)?;
    let screen = shell.screen();
    for once in ["ends in 5 seconds", "ends in 2 seconds", "JIT-301"] {
        ensure!(said(&screen, once) == 1, "{once:?} not once: {screen}");
    }
    Ok(())
}

fn an_elevation_that_ends_before_its_login_is_warned_of(site: &Site) -> Result<()> {
    site.open("bob", "visitor", 600)?;
    let granted = site.open("bob", "operator", 8)?;
    let mut shell = shell(site, "bob")?;
    shell.enters("sudo sleep 7301", Deadline::seconds(10))?;
    let time = Deadline::within(granted.left() + Duration::from_secs(3));
    shell.sees("this elevation ends in 5 seconds", time)?;
    shell.sees("this elevation ends in 2 seconds", time)?;
    shell.sees("JIT-301", time)?;
    ensure!(
        said(&shell.screen(), "this login ends") == 0,
        "the login lives on: {}",
        shell.screen()
    );
    Ok(())
}

fn what_is_revoked_or_released_says_so_on_its_terminal(site: &Site) -> Result<()> {
    let granted = site.open("alice", "visitor", 600)?;
    let mut revoked = shell(site, "alice")?;
    site.revoke(&granted.grant)?;
    revoked.sees("JIT-302", Deadline::seconds(5))?;
    let granted = site.open("alice", "visitor", 600)?;
    let mut released = shell(site, "alice")?;
    site.jitctl("alice", &["release", &granted.grant])?
        .succeeded()?;
    released.sees("JIT-302", Deadline::seconds(5))
}

/// Stopped with ^S, and full of what a program went on writing.
fn t22_a_terminal_that_nobody_reads_holds_up_no_warning_and_no_end(site: &Site) -> Result<()> {
    let granted = site.open("alice", "visitor", 8)?;
    let mut stopped = shell(site, "alice")?;
    stopped.enters(
        "while echo more; do :; done & exec sleep 7302",
        Deadline::seconds(10),
    )?;
    site.wait_until_runs("sleep 7302", Deadline::seconds(5))?;
    stopped.types("\u{13}")?;
    let other = site.open("bob", "visitor", 8)?;
    let mut reads = shell(site, "bob")?;
    let time = Deadline::within(other.left() + Duration::from_secs(3));
    reads.sees("this login ends in 5 seconds", time)?;
    reads.sees("this login ends in 2 seconds", time)?;
    site.wait_until_gone(
        "sleep 7302",
        Deadline::within(granted.left() + Duration::from_millis(3500)),
    )
}
