//! How many requests a server keeps a second, in SQLite and in PostgreSQL, and how long one server's approval takes to a host of another.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use jit_tests::wait::Deadline;
use serde_json::{Value, json};

use crate::figures::{Figure, median, milliseconds, percentile};
use crate::load::{From, Hosts, What};
use crate::postgres::Postgres;
use crate::server::{Person, Server, Setup};
use crate::step;

/// Accounts that every Debian machine has (base-passwd), so that none need be made. Each may call 100 times a second.
const ACCOUNTS: [(&str, u32); 12] = [
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("sync", 4),
    ("games", 5),
    ("man", 6),
    ("lp", 7),
    ("mail", 8),
    ("news", 9),
    ("uucp", 10),
    ("proxy", 13),
    ("www-data", 33),
];
/// Requests of each, which is below what an account may do at once.
const REQUESTS: usize = 50;
const HOSTS: usize = 20;
const APPROVALS: usize = 200;
const LAG_GOAL_MS: f64 = 1_000.0;
const WITHIN_S: u64 = 30;

const POLICY: &str = r#"
[roles.operator]
hosts = ["*"]
actions = ["ssh"]
longest = "1h"
may_ask = { groups = ["everybody"] }
approve = { groups = ["everybody"] }
"#;

/// All that is measured of records.
pub(crate) fn figures() -> Result<Vec<Figure>> {
    let mut figures = vec![step("Filling a record in SQLite", || {
        let (server, _hosts) = settled(None)?;
        let note = format!(
            "asked for and approved by {} people at the same time; two commits each; SQLite",
            ACCOUNTS.len()
        );
        Ok(Figure::beside("server.requests_per_second", per_second(&server)?, "/s").note(note))
    })?];
    let postgres = step("Starting a PostgreSQL", || Ok(Postgres::start()))?;
    let address = postgres.database();
    let (one, hosts) = step("Setting up two servers on it", || settled(Some(&address)))?;
    let other = Server::set_up(&Setup {
        policy: POLICY,
        database: Some(&address),
        beside: Some(&one),
    })?;
    figures.push(step("Filling its record", || {
        let name = "server.requests_per_second_postgresql";
        Ok(Figure::beside(name, per_second(&one)?, "/s")
            .note("the same, one of two servers on a PostgreSQL of this machine"))
    })?);
    figures.extend(step("Approving at one and listening at the other", || {
        lag(&one, &other, &hosts)
    })?);
    Ok(figures)
}

/// A server with everybody and the hosts.
fn settled(database: Option<&str>) -> Result<(Server, Hosts)> {
    let server = Server::set_up(&Setup {
        policy: POLICY,
        database,
        beside: None,
    })?;
    for (account, _) in ACCOUNTS {
        let user = json!({ "name": account, "login": account, "groups": ["everybody"] });
        server.post(Person::Root, "/v1/users", &user)?;
    }
    let wanted = json!({ "uses": HOSTS, "for_seconds": 3_600 });
    let made = server.post(Person::Root, "/v1/hosts/tokens", &wanted)?;
    let token = made["token"].as_str().context("no token")?;
    let hosts = Hosts::enrol(&server, HOSTS, token)?;
    Ok((server, hosts))
}

/// Everybody asks and approves what another asks for.
fn per_second(server: &Server) -> Result<f64> {
    let began = Instant::now();
    let person = |number: usize| -> Result<()> {
        for request in 0..REQUESTS {
            grant(server, number, request % HOSTS)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let people: Vec<_> = (0..ACCOUNTS.len())
            .map(|number| scope.spawn(move || person(number)))
            .collect();
        let mut ended = people.into_iter().map(|one| one.join());
        ended.try_for_each(|done| done.unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
    })?;
    #[expect(clippy::cast_precision_loss, reason = "there are far fewer")]
    let all = (ACCOUNTS.len() * REQUESTS) as f64;
    Ok(all / began.elapsed().as_secs_f64())
}

/// Somebody asks, and the next one approves; the grant.
fn grant(server: &Server, number: usize, host: usize) -> Result<String> {
    let uid = |number: usize| ACCOUNTS[number % ACCOUNTS.len()].1;
    let wanted = json!({ "role": "operator", "hosts": [Hosts::name(host)], "for_seconds": 3_600, "reason": "to be measured" });
    let asked = server.post_as(uid(number), "/v1/requests", &wanted)?;
    let path = format!("/v1/requests/{}/approve", text(&asked["id"])?);
    let approved = server.post_as(uid(number + 1), &path, &json!({}))?;
    text(&approved["grants"][0])
}

/// From the answer to an approval at one server until a host has the bundle from the other.
fn lag(one: &Server, other: &Server, hosts: &Hosts) -> Result<Vec<Figure>> {
    let following = hosts.at(other)?.follow(From::OwnAddress)?;
    let mut times = Vec::with_capacity(APPROVALS);
    for number in 0..APPROVALS {
        let host = number % HOSTS;
        let granted = grant(one, number, host)?;
        let answered = Instant::now();
        let came = loop {
            let news = following.next(Deadline::seconds(WITHIN_S))?;
            if let What::Bundle(bundle) = &news.what
                && news.host == host
                && hosts.grants(host, bundle)?.contains(&granted)
            {
                break news.at;
            }
        };
        times.push(milliseconds(came.saturating_duration_since(answered)));
    }
    Ok(vec![
        Figure::beside("server.replica_lag", percentile(&mut times, 99)?, "ms")
            .at_most(LAG_GOAL_MS)
            .note(format!(
                "p99 of {APPROVALS}, from the answer to an approval at one server to the bundle at a host's stream at another"
            )),
        Figure::beside("server.replica_lag_p50", median(&mut times)?, "ms"),
    ])
}

fn text(value: &Value) -> Result<String> {
    let text = value.as_str().map(str::to_owned);
    text.with_context(|| format!("no text: {value}"))
}
