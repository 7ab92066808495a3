//! How long the workflow thinks: about a request, its explanation and an approval, with nothing read and nothing kept. Prints one line of
//! JSON, all times in microseconds; `make bench PART=decide` makes figures of it.
//!
//! The policy has 200 roles and 1,000 rules. A rule is a key by which a request is judged: `hosts`, `labels`, `ticket`, `reason_at_least`,
//! `hours`, `start_within` and `asked_from`, each stage and each `then`. What every role has, `may_ask` and `longest`, is not counted.
#![allow(clippy::unwrap_used, reason = "it measures, and what is wrong ends it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use jit_grant::Principal;
use jit_server::event::{Actor, Entry, Event, HostEnrolled, UserSet};
use jit_server::label::Labelled;
use jit_server::policy::{Policy, check_text};
use jit_server::text::Reason;
use jit_server::workflow::{Ask, Command, State, Wish, command, explain};
use serde_json::json;

const ROLES: usize = 200;
const RULES_A_ROLE: usize = 5;
const HOSTS: usize = 5_000;
const USERS: usize = 1_000;
/// Requests before those that are measured, all within a day: that is what one of them is counted against.
const HISTORY: usize = 2_000;
/// Of them those that nobody has decided are one in so many.
const UNDECIDED: usize = 5;
/// Teams: people of one ask for its roles, on hosts that it keeps and others.
const TEAMS: usize = 100;
const MEASURED: usize = 20_000;
/// The same ones in each run.
const SEED: u64 = 5;

fn main() {
    let policy = check_text("policy.toml", &policy()).unwrap();
    assert_eq!(policy.roles.len(), ROLES);
    let mut server = Server::settled(policy, Rng::with_seed(SEED));
    let asked = server.measure_asking();
    let approving = server.measure_approving();
    let told = json!({
        "roles": ROLES, "rules": ROLES * RULES_A_ROLE, "hosts": HOSTS, "users": USERS, "history": HISTORY,
        "ask": asked.times, "refused": asked.refused, "explain": asked.explained, "approve": approving,
    });
    let mut out = std::io::stdout();
    writeln!(out, "{told}").unwrap();
}

/// Team `number % TEAMS` asks for role `number`.
fn policy() -> String {
    let mut text = String::new();
    for number in 0..ROLES {
        let team = number % TEAMS;
        writeln!(text, "[roles.role-{number}]\nactions = [\"ssh\", \"sudo\"]\nlongest = \"4h\"\nmay_ask = {{ groups = [\"team-{team}\"] }}").unwrap();
        let stage = format!("{{ groups = [\"leads-{team}\"] }}");
        let rules = match number % 4 {
            // Hosts that the team keeps, by their label.
            0 => format!(
                "labels = {{ team = \"t{team}\" }}\nticket = \"(INC|CHG)-[0-9]{{4,}}\"\nreason_at_least = 10\napprove = [{stage}, {{ groups = [\"security\"] }}]"
            ),
            // Half of all hosts, of which a request names some.
            1 => format!(
                "labels = {{ env = \"prod\" }}\nticket = \"(INC|CHG)-[0-9]{{4,}}\"\nhours = {{ days = [\"mon-fri\"], from = \"08:00\", to = \"20:00\", zone = \"Europe/Berlin\" }}\nasked_from = [\"10.0.0.0/8\", \"2001:db8::/32\"]\napprove = {stage}"
            ),
            // By names and by labels.
            2 => format!(
                "hosts = [\"db-*\", \"*-{team}\"]\nlabels = {{ site = \"oslo\", team = [\"t{team}\", \"t{}\"] }}\nticket = \"required\"\nstart_within = \"7d\"\napprove = {stage}",
                (team + 1) % TEAMS
            ),
            // By names alone.
            _ => format!(
                "hosts = [\"web-{team:02}*\"]\nticket = \"OPS-[0-9]+\"\nreason_at_least = 20\napprove = [{{ groups = [\"leads-{team}\"], then = [{{ after = \"1h\", groups = [\"security\"] }}] }}]"
            ),
        };
        writeln!(text, "{rules}").unwrap();
    }
    text
}

/// The state of a server, and what time it is there.
struct Server {
    policy: Policy,
    state: State,
    seq: u64,
    now: Timestamp,
    rng: Rng,
}

#[derive(Default)]
struct Asked {
    times: Vec<f64>,
    explained: Vec<f64>,
    refused: usize,
}

impl Server {
    fn settled(policy: Policy, rng: Rng) -> Self {
        let now = "2026-11-30T08:00:00Z".parse().unwrap();
        let mut server = Self {
            policy,
            state: State::default(),
            seq: 0,
            now,
            rng,
        };
        for number in 0..USERS {
            let user = user(number);
            server.happened(&Actor::Administrator, Event::UserSet(user));
        }
        for number in 0..HOSTS {
            let host = host(number);
            server.happened(&Actor::Administrator, Event::HostEnrolled(host));
        }
        let mut made = 0;
        while made < HISTORY {
            let (actor, ask) = server.proper();
            if !server.does(&actor, Command::Ask(ask)) {
                continue;
            }
            made += 1;
            server.now += SignedDuration::from_secs(10);
            if made % UNDECIDED != 0 {
                server.decide_last();
            }
        }
        // As the server does after each write.
        server.state.forget_expired(server.now);
        server
    }

    /// Whoever may approves the last request, until it is granted.
    fn decide_last(&mut self) {
        let request = self.state.requests().next_back().unwrap();
        let (id, number) = (
            request.asked.request.clone(),
            role_number(&request.asked.role),
        );
        for approver in approvers(number) {
            let approve = Command::Approve {
                request: id.clone(),
                for_seconds: None,
                comment: None,
            };
            self.does(&approver, approve);
        }
    }

    fn measure_asking(&mut self) -> Asked {
        let mut asked = Asked::default();
        for number in 0..MEASURED {
            let (actor, ask) = if number % 2 == 0 {
                self.proper()
            } else {
                self.improper()
            };
            let wish = Wish {
                role: &ask.role,
                hosts: &ask.hosts,
                labels: &ask.labels,
                for_seconds: ask.for_seconds.unwrap_or_default(),
                not_before: None,
                ticket: ask.ticket.as_ref(),
                reason: Some(&ask.reason),
                origin: Some(ask.origin),
            };
            let Actor::Principal(principal) = &actor else {
                unreachable!("people ask")
            };
            asked.explained.push(
                microseconds(|| explain(&self.state, &self.policy, self.now, principal, &wish)).0,
            );
            let (time, came) = microseconds(|| {
                command(
                    &self.state,
                    &self.policy,
                    self.now,
                    &actor,
                    Command::Ask(ask),
                )
            });
            asked.times.push(time);
            asked.refused += usize::from(came.is_err());
        }
        asked
    }

    /// Approvals of what is undecided, by those whose stage is due.
    fn measure_approving(&self) -> Vec<f64> {
        let mut times = Vec::new();
        while times.len() < MEASURED {
            for request in self.state.pending() {
                let approve = Command::Approve {
                    request: request.asked.request.clone(),
                    for_seconds: None,
                    comment: None,
                };
                let approver = &approvers(role_number(&request.asked.role))[0];
                let (time, came) = microseconds(|| {
                    command(&self.state, &self.policy, self.now, approver, approve)
                });
                came.unwrap();
                times.push(time);
            }
        }
        times
    }

    /// Somebody who may asks for what he may have. Where the same is asked for already, it is refused all the same.
    fn proper(&mut self) -> (Actor, Ask) {
        let role = self.rng.usize(..ROLES);
        let team = role % TEAMS;
        // One in ten of each team leads it, and these approve.
        let asker = team + TEAMS * self.rng.usize(1..USERS / TEAMS);
        let named = |all: Vec<usize>, rng: &mut Rng| -> BTreeSet<_> {
            let count = rng.usize(1..=3);
            (0..count)
                .map(|_| host(all[rng.usize(..all.len())]).name)
                .collect()
        };
        let hosts = match role % 4 {
            // All of them, which the server finds, or some.
            0 if self.rng.bool() => BTreeSet::new(),
            0 => named(
                (0..HOSTS).filter(|n| n % TEAMS == team).collect(),
                &mut self.rng,
            ),
            1 => named((0..HOSTS).step_by(2).collect(), &mut self.rng),
            2 => BTreeSet::new(),
            _ if self.rng.bool() => BTreeSet::new(),
            _ => named(
                (0..HOSTS)
                    .filter(|n| {
                        host(*n)
                            .name
                            .as_str()
                            .starts_with(&format!("web-{team:02}"))
                    })
                    .collect(),
                &mut self.rng,
            ),
        };
        let ask = Ask {
            role: format!("role-{role}").parse().unwrap(),
            hosts,
            labels: Labelled::default(),
            for_seconds: Some(self.rng.u32(600..14_400)),
            reason: Reason::try_from("the disk of the database is full".to_owned()).unwrap(),
            ticket: Some(
                if role % 4 == 3 { "OPS-17" } else { "CHG-20441" }
                    .to_owned()
                    .try_into()
                    .unwrap(),
            ),
            not_before: None,
            origin: "10.1.2.3".parse().unwrap(),
        };
        (person(asker), ask)
    }

    /// The same with something in it that is against a rule.
    fn improper(&mut self) -> (Actor, Ask) {
        let (actor, mut ask) = self.proper();
        match self.rng.usize(..7) {
            0 => return (person(self.rng.usize(..USERS)), ask),
            1 => ask.for_seconds = Some(100_000),
            2 => ask.ticket = None,
            3 => ask.ticket = Some("x".repeat(200).try_into().unwrap()),
            4 => ask.hosts = BTreeSet::from(["db-none".parse().unwrap()]),
            5 => {
                ask.hosts = (0..64)
                    .map(|_| host(self.rng.usize(..HOSTS)).name)
                    .collect()
            }
            // All hosts of half the fleet: too many.
            _ => {
                ask.role = format!("role-{}", role_number(&ask.role) / 4 * 4 + 1)
                    .parse()
                    .unwrap();
                ask.hosts = BTreeSet::new();
                return (person(role_number(&ask.role) % TEAMS + TEAMS), ask);
            }
        }
        (actor, ask)
    }

    fn does(&mut self, actor: &Actor, wanted: Command) -> bool {
        let Ok(events) = command(&self.state, &self.policy, self.now, actor, wanted) else {
            return false;
        };
        for event in events {
            self.happened(&event.actor(actor), event);
        }
        true
    }

    fn happened(&mut self, actor: &Actor, event: Event) {
        self.seq += 1;
        let entry = Entry {
            via: None,
            seq: self.seq,
            at: self.now,
            actor: actor.clone(),
            event,
        };
        self.state.apply(&entry);
    }
}

fn microseconds<T>(act: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let done = act();
    (began.elapsed().as_secs_f64() * 1e6, done)
}

fn person(number: usize) -> Actor {
    Actor::Principal(name(number))
}

fn name(number: usize) -> Principal {
    format!("user-{number}").parse().unwrap()
}

/// The lead of the role's team, and then the head of security.
fn approvers(role: usize) -> [Actor; 2] {
    [
        person(role % TEAMS),
        person(usize::from(role.is_multiple_of(TEAMS))),
    ]
}

fn role_number(role: &jit_grant::RoleName) -> usize {
    role.as_str().trim_start_matches("role-").parse().unwrap()
}

fn user(number: usize) -> UserSet {
    let team = number % TEAMS;
    let mut groups = vec![format!("team-{team}"), "everybody".to_owned()];
    if number < TEAMS {
        groups.push(format!("leads-{team}"));
    }
    if number < 2 {
        groups.push("security".to_owned());
    }
    UserSet {
        groups: groups
            .into_iter()
            .map(|group| group.parse().unwrap())
            .collect(),
        ..UserSet::new(name(number), format!("user-{number}").parse().unwrap())
    }
}

fn host(number: usize) -> HostEnrolled {
    let tier = ["web", "db", "api", "queue"][number / TEAMS % 4];
    let labels = [
        ("env", ["prod", "test"][number % 2].to_owned()),
        ("tier", tier.to_owned()),
        (
            "site",
            ["berlin", "oslo", "paris", "rome", "wien"][number / 7 % 5].to_owned(),
        ),
        ("team", format!("t{}", number % TEAMS)),
    ];
    let labels: BTreeMap<_, _> = labels
        .into_iter()
        .map(|(key, value)| {
            (
                key.to_owned().try_into().unwrap(),
                value.try_into().unwrap(),
            )
        })
        .collect();
    HostEnrolled {
        name: format!("{tier}-{:02}-{}", number % TEAMS, number / TEAMS)
            .parse()
            .unwrap(),
        host_id: format!("h{number:032x}").parse().unwrap(),
        public_key: String::new(),
        labels,
        lapse_seconds: None,
        token: None,
        from: None,
    }
}
