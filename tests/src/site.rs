//! A host with jit on it: server and host daemon from the real packages, people, roles, enrolled, gated.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::api;
use crate::group::Stage;
use crate::host::{Host, Options};
use crate::image::Release;
use crate::packages;
use crate::people::{self, PEOPLE, SHARED_LOGIN};
use crate::run::Outcome;
use crate::ssh::Ssh;
use crate::wait::{self, Deadline};

/// The roles: `visitor` opens ssh, `operator` ssh and sudo, `keeper` all there is; `elsewhere` another host. Carol and bob approve.
/// A login outlives its elevations, so that the end of each can be seen apart.
pub const POLICY: &str = r#"
[roles.visitor]
description = "Look around"
hosts = ["web1"]
actions = ["ssh"]
longest = "1h"
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"], count = 1 }

[roles.operator]
description = "Log in and administer"
hosts = ["web1"]
actions = ["ssh", "sudo"]
end_login_with_elevation = false
longest = "1h"
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"], count = 1 }

[roles.keeper]
description = "Log in and become anybody"
hosts = ["web1"]
actions = ["ssh", "sudo", "su", "jobs"]
end_login_with_elevation = false
longest = "1h"
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"], count = 1 }

[roles.elsewhere]
description = "All of another host"
hosts = ["web2"]
actions = ["ssh", "sudo", "su", "jobs"]
end_login_with_elevation = false
longest = "1h"
may_ask = { groups = ["engineers"] }
approve = { groups = ["approvers"], count = 1 }
"#;

/// The services that the tests gate.
pub const GATED: [&str; 3] = ["sshd", "sudo", "su"];

/// What the tests need to know of a grant.
#[derive(Debug, Clone)]
pub struct Granted {
    /// The request's id.
    pub request: String,
    /// The grant's id.
    pub grant: String,
    /// When the approval came back.
    pub approved: Instant,
    /// For how long it was asked.
    pub lasts: Duration,
}

impl Granted {
    /// How long ago it expired; nothing while it is in force.
    #[must_use]
    pub fn over_for(&self) -> Duration {
        self.approved.elapsed().saturating_sub(self.lasts)
    }

    /// How long it is still in force.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.lasts.saturating_sub(self.approved.elapsed())
    }
}

/// A host called web1 with jit on it.
#[derive(Debug)]
pub struct Site {
    /// The host.
    pub host: Host,
}

impl Site {
    /// Booted, packages installed, people settled, server set up, host enrolled and in touch with the server; nothing gated.
    ///
    /// # Errors
    /// Any of it failed.
    pub fn ungated(release: Release) -> Result<Self> {
        packages::built("jitd").and_then(|_| packages::built("jit-server"))?;
        let options = Options {
            name: Some("web1".to_owned()),
            ..Options::default()
        };
        let site = Self::installed(Host::boot(release, &options)?)?;
        site.set_up_server().context("setting up jit-server")?;
        site.enroll().context("enrolling the host")?;
        Ok(site)
    }

    /// As [`Site::enforcing`], on this machine itself.
    ///
    /// # Errors
    /// As [`Site::enforcing`].
    pub(crate) fn here(release: Release) -> Result<Self> {
        let site = Self::installed(Host::here(release, "web1")?)?;
        site.set_up_server().context("setting up jit-server")?;
        site.enroll().context("enrolling the host")?;
        site.admin(&[&["gate"], &GATED[..]].concat())?;
        site.enforce()?;
        Ok(site)
    }

    /// People settled and packages installed on this host, no more.
    ///
    /// # Errors
    /// Any of it failed.
    pub fn installed(host: Host) -> Result<Self> {
        people::settle(&host).context("settling people")?;
        packages::install_both(&host)?;
        Ok(Self { host })
    }

    /// As [`Site::ungated`], gated, watching and refusing nothing.
    ///
    /// # Errors
    /// As [`Site::ungated`], or gating failed.
    pub fn monitoring(release: Release) -> Result<Self> {
        let site = Self::ungated(release)?;
        site.admin(&[&["gate"], &GATED[..]].concat())?;
        Ok(site)
    }

    /// As [`Site::monitoring`], then enforcing, confirmed.
    ///
    /// # Errors
    /// As [`Site::monitoring`], or enforcing failed.
    pub fn enforcing(release: Release) -> Result<Self> {
        let site = Self::monitoring(release)?;
        site.enforce()?;
        Ok(site)
    }

    /// Puts a monitoring host into enforce mode.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn enforce(&self) -> Result<()> {
        self.admin(&["enforce", "--confirm-within", "10m"])?;
        self.admin(&["enforce", "--confirm"]).map(drop)
    }

    /// Makes the server's key, its users and roles.
    ///
    /// # Errors
    /// jit-server fails.
    pub fn set_up_server(&self) -> Result<()> {
        self.host.run(&["jit-server", "init"])?.succeeded()?;
        for person in PEOPLE {
            let login = if ["dora", "emil"].contains(&person) {
                SHARED_LOGIN
            } else {
                person
            };
            let group = if person == "carol" {
                "approvers"
            } else {
                "engineers"
            };
            let key = format!("/home/{person}/.ssh/id_ed25519.pub");
            let command = [
                "jit-server",
                "user",
                "add",
                person,
                "--login",
                login,
                "--group",
                group,
                "--key",
                &key,
            ];
            let command = self.host.command(&command);
            // bob asks and approves, so that asking oneself for approval can be tried.
            let more: &[&str] = if person == "bob" {
                &["--group", "approvers"]
            } else {
                &[]
            };
            command.words(more.iter().copied()).run()?.succeeded()?;
        }
        self.host
            .write("/etc/jit-server/policy.toml", "0644", POLICY)?;
        self.host
            .run(&["jit-server", "policy", "check"])?
            .succeeded()?;
        self.host.sh("systemctl restart jit-server.service")?;
        // A second host that is enrolled and never runs: grants for it must open nothing here.
        let elsewhere = serde_json::json!({ "name": "web2", "public_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8" });
        let (status, answer) = api::call(&self.host, "POST", "/v1/hosts", Some(&elsewhere))?;
        ensure!(
            status == 201 || status == 200,
            "enrolling web2: {status} {answer}"
        );
        Ok(())
    }

    /// Makes the host trust its own server, and waits until it has heard from it.
    ///
    /// # Errors
    /// jitctl fails, or the host hears nothing.
    pub fn enroll(&self) -> Result<()> {
        self.admin(&["enroll", "--server", "unix:/run/jit-server/api.sock"])?;
        self.wait_until_current()
    }

    /// Waits until jitd has a bundle and has heard from the server, so that grants count.
    ///
    /// # Errors
    /// It does not within 20 s.
    pub fn wait_until_current(&self) -> Result<()> {
        wait::eventually(
            "jitd to hear from the server",
            Deadline::seconds(20),
            || {
                let status = self.host.run(&["jitctl", "status", "--json"])?;
                let value = serde_json::from_str::<Value>(&status.stdout).unwrap_or_default();
                Ok(find(&value, "current")
                    .is_some_and(|current| current == &Value::Bool(true))
                    .then_some(()))
            },
        )
    }

    /// jitctl as root; it must succeed.
    ///
    /// # Errors
    /// It does not.
    pub fn admin(&self, arguments: &[&str]) -> Result<Outcome> {
        self.host
            .command(&["jitctl"])
            .words(arguments.iter().copied())
            .run()?
            .succeeded()
    }

    /// jitctl as a person, whatever comes of it.
    ///
    /// # Errors
    /// It hangs.
    pub fn jitctl(&self, person: &str, arguments: &[&str]) -> Result<Outcome> {
        self.host
            .command(&["jitctl"])
            .words(arguments.iter().copied())
            .user(person)
            .run()
    }

    /// jitctl as a person, with `--json`; it must succeed or leave something pending. Gives what it printed.
    ///
    /// # Errors
    /// It fails, or prints no JSON.
    pub fn json(&self, person: &str, arguments: &[&str]) -> Result<Value> {
        let outcome = self.jitctl(person, &[arguments, &["--json"]].concat())?;
        ensure!(
            matches!(outcome.code, Some(0 | 5)),
            "should have succeeded, but: {outcome}"
        );
        serde_json::from_str(&outcome.stdout).with_context(|| format!("no JSON: {outcome}"))
    }

    /// A person asks for a role on this host (or all hosts of the role); gives the request's id.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn ask(&self, person: &str, role: &str, seconds: u64) -> Result<String> {
        let time = format!("{seconds}s");
        let request = self.json(
            person,
            &[
                "request",
                role,
                "--for",
                &time,
                "--reason",
                "a test needs it",
            ],
        )?;
        text(&request, "id")
    }

    /// Somebody approves a request.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn approve(&self, approver: &str, request: &str) -> Result<()> {
        self.jitctl(approver, &["approve", request])?
            .succeeded()
            .map(drop)
    }

    /// A person asks for a role for so long, and carol approves.
    ///
    /// # Errors
    /// Either fails.
    pub fn grant(&self, person: &str, role: &str, seconds: u64) -> Result<Granted> {
        let request = self.ask(person, role, seconds)?;
        self.approved(&request, person, seconds)
    }

    /// Carol approves a person's request for so long.
    ///
    /// # Errors
    /// jitctl fails, or no grant comes of it.
    pub fn approved(&self, request: &str, person: &str, seconds: u64) -> Result<Granted> {
        self.approve("carol", request)?;
        let approved = Instant::now();
        let shown = self.json(person, &["show", request])?;
        let grant = find(&shown, "grants")
            .and_then(|grants| grants.get(0))
            .and_then(Value::as_str);
        let grant = grant
            .with_context(|| format!("request {request} has no grant: {shown}"))?
            .to_owned();
        Ok(Granted {
            request: request.to_owned(),
            grant,
            approved,
            lasts: Duration::from_secs(seconds),
        })
    }

    /// As [`Site::grant`], and waits until the person's key opens the login, which must be within 1 s of the approval.
    ///
    /// # Errors
    /// It takes longer.
    pub fn open(&self, person: &str, role: &str, seconds: u64) -> Result<Granted> {
        let granted = self.grant(person, role, seconds)?;
        self.wait_until_in(person, granted.approved)?;
        Ok(granted)
    }

    /// Tries until the person's key opens the login; gives how long after the approval the attempt was made that did.
    ///
    /// # Errors
    /// It was made more than 1 s after it.
    pub fn wait_until_in(&self, person: &str, approved: Instant) -> Result<Duration> {
        let login = if ["dora", "emil"].contains(&person) {
            SHARED_LOGIN
        } else {
            person
        };
        loop {
            let tried = approved.elapsed();
            let attempt = Ssh::new(&self.host, person).login(login).run("true")?;
            ensure!(
                attempt.code == Some(0) || tried < Duration::from_secs(1),
                "{tried:.1?} after its approval the grant still opens nothing: {attempt}"
            );
            if attempt.code == Some(0) {
                return Ok(tried);
            }
        }
    }

    /// Withdraws a grant as the administrator.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn revoke(&self, grant: &str) -> Result<()> {
        self.admin(&["revoke", grant, "--reason", "a test takes it back"])
            .map(drop)
    }

    /// Withdraws every request, takes every grant back, and waits until nobody is in any more.
    ///
    /// # Errors
    /// Somebody stays for longer than 10 s.
    pub fn calm(&self) -> Result<()> {
        for request in self.listed(&["requests", "--state", "pending"])? {
            let (id, principal) = (text(&request, "id")?, text(&request, "principal")?);
            self.jitctl(&principal, &["withdraw", &id])?.succeeded()?;
        }
        for grant in self.listed(&["grants"])? {
            if ["active", "scheduled"].contains(&text(&grant, "state")?.as_str()) {
                self.revoke(&text(&grant, "id")?)?;
            }
        }
        self.wait_until_empty(Deadline::seconds(10))
    }
}

impl Stage for Site {
    fn last_words(&self) -> String {
        self.host.last_words()
    }
}

/// The first value of this key, at the top or one level below.
#[must_use]
pub fn find<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    value
        .get(key)
        .or_else(|| value.as_object()?.values().find_map(|inner| inner.get(key)))
}

fn text(value: &Value, key: &str) -> Result<String> {
    Ok(find(value, key)
        .and_then(Value::as_str)
        .with_context(|| format!("no {key} in {value}"))?
        .to_owned())
}
