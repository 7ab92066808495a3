//! The second part: a server on a host of its own, and two gated hosts that reach it over a network.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jit_tests::fleet::{Fleet, at, wait_until_in, wait_until_lets_in};
use jit_tests::host::Host;
use jit_tests::image::Release;
use jit_tests::run::Running;
use jit_tests::ssh::Ssh;
use jit_tests::story::Story;
use jit_tests::wait::{self, Deadline};
use serde_json::Value;

use crate::shown;

/// From an approval to a login that it opens.
const IN_WITHIN: Duration = Duration::from_secs(1);
/// From a lock to the end of everything: what its news take, and a session's end.
const LOCKED_WITHIN: Duration = Duration::from_secs(5);

const SET_UP: &str = "jit-server init --name server        # on server
      jit-server host token --name web1    # …, and for web2
      jitctl enroll --server https://server:7443 --ca ca.crt --token-file token; jitctl gate …; jitctl enforce   # on web1 and web2";

pub(crate) fn tell(story: &mut Story, release: Release) -> Result<()> {
    story.chapter("A server, and two hosts that reach it over TLS");
    let fleet = set_up(story, release)?;
    story.chapter("One request opens one host");
    one_host(story, &fleet);
    story.chapter("A lock ends what is open everywhere");
    lock(story, &fleet);
    Ok(())
}

fn set_up(story: &mut Story, release: Release) -> Result<Fleet> {
    let mut fleet = None;
    story.step(
        "Boot three hosts, set up the server, enrol, gate and enforce web1 and web2",
        SET_UP,
        "both hosts are listed and connected",
        || {
            let ready = fleet.insert(Fleet::enforcing(release)?);
            let listed = ready.server.run(&["jit-server", "host", "list"])?;
            ensure!(listed.said("web1") && listed.said("web2"), "{listed}");
            shown(listed.succeeded()?)
        },
    );
    fleet.context("no fleet")
}

fn one_host(story: &mut Story, fleet: &Fleet) {
    story.step(
        "bob has no grant",
        "ssh bob@web1; ssh bob@web2",
        "refused on both",
        || {
            let said = fleet.gated().map(|host| refused(host, "bob"));
            said.into_iter().collect()
        },
    );
    let mut desk = None;
    story.step(
        "bob has a machine of his own, and logs in to the server from there",
        "jit-server user token bob   # as root, on server: bob gets what it prints, and ca.crt\n      jitctl login --server https://server:7443 --ca ca.crt   # as bob, on desk",
        "the server knows him by the token",
        || {
            let desk = desk.insert(fleet.desk("bob")?);
            let login = fleet.log_in(desk, "bob")?;
            ensure!(login.said("You are bob"), "{login}");
            let hosts = at(desk, "bob", &["list", "hosts"]).run()?;
            Ok(shown(login)? + &shown(hosts.succeeded()?)?)
        },
    );
    story.step(
        "bob asks for web1 there, carol approves",
        "jitctl request operator --host web1 --for 10m --reason …   # as bob, on desk\n      jitctl approve …   # as carol, on server\n      ssh web1   # as bob, on desk",
        "in within 1 s of the approval",
        || {
            let desk = desk.as_ref().context("no desk")?;
            let ask = ["request", "operator", "--host", "web1", "--for", "10m"];
            let ask = at(desk, "bob", &ask).words(["--reason", "rotate the logs", "--json"]);
            let asked: Value = serde_json::from_str(&ask.run()?.stdout)?;
            let request = asked["id"].as_str().context("no request")?;
            fleet.json("carol", &["approve", request])?;
            let approved = Instant::now();
            let ssh = Ssh::new(desk, "bob").to("web1");
            let tried = wait_until_lets_in(&ssh, approved, IN_WITHIN)?;
            let inside = approved.elapsed();
            Ok(format!(
                "in and out again {inside:.1?} after the approval, by an attempt begun {tried:.0?} after it"
            ))
        },
    );
    story.step("The other host", "ssh bob@web2", "still refused", || {
        refused(&fleet.web2, "bob")
    });
}

fn lock(story: &mut Story, fleet: &Fleet) {
    let mut open = Vec::new();
    story.step(
        "bob gets web2, too, and is in on both, as root besides",
        "ssh bob@web1 'sudo sleep 7001 & sleep 7002'; ssh bob@web2 …",
        "both run on both",
        || {
            fleet.grant("bob", &fleet.web2)?;
            wait_until_in(&fleet.web2, "bob", Instant::now(), IN_WITHIN)?;
            for host in fleet.gated() {
                open.push(login(host, "bob")?);
            }
            Ok(fleet
                .gated()
                .map(sleeping)
                .into_iter()
                .collect::<Result<Vec<_>>>()?
                .concat())
        },
    );
    story.step(
        "carol locks bob",
        "jitctl lock bob --reason 'key stolen'   # as carol, on server",
        "his sessions, and what they started, end on both hosts at once",
        || {
            ensure!(open.len() == 2, "he was not in on both");
            let locked = Instant::now();
            fleet.json("carol", &["lock", "bob", "--reason", "key stolen"])?;
            let deadline = Deadline::within(LOCKED_WITHIN);
            let mut said = String::new();
            for (host, login) in fleet.gated().into_iter().zip(&open) {
                ensure!(login.ended(deadline)?, "he is still in on {}", host.name());
                wait::eventually("his processes to end", deadline, || {
                    Ok(sleeping(host)?.is_empty().then_some(()))
                })?;
                said += &format!(
                    "{}: over {:.1?} after the command began\n",
                    host.name(),
                    locked.elapsed()
                );
            }
            Ok(said)
        },
    );
    story.step(
        "bob tries again",
        "ssh bob@web1; ssh bob@web2",
        "refused on both",
        || {
            fleet
                .gated()
                .map(|host| refused(host, "bob"))
                .into_iter()
                .collect()
        },
    );
}

fn refused(host: &Host, person: &str) -> Result<String> {
    let refused = Ssh::new(host, person)
        .run("true")?
        .refused_saying(&["JIT-"])?;
    Ok(format!("{}: {}\n", host.name(), shown(refused)?.trim()))
}

/// A login with an elevation in it, which stays until it is ended.
fn login(host: &Host, person: &str) -> Result<Running> {
    let login = Ssh::new(host, person).start("sudo -n sleep 7001 & echo in; sleep 7002")?;
    login.says("in", Deadline::seconds(10))?;
    wait::eventually("sudo's command to run", Deadline::seconds(10), || {
        Ok((sleeping(host)?.lines().count() == 2).then_some(()))
    })?;
    Ok(login)
}

/// The sleeps of [`login`] that run on `host`, a line each.
fn sleeping(host: &Host) -> Result<String> {
    let ps = host.command(&["ps", "-eo", "user:8=,args="]).text()?;
    let sleeps = ps.lines().filter(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("sleep") && words.next().is_some_and(|time| time.starts_with("700"))
    });
    Ok(sleeps
        .map(|line| format!("{}: {line}\n", host.name()))
        .collect())
}
