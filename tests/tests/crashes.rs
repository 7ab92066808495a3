//! jitd is killed again and again while sessions open, extend and end: nothing outlives its grant, nothing ends early, nobody else is hurt.
//!
//! `JIT_KILLS` says how often (50; `make soak`: 1,000), `JIT_SEED` repeats the choices of an earlier run, whose seed is printed. What a
//! seed repeats is what is tried and when; how far jitd has come at a kill is the machine's.
#![forbid(unsafe_code)]

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use jit_tests::group::Promise;
use jit_tests::image::Release;
use jit_tests::promises;
use jit_tests::site::{Granted, POLICY, Site};
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use serde_json::Value;

/// Who come and go, each under grants of their own.
const GUESTS: [&str; 5] = ["guest0", "guest1", "guest2", "guest3", "guest4"];

const KILLS: usize = 50;

/// With jitd dead: PID 1's timer, its own grace, and a second for the machine under test to be busy.
const END_WITHIN: Duration = Duration::from_secs(4);

/// From the approval at the server to its answer here: so much later a grant may seem to have begun.
const APPROVAL: Duration = Duration::from_secs(1);

const EXTENDABLE: &str = r#"
[roles.extender]
hosts = ["web1"]
actions = ["ssh", "sudo"]
end_login_with_elevation = false
longest = "60s"
extendable = "30s"
extend_without_approval = true
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"] }
"#;

/// alice's key opens the guests' logins; sudo asks them for nothing.
const ACCOUNTS: &str = r#"
umask 022
for login; do
    useradd --create-home --shell /bin/bash "$login"
    install -d -m 700 -o "$login" -g "$login" "/home/$login/.ssh"
    install -m 600 -o "$login" -g "$login" /home/alice/.ssh/id_ed25519.pub "/home/$login/.ssh/authorized_keys"
    echo "$login ALL=(ALL:ALL) NOPASSWD: ALL" > "/etc/sudoers.d/$login"
    jit-server user add "$login" --login "$login" --group engineers --key /home/alice/.ssh/id_ed25519.pub
done
"#;

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        however_often_jitd_is_killed_sessions_end_with_their_grants_and_nothing_else_does
    ];
    jit_tests::group::keep("crashes", stage, promises)
}

fn stage(release: Release) -> Result<Site> {
    let site = Site::enforcing(release)?;
    let policy = format!("{POLICY}{EXTENDABLE}");
    site.host
        .write("/etc/jit-server/policy.toml", "0644", policy)?;
    let command = site.host.command(&["sh", "-euc", ACCOUNTS, "sh"]);
    command.words(GUESTS).text()?;
    Ok(site)
}

fn however_often_jitd_is_killed_sessions_end_with_their_grants_and_nothing_else_does(
    site: &Site,
) -> Result<()> {
    let kills = from_environment("JIT_KILLS")?.map_or(KILLS, |kills| kills as usize);
    let seed =
        from_environment("JIT_SEED")?.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    say(site, &format!("JIT_SEED={seed}"));

    site.host
        .sh("systemd-run --quiet --unit=bystander sleep infinity")?;
    let root = site.host.sh("systemctl show -P MainPID bystander")?;
    let listener = site.listener()?;
    site.open("alice", "visitor", 3600)?;
    let other = Ssh::new(&site.host, "alice").start("exec sleep 7499")?;
    site.wait_until_runs("sleep 7499", Deadline::seconds(5))?;

    let moments = Moments::default();
    let over = AtomicBool::new(false);
    let mut tried = Ok(0);
    thread::scope(|scope| {
        let (moments, over) = (&moments, &over);
        let guests = (0..).zip(GUESTS).map(|(number, guest)| {
            let mut dice = Dice(seed.wrapping_add(number));
            scope.spawn(move || {
                let come_and_gone = come_and_go(site, guest, number, &mut dice, moments, over);
                over.fetch_or(come_and_gone.is_err(), Ordering::Relaxed);
                come_and_gone
                    .map_err(|error| anyhow!("{guest}: {error:#}\n{}", who_ended(site, guest)))
            })
        });
        let mut guests: Vec<_> = guests.collect();
        guests.push(scope.spawn(|| look_into_the_registry(site, over)));
        let killed = kill_often(site, kills, &mut Dice(!seed), moments, over);
        over.store(true, Ordering::Relaxed);
        for guest in guests {
            let gone = guest.join().unwrap_or_else(|_| Err(anyhow!("panicked")));
            tried = match (std::mem::replace(&mut tried, Ok(0)), gone) {
                (Ok(before), Ok(count)) => Ok(before + count),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        if let Err(error) = killed {
            tried = Err(error);
        }
    });
    let sessions = tried.with_context(|| format!("with JIT_SEED={seed}"))?;
    say(site, &format!("{kills} kills, {sessions} sessions"));
    ensure!(sessions > 0, "nobody was ever in, so nothing was tried");

    site.wait_until_current()?;
    ensure!(
        other.alive()? && site.runs("sleep 7499")?,
        "alice's session ended"
    );
    ensure!(
        site.host.sh("systemctl show -P MainPID bystander")? == root,
        "root's daemon is another process now"
    );
    ensure!(
        site.listener()? == listener,
        "sshd's listener is another process now"
    );
    let elevations = nothing_early_or_broken_on_record(site)?;
    say(site, &format!("{elevations} elevations on record"));
    ensure!(elevations > 0, "no elevation opened, so none was tried");
    Ok(())
}

/// Gives how many sessions were had.
fn come_and_go(
    site: &Site,
    guest: &str,
    number: u64,
    dice: &mut Dice,
    moments: &Moments,
    over: &AtomicBool,
) -> Result<u64> {
    let [login_runs, elevation_runs] =
        [7400, 7450].map(|first| format!("sleep {}", first + number));
    let mut sessions = 0;
    while !over.load(Ordering::Relaxed) {
        let mut granted = site.grant(guest, "extender", 6 + dice.below(5))?;
        moments.add(Instant::now() + Duration::from_millis(100));
        moments.add(granted.approved + granted.lasts);
        // Half of them ignore every signal that can be.
        let deaf = ["", "trap '' TERM HUP; "][usize::from(dice.below(2) == 1)];
        let command = format!(
            "{deaf}(sudo -n {elevation_runs} &) >/dev/null 2>&1; echo is in; exec {login_runs}"
        );
        let login = loop {
            // A login that opens just before its end may be over before anybody has looked at it.
            if granted.left() < Duration::from_secs(3) {
                break None;
            }
            let login = Ssh::new(&site.host, "alice").login(guest).start(&command)?;
            if login
                .says("is in", Deadline::within(granted.left()))
                .is_ok()
                && granted.left() > Duration::from_secs(1)
            {
                break Some(login);
            }
            // Refused, since jitd died over it: as it should be.
        };
        let mut no_earlier = granted.lasts;
        if login.is_some() {
            sessions += 1;
            // The shell says that it is in a moment before it becomes this.
            site.wait_until_runs(&login_runs, Deadline::within(granted.left()))?;
            if dice.below(2) == 1 && granted.left() > Duration::from_secs(4) {
                let until_heard = Deadline::within(granted.left());
                let extend = ["extend", &granted.grant, "--for", "4s", "--json"];
                let said = site.jitctl(guest, &extend)?;
                if said.code == Some(0) {
                    granted.lasts += Duration::from_secs(4);
                    moments.add(granted.approved + granted.lasts);
                    // Where the host hears of it too late, since jitd is dead again, the first end stands.
                    if heard(site, &said.stdout, until_heard)? {
                        no_earlier = granted.lasts;
                    }
                }
            }
        }
        until_over(site, &granted, no_earlier, [&login_runs, &elevation_runs])?;
    }
    Ok(sessions)
}

/// Whether the host has moved a session's end in time to that of the extended grant that `answer` shows.
fn heard(site: &Site, answer: &str, deadline: Deadline) -> Result<bool> {
    let answer: Value = serde_json::from_str(answer)?;
    let until = answer["grant"]["expires"]
        .as_str()
        .context("an extended grant without an end")?;
    let moved = wait::eventually("the extension to reach the host", deadline, || {
        let sessions = site.host.run(&["jitctl", "list", "sessions", "--json"])?;
        Ok(sessions.stdout.contains(until).then_some(()))
    });
    Ok(moved.is_ok())
}

/// Sees each of them that runs end with its grant, and not before it has lasted so long.
fn until_over(
    site: &Site,
    granted: &Granted,
    no_earlier: Duration,
    patterns: [&str; 2],
) -> Result<()> {
    let either = patterns.join("|");
    let mut ran = [false; 2];
    wait::eventually(
        &format!("{either} to end"),
        Deadline::within(granted.left() + END_WITHIN),
        || {
            let look = ["pgrep", "--full", "--exact", "--list-full", "--", &either];
            let seen = site.host.run(&look)?.stdout;
            let early = no_earlier.saturating_sub(granted.approved.elapsed());
            let mut none = true;
            for (pattern, ran) in patterns.iter().zip(&mut ran) {
                let runs = seen.lines().any(|line| line.ends_with(pattern))
                    // What says that it ended too early has to say so twice.
                    || (*ran && early >= APPROVAL && site.runs(pattern)?);
                ensure!(
                    runs || !*ran || early < APPROVAL,
                    "{pattern} ended {early:.1?} before its grant {}",
                    granted.grant
                );
                *ran |= runs;
                none &= !runs;
            }
            Ok(none.then_some(()))
        },
    )?;
    // The next grant begins after this one.
    thread::sleep(granted.left());
    Ok(())
}

/// Who ended what of this guest's: jitd by its record and log, PID 1 by its own.
fn who_ended(site: &Site, guest: &str) -> String {
    let script = r#"
journalctl --sync
grep -h -F "\"login\":\"$1\"" /var/lib/jit/events/*.jsonl | tail -n 16
journalctl --quiet --no-pager --output=short-precise --since=-30s _PID=1 + _SYSTEMD_UNIT=jitd.service |
    grep -E 'jit-|jitd|session-|user@' | tail -n 60 | cut -c 1-240"#;
    let record = site.host.command(&["sh", "-euc", script, "sh", guest]);
    record.text().unwrap_or_else(|error| format!("{error:#}"))
}

/// systemd starts it again after 200 ms; from there on it is the machine under test that takes its time.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// Kills jitd so many times: half the times at any moment, half near one at which much happens.
fn kill_often(
    site: &Site,
    kills: usize,
    dice: &mut Dice,
    moments: &Moments,
    over: &AtomicBool,
) -> Result<()> {
    let mut killed = 0;
    let mut last = Instant::now();
    while killed < kills && !over.load(Ordering::Relaxed) {
        let any = Duration::from_millis(300 + dice.below(2500));
        let near = Duration::from_millis(dice.below(300));
        let next = moments.next().filter(|_| dice.below(2) == 1);
        thread::sleep(next.map_or(any, |next| {
            (next + near).saturating_duration_since(Instant::now())
        }));
        // None where systemd has not started another yet.
        if site.host.run(&["pkill", "-KILL", "-x", "jitd"])?.code == Some(0) {
            killed += 1;
            last = Instant::now();
        }
        ensure!(
            last.elapsed() < BACK_WITHIN,
            "after {killed} kills jitd is not back within {BACK_WITHIN:?}"
        );
    }
    Ok(())
}

/// Every file of the registry parses at every look, and none is set aside.
fn look_into_the_registry(site: &Site, over: &AtomicBool) -> Result<u64> {
    let folder = site.host.outside("/run/jit/sessions")?;
    while !over.load(Ordering::Relaxed) {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let ending = path.extension().and_then(|ending| ending.to_str());
            ensure!(ending != Some("broken"), "{} was set aside", path.display());
            if ending != Some("json") {
                continue;
            }
            match fs::read(&path) {
                // Its session ended since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).context("reading the registry"),
                Ok(bytes) => drop(
                    serde_json::from_slice::<Value>(&bytes)
                        .with_context(|| format!("{} can't be read", path.display()))?,
                ),
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(0)
}

/// Gives how many elevations were opened.
fn nothing_early_or_broken_on_record(site: &Site) -> Result<usize> {
    let lines = site.host.sh("cat /var/lib/jit/events/*.jsonl")?;
    let mut elevations = 0;
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).context(line.to_owned())?;
        let event = &value["event"];
        ensure!(event["kind"].is_string(), "no kind: {line}");
        ensure!(event["kind"] != "registry.broken", "{line}");
        let late = event["first_signal_late_ms"].as_i64();
        ensure!(late.is_none_or(|late| late >= 0), "ended early: {line}");
        elevations += usize::from(event["kind"] == "elevation.opened");
    }
    Ok(elevations)
}

/// When much happens: logins and ends.
#[derive(Default)]
struct Moments(Mutex<Vec<Instant>>);

impl Moments {
    fn add(&self, moment: Instant) {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moments.push(moment);
    }

    /// The next of them.
    fn next(&self) -> Option<Instant> {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        moments.retain(|moment| *moment > now);
        moments.iter().min().copied()
    }
}

/// SplitMix64: the same numbers from the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn say(site: &Site, text: &str) {
    // Nobody listening is no reason to fail.
    writeln!(
        io::stdout(),
        "crashes ({}): {text}",
        site.host.release().name()
    )
    .ok();
}

fn from_environment(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(
            text.parse().with_context(|| format!("{name}={text}"))?,
        )),
        Err(_) => Ok(None),
    }
}
