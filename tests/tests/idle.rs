//! A login at which nobody does anything ends in the time that its role says, and one at which somebody does something goes on.
//!
//! All logins are open at the same time, and jitd is killed while they are: each promise looks at its own.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jit_tests::group::{Promise, Stage};
use jit_tests::image::Release;
use jit_tests::promises;
use jit_tests::run::Running;
use jit_tests::site::{POLICY, Site};
use jit_tests::ssh::Ssh;
use jit_tests::terminal::Terminal;
use jit_tests::wait::{self, Deadline};

const IDLE: &str = r#"
[roles.desk]
hosts = ["web1"]
actions = ["ssh", "sudo"]
end_login_with_elevation = false
longest = "1h"
idle = "1m"
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"] }
"#;

/// What the role says, and what is allowed on top: the kernel's step of 8 s, and 2 s for the end itself.
const TERMINAL: Duration = Duration::from_secs(70);
/// Without a terminal: 15 s more.
const CONNECTION: Duration = Duration::from_secs(85);
/// Whatever is still there by then was kept by what was done at it.
const LONG: Duration = Duration::from_secs(130);

fn main() -> ExitCode {
    let promises: &[Promise<Logins>] = promises![
        a_terminal_that_nobody_touches_is_told_and_ends_within_its_minute_with_all_it_started,
        output_alone_is_nothing_done,
        a_connection_on_which_nothing_goes_but_keepalives_ends,
        the_grant_of_what_ended_lets_in_anew,
        a_terminal_at_which_somebody_types_goes_on,
        of_two_terminals_over_one_connection_the_latest_counts,
        what_flows_keeps_its_login,
        what_flows_beside_a_terminal_that_nobody_touches_keeps_its_login,
        commands_that_come_and_go_beside_a_terminal_keep_its_login,
        a_role_that_says_nothing_of_it_holds_a_login_open,
    ];
    jit_tests::group::keep("idle", Logins::open, promises)
}

/// All of them, begun at one time.
struct Logins {
    site: Site,
    began: Instant,
    alone: Mutex<Terminal>,
    output: Terminal,
    forwards: Running,
    keepalives: Running,
    typing: Terminal,
    shared: Terminal,
    flowing: Running,
    beside: Terminal,
    /// A command over the connection of that terminal.
    _flowing_beside: Running,
    visited: Terminal,
    /// Commands over the connection of that one, each over in a moment.
    _visits: Running,
    held_open: Terminal,
    /// The other terminal of that connection.
    _second: Terminal,
    _typed: [thread::JoinHandle<()>; 2],
}

impl Stage for Logins {
    fn last_words(&self) -> String {
        self.site.last_words()
    }
}

impl Logins {
    fn open(release: Release) -> Result<Self> {
        let site = Site::enforcing(release)?;
        let policy = format!("{POLICY}{IDLE}");
        site.host
            .write("/etc/jit-server/policy.toml", "0644", policy)?;
        site.open("bob", "desk", 1_200)?;
        site.open("alice", "desk", 1_200)?;
        // dora's account is shared, so carol is who has both roles.
        site.host
            .sh("jit-server user add carol --login carol --group approvers --group engineers --key /home/carol/.ssh/id_ed25519.pub")?;
        for role in ["visitor", "desk"] {
            let asked = site.ask("carol", role, 1_200)?;
            site.approve("bob", &asked)?;
        }
        wait::eventually("carol to be let in", Deadline::seconds(5), || {
            let tried = Ssh::new(&site.host, "carol").run("true")?;
            Ok((tried.code == Some(0)).then_some(()))
        })?;
        let bob = || Ssh::new(&site.host, "bob");
        let forward = |port: u16| bob().option("-N").option(&format!("-L{port}:localhost:22"));
        let (typing, typed) = typed_at(shell(bob())?)?;
        let control = "-oControlPath=/home/bob/.ssh/mux";
        let shared = shell(bob().option("-oControlMaster=yes").option(control))?;
        let (second, second_typed) = typed_at(shell(bob().option(control))?)?;
        let other = "-oControlPath=/home/bob/.ssh/other";
        let beside = shell(bob().option("-oControlMaster=yes").option(other))?;
        let third = "-oControlPath=/home/bob/.ssh/third";
        let visited = shell(bob().option("-oControlMaster=yes").option(third))?;
        // Over that connection and no other.
        let visits =
            format!("while sleep 20; do ssh {third} -oProxyCommand=false bob@localhost true; done");
        let flows = "while sleep 1; do head -c 2000 /dev/zero; done";
        let logins = Self {
            beside,
            visited,
            _visits: site
                .host
                .command(&["sh", "-c", &visits])
                .user("bob")
                .start()?,
            _flowing_beside: bob().option(other).start(flows)?,
            forwards: forward(8101).start("")?,
            keepalives: forward(8102).option("-oServerAliveInterval=5").start("")?,
            flowing: bob().start(flows)?,
            held_open: shell(Ssh::new(&site.host, "carol"))?,
            output: {
                let mut output = shell(bob())?;
                output.enters("while sleep 1; do date; done", Deadline::seconds(10))?;
                output
            },
            alone: {
                let mut alone = shell(bob())?;
                let started = "nohup sleep 7501 & setsid -f sleep 7502; sudo -n sleep 7503 &";
                alone.enters(started, Deadline::seconds(10))?;
                Mutex::new(alone)
            },
            typing,
            shared,
            _second: second,
            _typed: [typed, second_typed],
            began: Instant::now(),
            site,
        };
        for started in ["sleep 7501", "sleep 7502", "sleep 7503"] {
            let soon = Deadline::seconds(10);
            logins.site.wait_until_runs(started, soon)?;
        }
        logins.site.host.sh("systemctl kill -s KILL jitd.service")?;
        logins.site.wait_until_current()?;
        Ok(logins)
    }

    fn at(&self, time: Duration) -> Deadline {
        Deadline::within(time.saturating_sub(self.began.elapsed()))
    }

    fn goes_on(&self, running: &Running) -> Result<()> {
        let ended = running.ended(self.at(LONG))?;
        ensure!(
            !ended,
            "it ended {:.0?} after it began",
            self.began.elapsed()
        );
        Ok(())
    }

    /// What the record says of ends because nobody did anything.
    fn recorded(&self) -> Result<usize> {
        let record = self.site.host.sh("cat /var/lib/jit/events/* | grep -a session.ended | grep -a JIT-306 | grep -ac idle_since || true")?;
        record.trim().parse().context("a number")
    }
}

/// A shell, ready for a command.
fn shell(ssh: Ssh<'_>) -> Result<Terminal> {
    let mut shell = ssh.open("")?;
    shell.shell("true", Deadline::seconds(20))?;
    Ok(shell)
}

/// Somebody who presses a key at it now and then, and no return.
fn typed_at(terminal: Terminal) -> Result<(Terminal, thread::JoinHandle<()>)> {
    let mut keyboard = terminal.keyboard()?;
    let presses = LONG.as_secs() / 20;
    let typed = thread::spawn(move || {
        for _ in 0..presses {
            // Not a wait for anything: so long a person looks at a screen.
            thread::sleep(Duration::from_secs(20));
            if std::io::Write::write_all(&mut keyboard, b"x").is_err() {
                return;
            }
        }
    });
    Ok((terminal, typed))
}

fn a_terminal_that_nobody_touches_is_told_and_ends_within_its_minute_with_all_it_started(
    logins: &Logins,
) -> Result<()> {
    let mut alone = logins
        .alone
        .lock()
        .map_err(|_| anyhow::anyhow!("poisoned"))?;
    let end = logins.at(TERMINAL);
    alone.sees("since nobody does anything at it", end)?;
    ensure!(
        logins.began.elapsed() < Duration::from_secs(50),
        "told late"
    );
    alone.sees("JIT-306", end)?;
    let after = logins.began.elapsed();
    ensure!(after >= Duration::from_secs(58), "ended after {after:.0?}");
    for started in ["sleep 7501", "sleep 7502", "sleep 7503"] {
        logins
            .site
            .wait_until_gone(started, logins.at(TERMINAL + Duration::from_secs(3)))?;
    }
    wait::eventually("the record to say so", Deadline::seconds(5), || {
        Ok((logins.recorded()? > 0).then_some(()))
    })
}

fn output_alone_is_nothing_done(logins: &Logins) -> Result<()> {
    let ended = logins.output.running().ended(logins.at(TERMINAL))?;
    ensure!(ended, "it goes on");
    Ok(())
}

fn a_connection_on_which_nothing_goes_but_keepalives_ends(logins: &Logins) -> Result<()> {
    for connection in [&logins.forwards, &logins.keepalives] {
        let ended = connection.ended(logins.at(CONNECTION))?;
        ensure!(ended, "it goes on: {}", connection.stderr());
    }
    Ok(())
}

fn the_grant_of_what_ended_lets_in_anew(logins: &Logins) -> Result<()> {
    ensure!(
        logins.output.running().ended(logins.at(TERMINAL))?,
        "it goes on"
    );
    let again = Ssh::new(&logins.site.host, "bob").run("sudo -n true")?;
    again.succeeded().map(drop)
}

fn a_terminal_at_which_somebody_types_goes_on(logins: &Logins) -> Result<()> {
    logins.goes_on(logins.typing.running())
}

fn of_two_terminals_over_one_connection_the_latest_counts(logins: &Logins) -> Result<()> {
    logins.goes_on(logins.shared.running())
}

fn what_flows_keeps_its_login(logins: &Logins) -> Result<()> {
    logins.goes_on(&logins.flowing)
}

fn what_flows_beside_a_terminal_that_nobody_touches_keeps_its_login(logins: &Logins) -> Result<()> {
    logins.goes_on(logins.beside.running())
}

fn commands_that_come_and_go_beside_a_terminal_keep_its_login(logins: &Logins) -> Result<()> {
    logins.goes_on(logins.visited.running())
}

fn a_role_that_says_nothing_of_it_holds_a_login_open(logins: &Logins) -> Result<()> {
    logins.goes_on(logins.held_open.running())?;
    let sessions = logins.site.admin(&["list", "sessions"])?;
    ensure!(sessions.said("or idle for 1 min"), "{sessions}");
    Ok(())
}
