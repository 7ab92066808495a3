//! A server on a host of its own, and two gated hosts that reach it over a network that can be cut.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::group::Stage;
use crate::host::Host;
use crate::image::Release;
use crate::net::Network;
use crate::packages;
use crate::people;
use crate::run::{Inside, Outcome, Running};
use crate::site::{GATED, find};
use crate::ssh::Ssh;
use crate::wait::{self, Deadline};

/// Where the hosts find the server.
pub const URL: &str = "https://server:7443";

/// `operator` opens both hosts; Carol approves.
const POLICY: &str = r#"
may_lock = { groups = ["approvers"] }

[roles.operator]
description = "Log in and administer"
hosts = ["web1", "web2"]
actions = ["ssh", "sudo"]
longest = "1h"
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"], count = 1 }
"#;

/// The hosts and their network. The hosts go before the network does.
#[derive(Debug)]
pub struct Fleet {
    /// Where jit-server runs, and where people ask.
    pub server: Host,
    /// A gated host.
    pub web1: Host,
    /// Another.
    pub web2: Host,
    /// What joins them.
    pub network: Network,
}

impl Fleet {
    /// Booted, the server set up, both hosts enrolled with a token each, gated and enforcing.
    ///
    /// # Errors
    /// Any of it failed.
    pub fn enforcing(release: Release) -> Result<Self> {
        Self::set_up(release, None)
    }

    /// The same, and one more of Debian's packages is on the server's host, as nginx.
    ///
    /// # Errors
    /// Any of it failed.
    pub fn with_beside_the_server(release: Release, package: &'static str) -> Result<Self> {
        Self::set_up(release, Some(package))
    }

    fn set_up(release: Release, beside: Option<&'static str>) -> Result<Self> {
        packages::built("jitd").and_then(|_| packages::built("jit-server"))?;
        let network = Network::new(&["server", "web1", "web2", "desk", "other"])?;
        let boot = |name: &str| -> Result<Host> {
            let mut options = network.options(name);
            options.package = beside.filter(|_| name == "server");
            let host = Host::boot(release, &options)?;
            people::settle(&host).context("settling people")?;
            packages::install_both(&host)?;
            Ok(host)
        };
        let (server, web1, web2) = thread::scope(|scope| {
            let others = ["web1", "web2"].map(|name| scope.spawn(move || boot(name)));
            let server = boot("server");
            let [web1, web2] =
                others.map(|other| other.join().unwrap_or_else(|_| Err(anyhow!("panicked"))));
            (server, web1, web2)
        });
        let fleet = Self {
            server: server?,
            web1: web1?,
            web2: web2?,
            network,
        };
        fleet.set_up_server().context("setting up jit-server")?;
        for host in fleet.gated() {
            fleet.enrol(host)?;
            host.command(&["jitctl", "gate"])
                .words(GATED)
                .run()?
                .succeeded()?;
            host.run(&["jitctl", "enforce"])?.succeeded()?;
            host.run(&["jitctl", "enforce", "--confirm"])?.succeeded()?;
        }
        Ok(fleet)
    }

    /// A machine of `person`'s own, from which the hosts and the server can be reached: with jitctl, logged in to the server with a token, and
    /// an ssh key that the hosts know.
    ///
    /// # Errors
    /// Any of it failed.
    pub fn desk(&self, person: &str) -> Result<Host> {
        let desk = Host::boot(self.server.release(), &self.network.options("desk"))?;
        people::settle(&desk).context("settling people")?;
        packages::install(&desk, &packages::built("jitd")?)?.succeeded()?;
        let home = format!("/home/{person}");
        let key = desk.read(&format!("{home}/.ssh/id_ed25519.pub"))?;
        let mut known = String::new();
        for host in self.gated() {
            let own = host.read(&format!("{home}/.ssh/authorized_keys"))?;
            host.write(&format!("{home}/.ssh/authorized_keys"), "0600", own + &key)?;
            host.sh(&format!("chown {person}: {home}/.ssh/authorized_keys"))?;
            let host_key = host.read("/etc/ssh/ssh_host_ed25519_key.pub")?;
            known += &format!("{} {}\n", host.name(), host_key.trim());
        }
        desk.write("/etc/ssh/ssh_known_hosts", "0644", known)?;
        desk.write(
            "/etc/jit-server-ca.crt",
            "0644",
            self.server.read("/etc/jit-server/ca.crt")?,
        )?;
        Ok(desk)
    }

    /// `person` logs in to the server from `desk`, with a token that was made there.
    ///
    /// # Errors
    /// Either fails.
    pub fn log_in(&self, desk: &Host, person: &str) -> Result<Outcome> {
        let make = ["jit-server", "user", "token", person, "--for", "8h"];
        let token = self.server.command(&make).text()?;
        let login = ["login", "--server", URL, "--ca", "/etc/jit-server-ca.crt"];
        at(desk, person, &login).input(token).run()?.succeeded()
    }

    /// The gated hosts.
    #[must_use]
    pub fn gated(&self) -> [&Host; 2] {
        [&self.web1, &self.web2]
    }

    fn set_up_server(&self) -> Result<()> {
        let server = &self.server;
        // The second time it says where to listen, and keeps what there is.
        let init = ["jit-server", "init", "--name", "server"];
        server.run(&init)?.succeeded()?;
        let again = server.command(&init).words(["--listen", "[::]:7443"]);
        again.run()?.succeeded()?;
        for (person, group) in [
            ("alice", "engineers"),
            ("bob", "engineers"),
            ("carol", "approvers"),
        ] {
            server
                .run(&[
                    "jit-server",
                    "user",
                    "add",
                    person,
                    "--login",
                    person,
                    "--group",
                    group,
                ])?
                .succeeded()?;
        }
        server.write("/etc/jit-server/policy.toml", "0644", POLICY)?;
        server
            .run(&["jit-server", "policy", "check"])?
            .succeeded()
            .map(drop)
    }

    /// Enrols `host` with a new token for its name, and waits until it has heard the server.
    ///
    /// # Errors
    /// Any of it failed.
    pub fn enrol(&self, host: &Host) -> Result<()> {
        self.carry(host, &["--name", host.name()])?;
        enroll(host, URL, "/root/ca.crt")?.succeeded()?;
        wait_until_current(host)
    }

    /// Makes a token and carries it to `host`, with the authority's certificate.
    ///
    /// # Errors
    /// Any of it failed.
    pub fn carry(&self, host: &Host, options: &[&str]) -> Result<()> {
        let token = self
            .server
            .command(&["jit-server", "host", "token"])
            .words(options.iter().copied())
            .text()?;
        host.write("/root/token", "0600", token)?;
        let authority = self.server.read("/etc/jit-server/ca.crt")?;
        host.write("/root/ca.crt", "0644", authority)
    }

    /// jitctl on the server's machine as a person, with `--json`; it must succeed or leave something pending.
    ///
    /// # Errors
    /// It fails, or prints no JSON.
    pub fn json(&self, person: &str, arguments: &[&str]) -> Result<Value> {
        let command = self.server.command(&["jitctl", "--json"]).user(person);
        let outcome = command.words(arguments.iter().copied()).run()?;
        ensure!(
            matches!(outcome.code, Some(0 | 5)),
            "should have succeeded, but: {outcome}"
        );
        serde_json::from_str(&outcome.stdout).with_context(|| format!("no JSON: {outcome}"))
    }

    /// A person gets `operator` on `host` for ten minutes; gives the grant.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn grant(&self, person: &str, host: &Host) -> Result<String> {
        let asked = self.json(
            person,
            &[
                "request",
                "operator",
                "--host",
                host.name(),
                "--for",
                "10m",
                "--reason",
                "a test needs it",
            ],
        )?;
        let request = text(&asked, "id")?;
        self.json("carol", &["approve", &request])?;
        let shown = self.json(person, &["show", &request])?;
        let grants = find(&shown, "grants").and_then(|grants| grants.get(0));
        let grant = grants.and_then(Value::as_str);
        grant
            .map(str::to_owned)
            .with_context(|| format!("no grant in {shown}"))
    }

    /// Takes a grant away.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn revoke(&self, grant: &str) -> Result<()> {
        self.server
            .run(&[
                "jitctl",
                "revoke",
                grant,
                "--reason",
                "a test takes it back",
            ])?
            .succeeded()
            .map(drop)
    }
}

impl Stage for Fleet {
    fn last_words(&self) -> String {
        let said = |host: &Host| format!("-- {}\n{}", host.name(), host.last_words());
        [&self.server, &self.web1, &self.web2].map(said).join("\n")
    }
}

/// `jitctl enroll` with the token that was carried to `host`, whatever comes of it.
///
/// # Errors
/// It hangs.
pub fn enroll(host: &Host, url: &str, authority: &str) -> Result<Outcome> {
    host.run(&[
        "jitctl",
        "enroll",
        "--server",
        url,
        "--token-file",
        "/root/token",
        "--ca",
        authority,
    ])
}

/// A login that stays until it is ended.
///
/// # Errors
/// It is refused.
pub fn login(host: &Host, person: &str) -> Result<Running> {
    let login = Ssh::new(host, person).start("echo in; sleep 7002")?;
    login.says("in", Deadline::seconds(10))?;
    Ok(login)
}

/// What jitd-sync says on `host` from now on.
///
/// # Errors
/// The journal can't be read.
pub fn journal(host: &Host) -> Result<Running> {
    let place = host.sh("journalctl --sync; journalctl --lines=0 --show-cursor")?;
    let cursor = place.trim().rsplit(' ').next().unwrap_or_default();
    let after = format!("--after-cursor={cursor}");
    let follow = [
        "journalctl",
        "--follow",
        "--no-tail",
        "--output=cat",
        "--unit=jitd-sync",
        &after,
    ];
    host.command(&follow)
        .within(Duration::from_secs(120))
        .start()
}

/// Waits until grants count on `host`.
///
/// # Errors
/// They don't within 20 s.
pub fn wait_until_current(host: &Host) -> Result<()> {
    wait::eventually(
        "jitd to hear from the server",
        Deadline::seconds(20),
        || {
            let status = host.run(&["jitctl", "status", "--json"])?;
            let value = serde_json::from_str::<Value>(&status.stdout).unwrap_or_default();
            Ok(find(&value, "current")
                .is_some_and(|current| current == &Value::Bool(true))
                .then_some(()))
        },
    )
}

/// jitctl as a person on a host that is not the server's.
#[must_use]
pub fn at<'h>(host: &'h Host, person: &str, arguments: &[&str]) -> Inside<'h> {
    let command = host.command(&["jitctl"]).words(arguments.iter().copied());
    let home = format!("/home/{person}");
    command.user(person).environment("HOME", &home)
}

/// Tries until `person` gets into `host`; gives how long after `since` the attempt began that did.
///
/// # Errors
/// It began later than `within` after it.
pub fn wait_until_in(
    host: &Host,
    person: &str,
    since: Instant,
    within: Duration,
) -> Result<Duration> {
    wait_until_lets_in(&Ssh::new(host, person), since, within)
}

/// The same of a connection, wherever it begins.
///
/// # Errors
/// It began later than `within` after it.
pub fn wait_until_lets_in(ssh: &Ssh<'_>, since: Instant, within: Duration) -> Result<Duration> {
    loop {
        let tried = since.elapsed();
        let attempt = ssh.clone().run("true")?;
        if attempt.code == Some(0) {
            return Ok(tried);
        }
        ensure!(
            tried < within,
            "{tried:.1?} later nobody is let in: {attempt}"
        );
    }
}

fn text(value: &Value, key: &str) -> Result<String> {
    let found = find(value, key).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .with_context(|| format!("no {key} in {value}"))
}
