//! A copy of a server's record that goes along into a PostgreSQL on another machine, as docs/database.md has it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use jit_tests::group::{Promise, Stage};
use jit_tests::host::Host;
use jit_tests::image::Release;
use jit_tests::net::Network;
use jit_tests::wait::{self, Deadline};
use jit_tests::{database, packages, promises};
use serde_json::Value;

/// In the order in which the guide stops them.
const UNITS: &str = "jit-server-tls.socket jit-server.socket jit-server.service";
/// Where the copying unit finds where its database is.
const ADDRESS: &str = "/etc/jit-server/copy-database";
/// What the guide has for a database on another machine.
const DROP_IN: &str = "[Service]\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\nPrivateNetwork=no\nIPAddressDeny=\n";
/// What the server acknowledged is in the copy, where nothing is in the way.
const ALONG_WITHIN: u64 = 5;
/// The same after a kill, of which systemd starts the unit anew after 10 s, or after a cut.
const AGAIN_WITHIN: u64 = 60;

fn main() -> ExitCode {
    let promises: &[Promise<Machines>] = promises![
        what_the_server_acknowledges_is_in_the_copy_within_seconds,
        after_kills_restarts_and_a_cut_the_copy_has_all_of_it_and_nothing_twice,
        the_copy_is_taken_for_the_record_and_nothing_is_lost,
    ];
    jit_tests::group::keep("copies", Machines::set, promises)
}

/// A server with its record in SQLite, and the machine that the copy is on.
struct Machines {
    server: Host,
    database: Host,
    network: Network,
}

impl Machines {
    fn set(release: Release) -> Result<Self> {
        let network = Network::new(&["server", "database"])?;
        let server = Host::boot(release, &network.options("server"))?;
        packages::install_both(&server)?;
        server
            .run(&["jit-server", "init", "--name", "server"])?
            .succeeded()?;
        let mut options = network.options("database");
        options.package = Some("postgresql");
        let machines = Self {
            server,
            database: Host::boot(release, &options)?,
            network,
        };
        machines.go_along().context("copying as the guide has it")?;
        Ok(machines)
    }

    fn go_along(&self) -> Result<()> {
        database::make(&self.database)?;
        let authority = self.database.read("/etc/jit-server/db-ca.crt")?;
        let server = &self.server;
        server.write("/etc/jit-server/db-ca.crt", "0644", authority)?;
        database::write_address(server, ADDRESS, "database")?;
        let settings = format!("JIT_SERVER_COPY_TO_DATABASE_FILE={ADDRESS}\n");
        server.write("/etc/jit-server/copy.conf", "0644", settings)?;
        let folder = "/etc/systemd/system/jit-server-copy.service.d";
        server.sh(&format!("mkdir {folder}"))?;
        server.write(&format!("{folder}/override.conf"), "0644", DROP_IN)?;
        server
            .sh("systemctl daemon-reload; systemctl enable --now jit-server-copy")
            .map(drop)
    }

    /// Something is kept, and acknowledged.
    fn adds(&self, user: &str) -> Result<()> {
        let add = ["jit-server", "user", "add", user, "--login", user];
        self.server.run(&add)?.succeeded().map(drop)
    }

    /// The whole record, as the server tells it.
    fn record(&self) -> Result<Vec<Value>> {
        let list = self.server.command(&["jitctl", "audit", "list", "--json"]);
        Ok(serde_json::from_str(&list.text()?)?)
    }

    fn asks_copy(&self, sql: &str) -> Result<String> {
        let psql = [
            "runuser",
            "-u",
            "postgres",
            "--",
            "psql",
            "--tuples-only",
            "--no-align",
        ];
        let psql = self.database.command(&psql);
        psql.words(["--dbname", "jit", "--command", sql]).text()
    }

    /// Waits until the copy has all that the server acknowledged until now, each of it once and in order.
    fn has_come_along(&self, within: u64) -> Result<()> {
        let record = self.record()?;
        let last = record.last().context("nothing is on record")?["seq"].to_string();
        let what = format!("the copy to come to {last}");
        wait::eventually(&what, Deadline::seconds(within), || {
            let come_to = self.asks_copy("SELECT last_seq FROM head")?;
            Ok((come_to.trim() == last).then_some(()))
        })?;
        let kept = "SELECT seq FROM event UNION ALL SELECT seq FROM host_event ORDER BY seq";
        let kept = self.asks_copy(kept)?;
        let kept: Vec<&str> = kept.lines().collect();
        let told: Vec<String> = record
            .iter()
            .map(|event| event["seq"].to_string())
            .collect();
        ensure!(kept == told, "{kept:?}, but {told:?}");
        Ok(())
    }
}

impl Stage for Machines {
    fn last_words(&self) -> String {
        let said = |host: &Host| format!("-- {}\n{}", host.name(), host.last_words());
        [&self.server, &self.database].map(said).join("\n")
    }
}

fn what_the_server_acknowledges_is_in_the_copy_within_seconds(machines: &Machines) -> Result<()> {
    for user in ["ada", "ben", "cleo"] {
        machines.adds(user)?;
        machines.has_come_along(ALONG_WITHIN)?;
    }
    let status = machines
        .server
        .run(&["systemctl", "status", "jit-server-copy"])?;
    ensure!(status.said("come to event"), "{status}");
    Ok(())
}

fn after_kills_restarts_and_a_cut_the_copy_has_all_of_it_and_nothing_twice(
    machines: &Machines,
) -> Result<()> {
    let (server, database) = (&machines.server, &machines.database);
    let kill = "systemctl kill --signal=KILL";
    server.sh(&format!("{kill} jit-server-copy.service"))?;
    machines.adds("dan")?;
    machines.has_come_along(AGAIN_WITHIN)?;
    database.sh(&format!(
        "{kill} 'postgresql@*.service'; systemctl reset-failed; systemctl restart postgresql.service"
    ))?;
    machines.adds("eve")?;
    machines.has_come_along(AGAIN_WITHIN)?;
    machines.network.cut("database")?;
    machines.adds("fay")?;
    server.sh(&format!(
        "{kill} jit-server.service jit-server-copy.service"
    ))?;
    machines.adds("gus")?;
    machines.network.mend("database")?;
    machines.has_come_along(AGAIN_WITHIN)
}

fn the_copy_is_taken_for_the_record_and_nothing_is_lost(machines: &Machines) -> Result<()> {
    let server = &machines.server;
    machines.adds("hal")?;
    let before = machines.record()?;
    let copy = format!("runuser -u jit-server -- jit-server copy --to-database-file {ADDRESS}");
    server.sh(&format!(
        "systemctl disable --now jit-server-copy; systemctl stop {UNITS}; {copy}; \
         jit-server init --database-file {ADDRESS}; systemctl is-active {UNITS}"
    ))?;
    let after = machines.record()?;
    ensure!(after.starts_with(&before), "{before:?}, but {after:?}");
    ensure!(
        after.iter().all(|event| event["kind"] != "restored"),
        "it was taken for an older copy: {after:?}"
    );
    machines.adds("ida")?;
    let known = server.command(&["jit-server", "user", "list"]).text()?;
    for user in ["ada", "dan", "gus", "hal", "ida"] {
        ensure!(known.contains(user), "no {user}: {known}");
    }
    Ok(())
}
