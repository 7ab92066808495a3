//! A server that goes from SQLite to a PostgreSQL by the guide, a second one beside it on another machine, and hosts that hear either:
//! servers and database are killed, restarted and cut off while people ask and approve.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use jit_tests::crowd::{Acknowledged, Ask, Crowd};
use jit_tests::fleet::{Fleet, URL, login, wait_until_current, wait_until_in};
use jit_tests::group::{Promise, Stage};
use jit_tests::host::Host;
use jit_tests::image::Release;
use jit_tests::run::{Outcome, Running};
use jit_tests::site::find;
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use jit_tests::{database, packages, people, promises};
use serde_json::Value;

/// Where the hosts find the second server.
const OTHER_URL: &str = "https://other:7443";
/// Where both servers find where the database is.
const ADDRESS: &str = "/etc/jit-server/database";
/// In the order in which the guide stops them.
const UNITS: &str = "jit-server-tls.socket jit-server.socket jit-server.service";
/// What one server did holds on a host at the other.
const HOLDS_WITHIN: Duration = Duration::from_secs(2);
/// A host whose server is gone has found the other.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// How each of them begins its reason.
const REASON: &str = "a test needs it in trouble";
/// Requests while everything is killed and cut, at least.
const REQUESTS: usize = 200;
const ASKERS: [&str; 4] = ["alice", "bob", "dora", "emil"];
/// Both approve each of them, at the same time.
const APPROVERS: [&str; 2] = ["carol", "frank"];
/// How often.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    let promises: &[Promise<Replicas>] = promises![
        what_was_granted_before_the_move_holds_and_is_taken_back_at_the_other_server,
        what_is_asked_at_one_server_is_approved_at_the_other_and_holds_within_2_s,
        a_host_whose_server_is_killed_hears_the_other,
        without_the_database_what_is_granted_holds_and_afterwards_all_is_heard,
        kills_restarts_and_cuts_during_200_requests_lose_nothing_and_grant_nothing_twice,
        a_backup_of_the_database_is_made_and_put_back_as_the_guide_has_it,
    ];
    jit_tests::group::keep_with("replicas", Replicas::set, calm, promises)
}

/// All of it at work, and nothing granted on web1.
fn calm(replicas: &Replicas) -> Result<()> {
    let fleet = &replicas.fleet;
    for cut in ["other", "web1"] {
        fleet.network.mend(cut)?;
    }
    fleet.server.sh("systemctl start postgresql")?;
    for server in [&fleet.server, &replicas.other] {
        server.sh(&format!("systemctl start {UNITS}"))?;
    }
    fleet.gated().into_iter().try_for_each(wait_until_current)
}

/// Two servers on the one database, which is on the first one's machine.
struct Replicas {
    fleet: Fleet,
    other: Host,
    /// Granted on web2, and open there, since before the database was moved.
    before: (String, Running),
}

impl Replicas {
    fn set(release: Release) -> Result<Self> {
        let fleet = Fleet::with_beside_the_server(release, "postgresql")?;
        let other = Host::boot(release, &fleet.network.options("other"))?;
        people::settle(&other)?;
        packages::install(&other, &packages::built("jit-server")?)?.succeeded()?;
        packages::install(&other, &packages::built("jitd")?)?.succeeded()?;
        let grant = fleet.grant("alice", &fleet.web2)?;
        wait_until_in(&fleet.web2, "alice", Instant::now(), HOLDS_WITHIN)?;
        let session = login(&fleet.web2, "alice")?;
        database::make(&fleet.server).context("making the database")?;
        database::write_address(&fleet.server, ADDRESS, "server")?;
        go_to_it(&fleet).context("going to it")?;
        join(&fleet, &other).context("joining")?;
        let replicas = Self {
            fleet,
            other,
            before: (grant, session),
        };
        replicas.enrol_at_both(&replicas.fleet.web1)?;
        Ok(replicas)
    }

    /// The host prefers the second server.
    fn enrol_at_both(&self, host: &Host) -> Result<()> {
        self.fleet.carry(host, &["--name", host.name()])?;
        let urls = ["--server", OTHER_URL, "--server", URL];
        let enroll = host.command(&["jitctl", "enroll"]).words(urls);
        enroll
            .words(["--token-file", "/root/token", "--ca", "/root/ca.crt"])
            .run()?
            .succeeded()?;
        wait_until_current(host)
    }
}

impl Stage for Replicas {
    fn last_words(&self) -> String {
        let other = format!("-- other\n{}", self.other.last_words());
        [self.fleet.last_words(), other].join("\n")
    }
}

/// The commands of the guide, one after the other.
fn go_to_it(fleet: &Fleet) -> Result<()> {
    let copy =
        "runuser -u jit-server -- jit-server copy --to-database-file /etc/jit-server/database";
    fleet.server.sh(&format!(
        "{copy}; systemctl stop {UNITS}; {copy}; jit-server init --database-file /etc/jit-server/database; systemctl start {UNITS}"
    ))?;
    fleet.gated().into_iter().try_for_each(wait_until_current)
}

/// The second server, as the guide has it.
fn join(fleet: &Fleet, other: &Host) -> Result<()> {
    let pack = "tar --directory=/var/lib/jit-server --create signing.key tls | base64";
    let keys = fleet.server.sh(pack)?;
    other.sh(
        "install --directory --owner=jit-server --group=jit-server --mode=0700 /var/lib/jit-server",
    )?;
    let unpack =
        "base64 --decode | runuser -u jit-server -- tar --directory=/var/lib/jit-server --extract";
    let unpack = other.command(&["sh", "-euc", unpack]);
    unpack.input(keys).run()?.succeeded()?;
    for file in ["/etc/jit-server/policy.toml", "/etc/jit-server/db-ca.crt"] {
        other.write(file, "0644", fleet.server.read(file)?)?;
    }
    database::write_address(other, ADDRESS, "server")?;
    let init = [
        "jit-server",
        "init",
        "--database-file",
        "/etc/jit-server/database",
    ];
    let init = other.command(&init).words(["--name", "other"]);
    init.run()?.succeeded()?;
    Ok(())
}

fn what_was_granted_before_the_move_holds_and_is_taken_back_at_the_other_server(
    replicas: &Replicas,
) -> Result<()> {
    let (grant, session) = &replicas.before;
    ensure!(
        session.alive()?,
        "the login ended when the database was moved"
    );
    revoke(&replicas.other, grant)?.succeeded()?;
    ensure!(
        session.ended(Deadline::seconds(5))?,
        "web2 does not hear at its server what was done at the other"
    );
    Ok(())
}

/// Root at `server` takes a grant away; whatever comes of it.
fn revoke(server: &Host, grant: &str) -> Result<Outcome> {
    server.run(&[
        "jitctl",
        "revoke",
        grant,
        "--reason",
        "a test takes it back",
    ])
}

/// Alice asks at `asked`, carol approves at `approved`; the grant.
fn granted(asked: &Host, approved: &Host, host: &Host) -> Result<String> {
    let as_json = |server: &Host, person: &str, words: &[&str]| -> Result<Value> {
        let command = server.command(&["jitctl", "--json"]).user(person);
        let outcome = command.words(words.iter().copied()).run()?;
        ensure!(matches!(outcome.code, Some(0 | 5)), "{outcome}");
        serde_json::from_str(&outcome.stdout).with_context(|| format!("no JSON: {outcome}"))
    };
    let request = ["request", "operator", "--host", host.name(), "--for", "10m"];
    let request = [&request[..], &["--reason", "a test needs it"]].concat();
    let request = as_json(asked, "alice", &request)?;
    let id = request["id"].as_str().context("no id")?;
    let approved = as_json(approved, "carol", &["approve", id])?;
    let grants = find(&approved, "grants").and_then(|grants| grants[0].as_str().map(str::to_owned));
    grants.with_context(|| format!("no grant in {approved}"))
}

fn what_is_asked_at_one_server_is_approved_at_the_other_and_holds_within_2_s(
    replicas: &Replicas,
) -> Result<()> {
    let (fleet, other) = (&replicas.fleet, &replicas.other);
    for (asked, approved, host) in [
        (&fleet.server, other, &fleet.web2),
        (other, &fleet.server, &fleet.web1),
    ] {
        let grant = granted(asked, approved, host)?;
        wait_until_in(host, "alice", Instant::now(), HOLDS_WITHIN)?;
        let session = login(host, "alice")?;
        revoke(asked, &grant)?.succeeded()?;
        ensure!(session.ended(Deadline::seconds(5))?, "the end is not heard");
    }
    Ok(())
}

fn a_host_whose_server_is_killed_hears_the_other(replicas: &Replicas) -> Result<()> {
    let (server, other, host) = (
        &replicas.fleet.server,
        &replicas.other,
        &replicas.fleet.web1,
    );
    let grant = granted(other, other, host)?;
    wait_until_in(host, "alice", Instant::now(), HOLDS_WITHIN)?;
    let session = login(host, "alice")?;
    other.sh(&format!(
        "systemctl kill --signal=KILL jit-server.service; systemctl stop {UNITS}"
    ))?;
    let killed = Instant::now();
    revoke(server, &grant)?.succeeded()?;
    ensure!(
        session.ended(Deadline::within(FOUND_WITHIN))?,
        "the host does not hear the other server"
    );
    let again = granted(server, server, host)?;
    wait_until_in(host, "alice", killed, FOUND_WITHIN)?;
    replicas.fleet.revoke(&again)
}

fn without_the_database_what_is_granted_holds_and_afterwards_all_is_heard(
    replicas: &Replicas,
) -> Result<()> {
    let (server, host) = (&replicas.fleet.server, &replicas.fleet.web1);
    let grant = granted(server, server, host)?;
    wait_until_in(host, "alice", Instant::now(), HOLDS_WITHIN)?;
    let session = login(host, "alice")?;
    server.sh("systemctl stop postgresql.service 'postgresql@*.service'")?;
    for server in [server, &replicas.other] {
        let refused = revoke(server, &grant)?;
        ensure!(
            refused.code == Some(1),
            "what could not be kept was done: {refused}"
        );
    }
    Ssh::new(host, "alice")
        .run("true")?
        .succeeded()
        .context("what is in force is not any more")?;
    ensure!(session.alive()?, "the login ended");
    server.sh("systemctl start postgresql")?;
    wait::eventually(
        "the database to be found again",
        Deadline::seconds(20),
        || Ok((revoke(server, &grant)?.code == Some(0)).then_some(())),
    )?;
    ensure!(
        session.ended(Deadline::within(FOUND_WITHIN))?,
        "the end is not heard"
    );
    Ok(())
}

fn kills_restarts_and_cuts_during_200_requests_lose_nothing_and_grant_nothing_twice(
    replicas: &Replicas,
) -> Result<()> {
    let (fleet, other) = (&replicas.fleet, &replicas.other);
    let add = "jit-server user add frank --login frank --group approvers";
    let asking = "for person in dora emil; do jit-server user add $person --login $person --group engineers; done";
    fleet.server.sh(&format!("{add}; {asking}"))?;
    let people = [&ASKERS[..], &APPROVERS[..]].concat();
    let crowd = Crowd::gather(
        &people,
        &fleet.server,
        &fleet.web2,
        &[URL, OTHER_URL],
        "/root/ca.crt",
    )?;
    let before = record(&fleet.server)?.len();
    let mut written = Vec::new();
    for host in fleet.gated() {
        written.push(chain(host)?.len());
    }
    let acknowledged = in_trouble(replicas, &crowd)?;
    calm(replicas)?;
    ensure!(acknowledged.len() >= REQUESTS, "{}", acknowledged.len());
    let at_one = record(&fleet.server)?;
    let at_other = record(other)?;
    ensure!(
        at_other.starts_with(&at_one),
        "the servers tell two records"
    );
    no_gap(&at_one)?;
    each_granted_once(&at_one[before..], &acknowledged)?;
    for server in [&fleet.server, other] {
        all_in_force(server, &replicas.before.0, &acknowledged)?;
    }
    for (host, before) in fleet.gated().into_iter().zip(written) {
        no_revision_went_back(host, &chain(host)?[before..])?;
        Ssh::new(host, "alice").run("true")?.succeeded()?;
    }
    let session = login(&fleet.web1, "alice")?;
    let reason = ["--reason", "a test ends them all"];
    let lock = fleet.server.command(&["jitctl", "lock", "alice"]);
    lock.words(reason).run()?.succeeded()?;
    ensure!(
        session.ended(Deadline::seconds(10))?,
        "the lock is not heard"
    );
    fleet
        .server
        .run(&["jitctl", "unlock", "alice"])?
        .succeeded()
        .map(drop)
}

/// All ask and approve while everything is killed and cut, and until there are enough of them.
fn in_trouble(replicas: &Replicas, crowd: &Crowd<'_>) -> Result<Vec<Acknowledged>> {
    let over = AtomicBool::new(false);
    let asking = |asker: &'static str| -> Result<Vec<Acknowledged>> {
        let mut all = Vec::new();
        while all.len() < REQUESTS / ASKERS.len() || !over.load(Ordering::Relaxed) {
            all.push(crowd.acknowledged(Ask {
                asker,
                approvers: APPROVERS,
                host: ["web1", "web2"][all.len() % 2],
                reason: &format!("{REASON}: {asker}, {}", all.len()),
            })?);
        }
        Ok(all)
    };
    thread::scope(|scope| {
        let trouble = scope.spawn(|| {
            let had = (0..ROUNDS).try_for_each(|_| trouble(replicas));
            over.store(true, Ordering::Relaxed);
            had
        });
        let asking = ASKERS.map(|asker| scope.spawn(move || asking(asker)));
        let mut all = Vec::new();
        for asked in asking {
            all.extend(asked.join().map_err(|_| anyhow!("panicked"))??);
        }
        trouble.join().map_err(|_| anyhow!("panicked"))??;
        Ok(all)
    })
}

/// What docs/database.md has root type: the block of code with this in it, as it is there.
fn typed(word: &str) -> Result<&'static str> {
    let guide = include_str!("../../docs/database.md");
    let mut blocks = guide.split("\n```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains(word));
    block.with_context(|| format!("no block of the guide has {word}"))
}

fn a_backup_of_the_database_is_made_and_put_back_as_the_guide_has_it(
    replicas: &Replicas,
) -> Result<()> {
    let (server, other, host) = (
        &replicas.fleet.server,
        &replicas.other,
        &replicas.fleet.web1,
    );
    let grant = granted(server, server, host)?;
    wait_until_in(host, "alice", Instant::now(), HOLDS_WITHIN)?;
    let session = login(host, "alice")?;
    other.sh(&format!("systemctl stop {UNITS}"))?;
    // Nothing may come between the backup and the stop: a backup without it is an older copy.
    server.sh(&format!("systemctl stop {UNITS}"))?;
    let before = server.sh("find /root/jit.dump 2>/dev/null || true")?;
    ensure!(before.is_empty(), "a backup of before: {before}");
    server.sh(typed("pg_dump")?)?;
    server.sh(typed("pg_restore")?)?;
    other.sh(&format!("systemctl start {UNITS}"))?;
    replicas
        .fleet
        .gated()
        .into_iter()
        .try_for_each(wait_until_current)?;
    ensure!(session.alive()?, "the login ended, though nothing was lost");
    for server in [server, other] {
        let standing = server
            .command(&["jit-server", "restored", "--json"])
            .text()?;
        ensure!(
            standing.contains(r#""unconfirmed": null"#),
            "it was taken for an older copy: {standing}"
        );
    }
    revoke(other, &grant)?.succeeded()?;
    ensure!(session.ended(Deadline::seconds(5))?, "the end is not heard");
    server.sh("rm /root/jit.dump").map(drop)
}

/// The whole record, as root at that server sees it.
fn record(server: &Host) -> Result<Vec<Value>> {
    let list = server.command(&["jitctl", "audit", "list", "--json"]);
    Ok(serde_json::from_str(&list.text()?)?)
}

fn no_gap(record: &[Value]) -> Result<()> {
    for (number, event) in (1..).zip(record) {
        ensure!(event["seq"] == number, "no {number}, but {event}");
    }
    Ok(())
}

/// Each was asked for and granted once, and nothing else was.
fn each_granted_once(record: &[Value], acknowledged: &[Acknowledged]) -> Result<()> {
    let of_kind = |kind: &str, id: &str| -> Vec<String> {
        let of_kind = record.iter().filter(|event| event["kind"] == kind);
        let ids = of_kind.filter_map(|event| event["detail"].pointer(id)?.as_str());
        let mut ids: Vec<String> = ids.map(str::to_owned).collect();
        ids.sort();
        ids
    };
    let told = |of: fn(&Acknowledged) -> &String| -> Vec<String> {
        let mut told: Vec<String> = acknowledged.iter().map(of).cloned().collect();
        told.sort();
        told
    };
    for (kind, id, told) in [
        ("requested", "/request", told(|one| &one.request)),
        ("approved", "/request", told(|one| &one.request)),
        ("granted", "/request", told(|one| &one.request)),
        ("granted", "/grants/0/grant", told(|one| &one.grant)),
    ] {
        let kept = of_kind(kind, id);
        ensure!(kept == told, "{kind}: {kept:?}, but {told:?}");
    }
    Ok(())
}

/// Every grant that somebody was told of is in force, and no other, but perhaps one of `before`.
fn all_in_force(server: &Host, before: &str, acknowledged: &[Acknowledged]) -> Result<()> {
    let grants = ["jitctl", "list", "grants", "--all", "--json"];
    let grants: Value = serde_json::from_str(&server.command(&grants).text()?)?;
    let grants = grants.as_array().context("no list")?;
    for host in ["web1", "web2"] {
        let active = grants.iter().filter(|grant| grant["host"] == host);
        let active = active.filter(|grant| grant["state"] == "active");
        let active = active.filter_map(|grant| grant["id"].as_str());
        let active: BTreeSet<&str> = active.filter(|id| *id != before).collect();
        let told = acknowledged.iter().filter(|one| one.host == host);
        let told: BTreeSet<&str> = told.map(|one| one.grant.as_str()).collect();
        ensure!(
            active == told,
            "{host} at {}: {active:?}, but {told:?}",
            server.name()
        );
    }
    Ok(())
}

/// What jitd wrote down on `host`.
fn chain(host: &Host) -> Result<Vec<Value>> {
    let chain = host.sh("cat /var/lib/jit/events/*")?;
    let lines = chain.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().context("no line of jitd's")
}

/// By what it wrote down of the bundles that it took, and of those that it did not.
fn no_revision_went_back(host: &Host, chain: &[Value]) -> Result<()> {
    let mut highest = 0;
    for line in chain {
        let event = &line["event"];
        ensure!(event["kind"] != "bundle.refused", "{event}");
        if event["kind"] == "bundle.taken" {
            let revision = event["revision"].as_u64().context("no revision")?;
            ensure!(highest < revision, "{highest} was followed by {event}");
            highest = revision;
        }
    }
    let state: Value = serde_json::from_str(&host.read("/var/lib/jit/state.json")?)?;
    ensure!(
        find(&state, "highest_revision") == Some(&highest.into()),
        "{highest} was the last, but {state}"
    );
    Ok(())
}

/// A server and the database are killed, the other server and a host are cut off until that server has noticed, and then it is killed.
fn trouble(replicas: &Replicas) -> Result<()> {
    let (fleet, other) = (&replicas.fleet, &replicas.other);
    let kill = "systemctl kill --signal=KILL jit-server.service";
    fleet.server.sh(kill)?;
    fleet.server.sh(
        "systemctl kill --signal=KILL 'postgresql@*.service'; systemctl reset-failed; systemctl restart postgresql.service",
    )?;
    fleet.network.cut("web1")?;
    fleet.network.cut("other")?;
    wait::eventually("the cut to be noticed", Deadline::seconds(30), || {
        let refused = revoke(other, "g9999")?;
        Ok(refused.said("database").then_some(()))
    })?;
    other.sh(kill)?;
    fleet.network.mend("other")?;
    fleet.network.mend("web1")
}
