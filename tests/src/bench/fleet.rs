//! A server with 5,000 hosts on their streams.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jit_tests::wait::Deadline;
use serde_json::{Value, json};

use crate::figures::{Figure, median, milliseconds, percentile};
use crate::load::{Following, From, Hosts, News, What};
use crate::server::{Person, Server};
use crate::step;

const HOSTS: usize = 5_000;
/// In one request.
const HOSTS_ASKED_FOR: usize = 64;
const APPROVALS: usize = 200;
const AN_HOUR: u64 = 3_600;
const WITHIN_S: u64 = 90;

const MEMORY_GOAL_KIB: f64 = 40.0;
const APPROVAL_GOAL_MS: f64 = 200.0;
const LOCK_GOAL_MS: f64 = 2_000.0;
const RECONNECT_GOAL_S: f64 = 30.0;

/// All that is measured at the server.
pub(crate) fn figures() -> Result<Vec<Figure>> {
    let mut server = step("Starting a server", Server::start)?;
    let hosts = step(&format!("Enrolling {HOSTS} hosts"), || enrol(&server))?;
    // What enrolment took is no part of what streams cost.
    server.restart()?;
    let idle = server.resident()?;
    let following = step("Opening their streams", || {
        let following = hosts.follow(From::OwnAddress)?;
        each_heard(&following, |news| matches!(news.what, What::Bundle(_)))?;
        Ok(following)
    })?;
    let mut figures = memory(&server, idle)?;
    step("Granting something on each", || {
        fill(&server, &hosts, &following)
    })?;
    figures.extend(step(&format!("Approving {APPROVALS} requests"), || {
        approval_to_host(&server, &hosts, &following)
    })?);
    figures.extend(step("Locking who has it all", || {
        lock_all(&server, &hosts, &following)
    })?);
    figures.push(step("Restarting the server", || {
        let back = reconnect(&mut server, &following)?;
        Ok(Figure::beside("server.reconnect", back, "s")
            .at_most(RECONNECT_GOAL_S)
            .note(format!(
                "from SIGTERM until all {HOSTS} streams are open again and have heard a word, each host from an address of its own"
            )))
    })?);
    drop(following);
    figures.push(step("Restarting it with all behind one address", || {
        let following = hosts.follow(From::OneAddress)?;
        each_heard(&following, |news| matches!(news.what, What::Bundle(_)))?;
        let back = reconnect(&mut server, &following)?;
        Ok(Figure::beside("server.reconnect_one_address", back, "s")
            .note("the same with all from one address, as behind a load balancer"))
    })?);
    Ok(figures)
}

fn enrol(server: &Server) -> Result<Hosts> {
    let wanted = json!({ "uses": HOSTS, "for_seconds": AN_HOUR });
    let made = server.post(Person::Root, "/v1/hosts/tokens", &wanted)?;
    let token = made["token"].as_str().context("no token")?;
    Hosts::enrol(server, HOSTS, token)
}

fn memory(server: &Server, idle: f64) -> Result<Vec<Figure>> {
    #[expect(clippy::cast_precision_loss, reason = "there are far fewer")]
    let each = (server.resident()? - idle) / HOSTS as f64;
    Ok(vec![
        Figure::beside("server.stream_memory", each, "KiB")
            .at_most(MEMORY_GOAL_KIB)
            .note(format!(
                "resident for each of {HOSTS} streams, beyond server.idle_memory"
            )),
        Figure::beside("server.idle_memory", idle / 1024.0, "MiB").note(format!(
            "resident after a restart that found {HOSTS} hosts, none connected"
        )),
    ])
}

/// One grant in force on each host, and heard there.
fn fill(server: &Server, hosts: &Hosts, following: &Following) -> Result<()> {
    let names: Vec<String> = (0..HOSTS).map(Hosts::name).collect();
    for some in names.chunks(HOSTS_ASKED_FOR) {
        approve(server, &ask(server, some)?)?;
    }
    each_heard(following, |news| granted(hosts, news, |grants| grants == 1)).map(drop)
}

/// alice asks, carol approves; from her call until the host's stream has a bundle with the grant.
fn approval_to_host(server: &Server, hosts: &Hosts, following: &Following) -> Result<Vec<Figure>> {
    let dice = RandomState::new();
    let mut times = Vec::with_capacity(APPROVALS);
    for number in 0..APPROVALS {
        let host = usize::try_from(dice.hash_one(number) % HOSTS as u64)?;
        let request = ask(server, &[Hosts::name(host)])?;
        let began = Instant::now();
        let grant = approve(server, &request)?;
        let came = loop {
            let news = following.next(Deadline::seconds(WITHIN_S))?;
            if let What::Bundle(bundle) = &news.what
                && news.host == host
                && hosts.grants(host, bundle)?.contains(&grant)
            {
                break news.at;
            }
        };
        times.push(milliseconds(came - began));
    }
    Ok(vec![
        Figure::beside("server.approval_to_host", percentile(&mut times, 99)?, "ms")
            .at_most(APPROVAL_GOAL_MS)
            .note(format!(
                "p99 of {APPROVALS}, from calling to approve to the bundle at a random host's stream; {HOSTS} grants in force"
            )),
        Figure::beside("server.approval_to_host_p50", median(&mut times)?, "ms"),
    ])
}

/// alice has a grant on each host and is locked; from that call until none has one.
fn lock_all(server: &Server, hosts: &Hosts, following: &Following) -> Result<Vec<Figure>> {
    let began = Instant::now();
    server.post(
        Person::Root,
        "/v1/users/alice/lock",
        &json!({ "reason": "was measured" }),
    )?;
    let answered = began.elapsed();
    let last = each_heard(following, |news| granted(hosts, news, |grants| grants == 0))?;
    Ok(vec![
        Figure::beside("server.lock_all", milliseconds(last - began), "ms")
            .at_most(LOCK_GOAL_MS)
            .note(format!(
                "from calling to lock who has a grant on each of {HOSTS} hosts until the last has a bundle without it"
            )),
        Figure::beside("server.lock_all_answered", milliseconds(answered), "ms"),
    ])
}

/// Seconds from telling the server to end until every host's stream is open again and it has heard a word.
fn reconnect(server: &mut Server, following: &Following) -> Result<f64> {
    let began = Instant::now();
    server.restart()?;
    let last = each_heard(following, |news| {
        matches!(news.what, What::Current) && news.at > began
    })?;
    Ok((last - began).as_secs_f64())
}

/// Waits until each host had news of that kind; gives when the last had.
fn each_heard(following: &Following, kind: impl Fn(&News) -> bool) -> Result<Instant> {
    let deadline = Deadline::within(Duration::from_secs(WITHIN_S));
    let mut heard = vec![false; HOSTS];
    let mut left = HOSTS;
    loop {
        let news = following
            .next(deadline)
            .with_context(|| format!("{left} of {HOSTS} hosts"))?;
        if !heard[news.host] && kind(&news) {
            heard[news.host] = true;
            left -= 1;
        }
        if left == 0 {
            return Ok(news.at);
        }
    }
}

/// True for a bundle with so many grants that the host would believe.
fn granted(hosts: &Hosts, news: &News, count: impl Fn(usize) -> bool) -> bool {
    let What::Bundle(bundle) = &news.what else {
        return false;
    };
    hosts
        .grants(news.host, bundle)
        .is_ok_and(|grants| count(grants.len()))
}

fn ask(server: &Server, hosts: &[String]) -> Result<String> {
    let wanted = json!({ "role": "operator", "hosts": hosts, "for_seconds": AN_HOUR, "reason": "to be measured" });
    let asked = server.post(Person::Alice, "/v1/requests", &wanted)?;
    text(&asked["id"])
}

fn approve(server: &Server, request: &str) -> Result<String> {
    let path = format!("/v1/requests/{request}/approve");
    let approved = server.post(Person::Carol, &path, &json!({}))?;
    ensure!(approved["grants"].is_array(), "no grants: {approved}");
    text(&approved["grants"][0])
}

fn text(value: &Value) -> Result<String> {
    let text = value.as_str().map(str::to_owned);
    text.with_context(|| format!("no text: {value}"))
}
