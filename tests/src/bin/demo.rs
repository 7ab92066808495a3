//! `make demo`: the whole story on a booted host, and then a server with two hosts (`demo/fleet.rs`), with the packages as built, the real
//! ssh and the real sudo.
#![forbid(unsafe_code)]

#[path = "../demo/fleet.rs"]
mod fleet;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jit_tests::host::{Host, Options};
use jit_tests::image::Release;
use jit_tests::run::Outcome;
use jit_tests::site::{Granted, Site};
use jit_tests::ssh::Ssh;
use jit_tests::story::Story;
use jit_tests::terminal::Terminal;
use jit_tests::wait::{self, Deadline};

/// How long the elevation and the login of the story last. Long enough to be seen, short enough to be waited for.
const ELEVATION_SECONDS: u64 = 15;
const LOGIN_SECONDS: u64 = 30;

/// What a session may take to end once its grant is over: SIGTERM, two seconds of grace, cgroup.kill.
const END_WITHIN: Duration = Duration::from_millis(3500);

fn main() -> ExitCode {
    let release = match std::env::args().nth(1).as_deref() {
        Some("bookworm") => Release::Bookworm,
        Some("trixie") => Release::Trixie,
        _ => Release::of_this_machine(),
    };
    let mut story = Story::new();
    let told = tell(&mut story, release);
    let well = story.end();
    match told {
        Ok(()) if well => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            writeln!(io::stderr(), "demo: cut short: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn tell(story: &mut Story, release: Release) -> Result<()> {
    story.chapter("Part 1 of 2: one host, with its server on it");
    let kept = one_host(story, release)?;
    story.chapter("Part 2 of 2: a server, and two hosts elsewhere");
    fleet::tell(story, release)?;
    if let Some(enter) = kept {
        writeln!(
            io::stdout(),
            "\nThe host of part 1 is kept. Enter it with\n  {enter}\nand end it with\n  {}",
            enter.replace("/bin/bash -l", "systemctl poweroff")
        )?;
    }
    Ok(())
}

/// Gives the command that enters the host, where it is to be kept.
fn one_host(story: &mut Story, release: Release) -> Result<Option<String>> {
    story.chapter(&format!(
        "A Debian host ({}) with jit on it",
        release.name()
    ));
    let site = set_up(story, release)?;
    story.chapter("No grant, no entry");
    refusal(story, &site);
    story.chapter("Asked for, approved, open");
    let granted = approval(story, &site)?;
    story.chapter("Nothing outlives its grant");
    let login = expiry(story, &site, &granted)?;
    story.chapter("Taken back");
    revocation(story, &site, &login)?;
    story.chapter("What happened is written down");
    evidence(story, &site, &granted);
    let keep = std::env::var("KEEP").is_ok_and(|keep| !keep.is_empty() && keep != "0");
    keep.then(|| site.host.keep()).transpose()
}

fn set_up(story: &mut Story, release: Release) -> Result<Site> {
    let mut host = None;
    let command = format!("systemd-nspawn --boot … # Debian {}", release.name());
    story.step("Boot a host", &command, "all its services are up", || {
        let options = Options { name: Some("web1".to_owned()), ..Options::default() };
        let booted = Host::boot(release, &options)?;
        let about = booted.sh("uname -n; sed -n 's/^PRETTY_NAME=//p' /etc/os-release; systemctl is-system-running; ssh -V 2>&1; sudo --version | head -n 1")?;
        host = Some(booted);
        Ok(about)
    });
    let mut site = None;
    let host = host.context("no host")?;
    story.step(
        "Install the packages",
        "apt-get install ./jit-server_*.deb ./jitd_*.deb",
        "installed and running; nothing is gated yet",
        || {
            let installed = Site::installed(host)?;
            let versions = installed
                .host
                .sh("dpkg-query -W jitd jit-server; systemctl is-active jitd")?;
            site = Some(installed);
            Ok(versions)
        },
    );
    let site = site.context("no packages")?;
    story.step(
        "Set up the server",
        "jit-server init; jit-server user add alice --login alice --key …; …",
        "people, roles and a signing key",
        || {
            site.set_up_server()?;
            shown(site.jitctl("alice", &["list", "roles"])?.succeeded()?)
        },
    );
    story.step(
        "Enrol the host",
        "jitctl enroll --server unix:/run/jit-server/api.sock",
        "the host trusts this server and has heard from it",
        || {
            site.enroll()?;
            shown(site.admin(&["status"])?)
        },
    );
    story.step(
        "Gate ssh, sudo and su",
        "jitctl gate sshd sudo su",
        "it watches and lets everybody through",
        || {
            let gated = site.admin(&["gate", "sshd", "sudo", "su"])?;
            Ssh::new(&site.host, "alice").run("true")?.succeeded()?;
            shown(gated)
        },
    );
    story.step(
        "Enforce",
        "jitctl enforce --confirm-within 10m; jitctl enforce --confirm",
        "from now on nobody enters without a grant",
        || {
            site.enforce()?;
            shown(site.admin(&["status"])?)
        },
    );
    Ok(site)
}

fn refusal(story: &mut Story, site: &Site) {
    story.step(
        "bob has no grant",
        "ssh bob@web1",
        "refused, and told why",
        || {
            shown(
                Ssh::new(&site.host, "bob")
                    .run("id")?
                    .refused_saying(&["JIT-101"])?,
            )
        },
    );
    story.step(
        "What that code means",
        "jitctl explain JIT-101",
        "an explanation and what to do",
        || shown(site.jitctl("bob", &["explain", "JIT-101"])?.succeeded()?),
    );
}

/// The elevation's grant and the login's, which lasts longer.
struct Grants {
    login: Granted,
    elevation: Granted,
}

fn approval(story: &mut Story, site: &Site) -> Result<Grants> {
    let mut requests = Vec::new();
    for (role, seconds) in [("visitor", LOGIN_SECONDS), ("operator", ELEVATION_SECONDS)] {
        let command =
            format!("jitctl request {role} --for {seconds}s --reason 'a test needs it'   # as bob");
        story.step(
            &format!("bob asks for role {role}"),
            &command,
            "a request that waits for approval",
            || {
                let request = site.ask("bob", role, seconds)?;
                requests.push(request.clone());
                shown(site.jitctl("bob", &["show", &request])?.succeeded()?)
            },
        );
    }
    story.step(
        "bob approves himself",
        "jitctl approve …   # as bob",
        "refused: nobody approves his own request",
        || {
            shown(
                site.jitctl("bob", &["approve", requests.first().context("no request")?])?
                    .refused_saying(&[])?,
            )
        },
    );
    let mut granted = Vec::new();
    let command = format!(
        "jitctl approve {}   # as carol, then ssh bob@web1",
        requests.join("; jitctl approve ")
    );
    story.step(
        "carol approves both, bob logs in at once",
        &command,
        "in within 1 s of the approval",
        || {
            for (request, seconds) in requests.iter().zip([LOGIN_SECONDS, ELEVATION_SECONDS]) {
                granted.push(site.approved(request, "bob", seconds)?);
            }
            let approved = granted.last().context("no grant")?.approved;
            let inside = site.wait_until_in("bob", approved)?;
            Ok(format!(
                "in {inside:.1?} after the approval\n{}",
                site.jitctl("bob", &["list", "grants", "--active"])?.stdout
            ))
        },
    );
    let mut granted = granted.into_iter();
    let login = granted.next().context("the login was not granted")?;
    Ok(Grants {
        login,
        elevation: granted.next().context("the elevation was not granted")?,
    })
}

fn expiry(story: &mut Story, site: &Site, granted: &Grants) -> Result<Terminal> {
    let mut shell = Ssh::new(&site.host, "bob").open("")?;
    story.step(
        "bob uses sudo in his login",
        "bob@web1$ sudo sh -c 'id -un; cat /proc/self/cgroup'",
        "root, in a scope of its own",
        || {
            let said = shell.shell(
                "sudo -n sh -c 'id -un; cat /proc/self/cgroup'",
                Deadline::seconds(10),
            )?;
            ensure!(
                said.contains("root") && said.contains("jit-elevation-"),
                "{said}"
            );
            Ok(lines_with(&said, &["root", "jit-elevation-"]))
        },
    );
    story.step(
        "What is open",
        "jitctl list sessions   # as root",
        "the login, and who holds it open until when",
        || shown(site.admin(&["list", "sessions"])?),
    );
    let until = format!(
        "ends when its grant does, {ELEVATION_SECONDS} s after the approval; the login lives on"
    );
    story.step(
        "The elevation expires",
        "bob@web1$ sudo sleep 600",
        &until,
        || {
            shell.enters("sudo -n sleep 600", Deadline::seconds(10))?;
            site.wait_until_runs("sleep 600", Deadline::seconds(5))?;
            site.wait_until_gone(
                "sleep 600",
                Deadline::within(granted.elevation.left() + END_WITHIN),
            )?;
            ensure!(
                granted.elevation.left() < Duration::from_secs(1),
                "it ended {:.1?} early",
                granted.elevation.left()
            );
            let over = granted.elevation.over_for();
            let said = shell.shell(
                "echo $(id -un) is still in; sudo -n true",
                Deadline::seconds(10),
            )?;
            ensure!(
                said.contains("bob is still in"),
                "the login is gone: {said}"
            );
            Ok(format!(
                "root's sleep ended {over:.1?} after the expiry\n{}",
                lines_with(&said, &["bob is still in", "JIT-"])
            ))
        },
    );
    story.step(
        "The login expires",
        "bob@web1$ nohup setsid sleep 601 &",
        "ends with all it started, also what was meant to stay",
        || {
            shell.enters(
                "nohup setsid sleep 601 >/dev/null 2>&1 &",
                Deadline::seconds(10),
            )?;
            site.wait_until_runs("sleep 601", Deadline::seconds(5))?;
            let ended = shell.running().ended(Deadline::within(
                granted.login.left() + END_WITHIN + END_WITHIN,
            ))?;
            ensure!(ended, "the login lives on");
            ensure!(
                granted.login.left() < Duration::from_secs(1),
                "it ended {:.1?} early",
                granted.login.left()
            );
            site.wait_until_gone("sleep 601", Deadline::within(END_WITHIN))?;
            Ok(format!(
                "bob was out, and his processes dead, {:.1?} after the expiry",
                granted.login.over_for()
            ))
        },
    );
    Ok(shell)
}

fn revocation(story: &mut Story, site: &Site, _over: &Terminal) -> Result<()> {
    let granted = site.open("bob", "operator", 3600)?;
    let login = Ssh::new(&site.host, "bob").start("sudo -n sleep 602 & sleep 603")?;
    site.wait_until_runs("sleep 602", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 603", Deadline::seconds(5))?;
    let command = format!(
        "jitctl revoke {} --reason 'a test takes it back'   # as root",
        granted.grant
    );
    story.step(
        "bob is in again for an hour; his grant is revoked",
        &command,
        "his session and what it started end at once",
        || {
            let revoked = std::time::Instant::now();
            site.revoke(&granted.grant)?;
            site.wait_until_gone("sleep 60[23]", Deadline::within(END_WITHIN))?;
            ensure!(
                login.ended(Deadline::within(END_WITHIN))?,
                "the ssh client is still connected"
            );
            let said = login.stderr();
            Ok(format!(
                "all of it was dead {:.1?} after the command began\n{said}",
                revoked.elapsed()
            ))
        },
    );
    story.step("bob tries again", "ssh bob@web1", "refused", || {
        shown(
            Ssh::new(&site.host, "bob")
                .run("id")?
                .refused_saying(&["JIT-"])?,
        )
    });
    Ok(())
}

fn evidence(story: &mut Story, site: &Site, granted: &Grants) {
    let request = &granted.elevation.request;
    story.step(
        "The life of a request",
        &format!("jitctl show {request}"),
        "who asked, who approved, when it ended",
        || shown(site.jitctl("carol", &["show", request])?.succeeded()?),
    );
    story.step(
        "The audit trail",
        "jitctl audit list   # as root",
        "server and host tell the same story",
        || {
            wait::eventually(
                "the host's events to reach the server",
                Deadline::seconds(20),
                || {
                    let events = site.audit()?;
                    let ours = |origin: &str| {
                        events.iter().any(|event| {
                            event["origin"] == origin
                                && event.to_string().contains(&granted.login.grant)
                        })
                    };
                    Ok((ours("server") && ours("web1")).then_some(()))
                },
            )?;
            shown(site.admin(&["audit", "list"])?)
        },
    );
    story.step(
        "Nothing in it was changed",
        "jitctl audit verify   # as root",
        "the host's chain of events is whole",
        || shown(site.admin(&["audit", "verify"])?),
    );
}

fn shown(outcome: Outcome) -> Result<String> {
    Ok([outcome.stdout.trim(), outcome.stderr.trim()].join("\n"))
}

/// The lines that have one of these words, without those that only echo what was typed.
fn lines_with(text: &str, words: &[&str]) -> String {
    let wanted =
        |line: &&str| words.iter().any(|word| line.contains(word)) && !line.contains("sudo -n");
    text.lines()
        .map(str::trim)
        .filter(wanted)
        .collect::<Vec<_>>()
        .join("\n")
}
