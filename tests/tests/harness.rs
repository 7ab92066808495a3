//! The harness itself: hosts boot, are entered, linked and cut off, and leave nothing behind. Needs no packages of ours.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::host::{Host, Options};
use jit_tests::image::Release;
use jit_tests::net::Network;
use jit_tests::people::{self, password};
use jit_tests::promises;
use jit_tests::ssh::{Proof, Ssh};
use jit_tests::terminal::Terminal;
use jit_tests::wait::{self, Deadline};

fn main() -> ExitCode {
    let promises: &[Promise<Host>] = promises![
        commands_run_as_root_and_as_people,
        a_command_that_hangs_is_killed_with_all_it_started,
        people_log_in_in_every_way_and_use_sudo,
        the_console_takes_a_login,
        what_was_written_survives_a_reboot,
        hosts_reach_each_other_until_a_link_is_cut,
        a_dropped_host_leaves_nothing_behind,
    ];
    jit_tests::group::keep("harness", stage, promises)
}

fn stage(release: Release) -> Result<Host> {
    let host = Host::boot(release, &Options::default())?;
    people::settle(&host)?;
    Ok(host)
}

fn commands_run_as_root_and_as_people(host: &Host) -> Result<()> {
    ensure!(host.command(&["id", "-un"]).text()? == "root\n");
    let outcome = host
        .command(&["sh", "-c", "id -un; cat; echo no >&2; exit 3"])
        .user("alice")
        .input("so\n")
        .run()?;
    ensure!(
        outcome.code == Some(3) && outcome.stdout == "alice\nso\n" && outcome.stderr == "no\n",
        "{outcome}"
    );
    let cgroup = host.command(&["cat", "/proc/self/cgroup"]).text()?;
    ensure!(
        cgroup.contains("/system.slice/harness.service/"),
        "outside the host's own tree: {cgroup}"
    );
    Ok(())
}

fn a_command_that_hangs_is_killed_with_all_it_started(host: &Host) -> Result<()> {
    let hangs = host
        .command(&["sh", "-c", "setsid sleep 7001 & sleep 7001"])
        .within(Duration::from_millis(300));
    ensure!(hangs.run().is_err(), "it did not hang");
    wait::eventually("its children to end", Deadline::seconds(2), || {
        Ok((host.run(&["pgrep", "-f", "sleep 7001"])?.code == Some(1)).then_some(()))
    })
}

fn people_log_in_in_every_way_and_use_sudo(host: &Host) -> Result<()> {
    for proof in Proof::ALL {
        let outcome = Ssh::new(host, "alice")
            .by(proof)
            .run("id -un; cat /proc/self/cgroup")?
            .succeeded()?;
        ensure!(
            outcome.said("alice") && outcome.said("/session-"),
            "no session: {outcome}"
        );
    }
    let mut shell = Ssh::new(host, "alice").open("")?;
    shell.enters("sudo id -u", Deadline::seconds(10))?;
    shell.answers(
        "password for alice:",
        &password("alice"),
        Deadline::seconds(10),
    )?;
    let said = shell.shell("sudo -n echo $((40 + 2)) as root", Deadline::seconds(10))?;
    ensure!(said.contains("42 as root"), "no sudo: {said}");
    Ssh::new(host, "dora")
        .login("deploy")
        .run("sudo -n true")?
        .succeeded()?;
    Ssh::new(host, "bob")
        .login("alice")
        .run("true")?
        .refused_saying(&["Permission denied"])
        .map(drop)
}

fn the_console_takes_a_login(host: &Host) -> Result<()> {
    let mut console = Terminal::start(host.command(&["login"]))?;
    console.answers("login:", "root", Deadline::seconds(10))?;
    console.answers("assword:", &password("root"), Deadline::seconds(10))?;
    let said = console.shell("echo root is in $((40 + 2))", Deadline::seconds(10))?;
    ensure!(said.contains("root is in 42"), "no console login: {said}");
    Ok(())
}

fn what_was_written_survives_a_reboot(host: &Host) -> Result<()> {
    host.write("/etc/harness/kept", "0600", "kept")?;
    let boot = host.read("/proc/sys/kernel/random/boot_id")?;
    host.reboot()?;
    ensure!(host.read("/etc/harness/kept")? == "kept");
    ensure!(
        host.read("/proc/sys/kernel/random/boot_id")? != boot,
        "it is the same boot"
    );
    Ssh::new(host, "alice").run("true")?.succeeded().map(drop)
}

fn hosts_reach_each_other_until_a_link_is_cut(host: &Host) -> Result<()> {
    let network = Network::new(&["left", "right"])?;
    let left = Host::boot(host.release(), &network.options("left"))?;
    let right = Host::boot(host.release(), &network.options("right"))?;
    let reaches = |from: &Host, to: &str| {
        let script = format!("read -r line < /dev/tcp/{to}/22 && echo $line");
        Ok::<_, anyhow::Error>(
            from.run(&["timeout", "1", "bash", "-c", &script])?
                .said("SSH-2.0"),
        )
    };
    ensure!(
        reaches(&left, "right")? && reaches(&right, "left")?,
        "they don't reach each other"
    );
    network.cut("right")?;
    ensure!(
        !reaches(&left, "right")? && !reaches(&right, "left")?,
        "a cut link carries on"
    );
    network.mend("right")?;
    wait::eventually(
        "the mended link to carry again",
        Deadline::seconds(10),
        || Ok(reaches(&left, "right")?.then_some(())),
    )
}

fn a_dropped_host_leaves_nothing_behind(host: &Host) -> Result<()> {
    let other = Host::boot(host.release(), &Options::default())?;
    let process_one = wait::Process::open(other.leader()?)?;
    let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", other.leader()?))?;
    let cgroup = cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default()
        .to_owned();
    let top = cgroup.split('/').next().unwrap_or_default();
    drop(other);
    ensure!(
        process_one.ended(Deadline::seconds(1))?,
        "its process 1 lives on"
    );
    for left in [
        jit_tests::machine::cgroups()?.join(top),
        jit_tests::machine::target().join("hosts").join(top),
    ] {
        ensure!(!Path::exists(&left), "{} is left", left.display());
    }
    Ok(())
}
