//! A server that goes from SQLite to a PostgreSQL by the guide, a second one beside it on another machine, and hosts that hear either:
//! servers and database are killed, restarted and cut off while people ask and approve.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use jit_tests::authority::{Authority, NOW};
use jit_tests::fleet::{Fleet, URL, login, wait_until_current, wait_until_in};
use jit_tests::group::{Promise, Stage};
use jit_tests::host::Host;
use jit_tests::image::Release;
use jit_tests::run::{Outcome, Running};
use jit_tests::site::find;
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use jit_tests::{packages, people, promises};
use serde_json::Value;

/// Where the hosts find the second server.
const OTHER_URL: &str = "https://other:7443";
/// Where both servers find the database.
const ADDRESS: &str =
    "postgres://jit:of-a-test@server/jit?sslmode=verify-full&sslrootcert=/etc/jit-server/db-ca.crt";
const UNITS: &str = "jit-server.socket jit-server-tls.socket jit-server.service";
/// What one server did holds on a host at the other.
const HOLDS_WITHIN: Duration = Duration::from_secs(2);
/// A host whose server is gone has found the other.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// How each of them begins its reason.
const REASON: &str = "a test needs it in trouble";
/// Requests while everything is killed and cut, at least.
const REQUESTS: usize = 24;
/// How often.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    let promises: &[Promise<Replicas>] = promises![
        what_was_granted_before_the_move_holds_and_is_taken_back_at_the_other_server,
        what_is_asked_at_one_server_is_approved_at_the_other_and_holds_within_2_s,
        a_host_whose_server_is_killed_hears_the_other,
        without_the_database_what_is_granted_holds_and_afterwards_all_is_heard,
        kills_restarts_and_cuts_lose_nothing_and_grant_nothing_twice,
    ];
    jit_tests::group::keep_with("replicas", Replicas::set, calm, promises)
}

/// All of it at work, and nothing granted on web1.
fn calm(replicas: &Replicas) -> Result<()> {
    let fleet = &replicas.fleet;
    fleet.network.mend("other")?;
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
        make_database(&fleet).context("making the database")?;
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

/// A PostgreSQL that others reach over TLS, set up as the guide has it.
fn make_database(fleet: &Fleet) -> Result<()> {
    let server = &fleet.server;
    let authority = Authority::make()?;
    let issued = authority.issue("server", NOW)?;
    server.write("/etc/jit-server/db-ca.crt", "0644", authority.certificate())?;
    server.write("/etc/postgresql/server.crt", "0644", issued.certificate)?;
    server.write("/etc/postgresql/server.key", "0600", issued.key)?;
    server.sh(
        "chown postgres: /etc/postgresql/server.key /etc/postgresql/server.crt;\
         cluster=$(echo /etc/postgresql/*/main);\
         echo 'hostssl jit jit 10.77.0.0/24 scram-sha-256' >> $cluster/pg_hba.conf;\
         printf '%s\\n' \"listen_addresses = '*'\" 'ssl = on' \"ssl_cert_file = '/etc/postgresql/server.crt'\" \
             \"ssl_key_file = '/etc/postgresql/server.key'\" > $cluster/conf.d/jit.conf;\
         systemctl restart postgresql;\
         runuser -u postgres -- psql --quiet --command \"CREATE ROLE jit LOGIN PASSWORD 'of-a-test'\";\
         runuser -u postgres -- createdb --owner jit jit",
    )?;
    address(server)
}

fn address(server: &Host) -> Result<()> {
    server.sh("install -m 0640 -g jit-server /dev/null /etc/jit-server/database")?;
    let write = server.command(&["sh", "-c", "cat > /etc/jit-server/database"]);
    write.input(format!("{ADDRESS}\n")).run()?.succeeded()?;
    Ok(())
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
    address(other)?;
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

fn kills_restarts_and_cuts_lose_nothing_and_grant_nothing_twice(replicas: &Replicas) -> Result<()> {
    let (fleet, other) = (&replicas.fleet, &replicas.other);
    let over = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| -> Result<Vec<String>> {
        let trouble = scope.spawn(|| {
            let had = (0..ROUNDS).try_for_each(|_| trouble(replicas));
            over.store(true, Ordering::Relaxed);
            had
        });
        let mut all = Vec::new();
        while !over.load(Ordering::Relaxed) || all.len() < REQUESTS {
            let (asked, approved) = match all.len() % 2 {
                0 => (&fleet.server, other),
                _ => (other, &fleet.server),
            };
            all.push(acknowledged(asked, approved, &fleet.web1)?);
        }
        trouble.join().map_err(|_| anyhow!("panicked"))??;
        Ok(all)
    })?;
    calm(replicas)?;
    let once: BTreeSet<&String> = acknowledged.iter().collect();
    ensure!(
        once.len() == acknowledged.len(),
        "granted twice: {acknowledged:?}"
    );
    for server in [&fleet.server, other] {
        let grants = ["jitctl", "list", "grants", "--all", "--json"];
        let grants: Value = serde_json::from_str(&server.command(&grants).text()?)?;
        let grants = grants.as_array().context("no list")?;
        let of_web1 = |state: &str| -> BTreeSet<String> {
            let of_web1 = grants
                .iter()
                .filter(|grant| grant["host"] == "web1" && grant["state"] == state);
            of_web1
                .filter_map(|grant| grant["id"].as_str().map(str::to_owned))
                .collect()
        };
        let active = of_web1("active");
        ensure!(
            once.iter().copied().eq(&active),
            "{} has not {once:?} but {active:?}",
            server.name()
        );
        let requests = ["jitctl", "list", "requests", "--all", "--json"];
        let requests: Value = serde_json::from_str(&server.command(&requests).text()?)?;
        let of_trouble = |request: &&Value| {
            let reason = request["reason"].as_str().unwrap_or_default();
            reason.starts_with(REASON)
        };
        let requests = requests.as_array().context("no list")?;
        let asked = requests.iter().filter(of_trouble).count();
        ensure!(
            asked == once.len(),
            "{} has {asked} requests for {}",
            server.name(),
            once.len()
        );
    }
    Ssh::new(&fleet.web1, "alice").run("true")?.succeeded()?;
    let session = login(&fleet.web1, "alice")?;
    let lock = [
        "jitctl",
        "lock",
        "alice",
        "--reason",
        "a test ends them all",
    ];
    fleet.server.run(&lock)?.succeeded()?;
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

/// A server and the database are killed, the other server is cut off until it has noticed, and then killed.
fn trouble(replicas: &Replicas) -> Result<()> {
    let (fleet, other) = (&replicas.fleet, &replicas.other);
    let kill = "systemctl kill --signal=KILL jit-server.service";
    fleet.server.sh(kill)?;
    fleet.server.sh(
        "systemctl kill --signal=KILL 'postgresql@*.service'; systemctl reset-failed; systemctl restart postgresql.service",
    )?;
    fleet.network.cut("other")?;
    wait::eventually("the cut to be noticed", Deadline::seconds(30), || {
        let refused = revoke(other, "g9999")?;
        Ok(refused.said("database").then_some(()))
    })?;
    other.sh(kill)?;
    fleet.network.mend("other")
}

/// A request and its approval, each tried until it is acknowledged; the grant. Whoever hears nothing looks what became of it first.
fn acknowledged(asked: &Host, approved: &Host, host: &Host) -> Result<String> {
    let reason = format!("{REASON} {:?}", Instant::now());
    let deadline = Deadline::seconds(60);
    let said = |server: &Host, person: &str, words: &[&str]| -> Result<Option<Value>> {
        let command = server.command(&["jitctl", "--json"]).user(person);
        let outcome = command.words(words.iter().copied()).run()?;
        Ok(serde_json::from_str(&outcome.stdout).ok())
    };
    let request = wait::eventually("a request to be taken", deadline, || {
        let mine = said(asked, "alice", &["list", "requests"])?;
        let Some(mine) = mine.as_ref().and_then(Value::as_array) else {
            return Ok(None);
        };
        let found = mine.iter().find(|request| request["reason"] == *reason);
        if let Some(id) = found.and_then(|request| request["id"].as_str()) {
            return Ok(Some(id.to_owned()));
        }
        let ask = ["request", "operator", "--host", host.name(), "--for", "10m"];
        let asked = said(asked, "alice", &[&ask[..], &["--reason", &reason]].concat())?;
        Ok(asked.and_then(|asked| asked["id"].as_str().map(str::to_owned)))
    })?;
    wait::eventually("an approval to be taken", deadline, || {
        said(approved, "carol", &["approve", &request])?;
        let shown = said(approved, "carol", &["show", &request])?;
        let grants = shown.as_ref().and_then(|shown| find(shown, "grants"));
        let grants = grants
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        ensure!(grants.len() < 2, "{request} was granted twice: {grants:?}");
        Ok(grants
            .first()
            .and_then(|grant| grant.as_str().map(str::to_owned)))
    })
}
