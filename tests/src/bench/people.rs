//! People who ask jit-server and approve, over its own socket and known to it by their uid, as fast as it answers.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use jiff::Timestamp;
use jit_tests::api;
use jit_tests::host::Host;
use jit_tests::site::{Site, find};
use jit_tests::wait::{self, Deadline};
use rustix::process::Uid;
use rustix::thread::{CapabilitiesSecureBits, set_capabilities_secure_bits, set_thread_res_uid};
use serde_json::{Value, json};

/// Grants in the bundle.
const GRANTS: usize = 1000;
/// Who ask for them and approve one another's requests: so many that nobody asks too often.
const CREW: usize = 20;
/// Who log in and are thrown out at the end.
pub(crate) const GUESTS: usize = 200;
/// As long as the roles allow.
pub(crate) const AN_HOUR: u64 = 3600;
/// useradd takes its time over each.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);

/// Accounts without a password; alice's key opens those of guests.
const ACCOUNTS: &str = r#"
umask 022
for login; do
    useradd --create-home --shell /bin/bash "$login"
    install -d -m 700 -o "$login" -g "$login" "/home/$login/.ssh"
    install -m 600 -o "$login" -g "$login" /home/alice/.ssh/id_ed25519.pub "/home/$login/.ssh/authorized_keys"
done
"#;

/// Everybody on the host, with the uids that jit-server knows them by.
pub(crate) struct People<'h> {
    host: &'h Host,
    uids: HashMap<String, u32>,
}

impl<'h> People<'h> {
    /// Makes the crew and the guests, and has the administrator tell jit-server of them.
    pub(crate) fn settle(host: &'h Host) -> Result<Self> {
        let crew: Vec<_> = (0..CREW).map(crew).collect();
        let guests: Vec<_> = (0..GUESTS).map(guest).collect();
        let logins = crew.iter().chain(&guests).map(String::as_str);
        host.command(&["sh", "-euc", ACCOUNTS, "sh"])
            .words(logins)
            .within(SETTLED_WITHIN)
            .text()?;
        let accounts = host.command(&["getent", "passwd"]).text()?;
        let people = Self {
            host,
            uids: accounts.lines().filter_map(name_and_uid).collect(),
        };
        for (names, groups) in [
            (&crew, &["engineers", "approvers"][..]),
            (&guests, &["engineers"]),
        ] {
            for name in names {
                let user = json!({ "name": name, "login": name, "groups": groups });
                people.call("root", "/v1/users", &user)?;
            }
        }
        Ok(people)
    }

    /// Has a thousand grants in force, every one asked for and approved; one of them alice's. Comes back when jitd has them.
    pub(crate) fn fill(&self, site: &Site) -> Result<()> {
        self.approve("carol", &self.ask("alice", AN_HOUR)?)?;
        for number in 1..GRANTS {
            let request = self.ask(&crew(number % CREW), AN_HOUR)?;
            self.approve(&crew((number + 1) % CREW), &request)?;
        }
        wait::eventually("jitd to have all grants", Deadline::seconds(30), || {
            Ok(self.all_in_force(site)?.then_some(()))
        })
    }

    /// True while the bundle in force has a thousand grants or more and they count.
    pub(crate) fn all_in_force(&self, site: &Site) -> Result<bool> {
        let status = serde_json::from_str(&site.admin(&["status", "--json"])?.stdout)?;
        let grants = find(&status, "grants").and_then(Value::as_u64);
        let current = find(&status, "current").and_then(Value::as_bool);
        Ok(grants.is_some_and(|grants| grants >= GRANTS as u64) && current == Some(true))
    }

    /// Somebody asks to log in for so long; gives the request's id.
    pub(crate) fn ask(&self, person: &str, seconds: u64) -> Result<String> {
        let wanted =
            json!({ "role": "visitor", "for_seconds": seconds, "reason": "to be measured" });
        let request = self.call(person, "/v1/requests", &wanted)?;
        let id = request["id"].as_str().map(str::to_owned);
        id.with_context(|| format!("a request without an id: {request}"))
    }

    /// Somebody approves; gives the grant's id.
    pub(crate) fn approve(&self, person: &str, request: &str) -> Result<String> {
        let path = format!("/v1/requests/{request}/approve");
        let approved = self.call(person, &path, &json!({}))?;
        let id = approved["grants"][0].as_str().map(str::to_owned);
        id.with_context(|| format!("an approval without a grant: {approved}"))
    }

    /// The administrator takes a grant back.
    pub(crate) fn revoke(&self, grant: &str) -> Result<()> {
        let path = format!("/v1/grants/{grant}/revoke");
        self.call("root", &path, &json!({ "reason": "was measured" }))
            .map(drop)
    }

    /// When a grant ends.
    pub(crate) fn expiry(&self, grant: &str) -> Result<Timestamp> {
        let (status, shown) = api::call(self.host, "GET", &format!("/v1/grants/{grant}"), None)?;
        let expires = find(&shown, "expires").and_then(Value::as_str);
        let expires = expires.with_context(|| format!("no end of {grant}: {status} {shown}"))?;
        expires.parse().with_context(|| expires.to_owned())
    }

    fn call(&self, person: &str, path: &str, body: &Value) -> Result<Value> {
        let uid = self.uids.get(person);
        let uid = *uid.with_context(|| format!("{person} has no account"))?;
        let (status, answer) = as_user(uid, || api::call(self.host, "POST", path, Some(body)))?;
        ensure!(
            (200..300).contains(&status),
            "{person}: POST {path}: {status} {answer}"
        );
        Ok(answer)
    }
}

fn crew(number: usize) -> String {
    format!("crew{number:02}")
}

/// The login and name of a guest.
pub(crate) fn guest(number: usize) -> String {
    format!("guest{number:03}")
}

/// From a line of passwd(5).
fn name_and_uid(line: &str) -> Option<(String, u32)> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    Some((name, fields.nth(1)?.parse().ok()?))
}

/// Acts on a thread of that user's: to the kernel, uids are a thread's. It keeps root's capabilities, so that it still finds its
/// way through /proc into the host; whoever it connects to sees the uid.
pub(crate) fn as_user<T: Send>(uid: u32, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let as_them = || {
        set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)
            .context("keeping capabilities")?;
        let uid = Uid::from_raw(uid);
        set_thread_res_uid(uid, uid, uid).context("becoming somebody else")?;
        act()
    };
    thread::scope(|scope| scope.spawn(as_them).join())
        .unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
}
