//! How long the server's workflow thinks about what somebody wants, with nothing read and nothing kept: `jit_server/benches/decide.rs`
//! says of what policy, fleet and history.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::figures::{Figure, median, percentile};
use crate::step;

const GOAL_US: f64 = 200.0;

/// What the program tells. Times are in microseconds.
#[derive(Deserialize)]
struct Told {
    roles: usize,
    rules: usize,
    hosts: usize,
    users: usize,
    history: usize,
    ask: Vec<f64>,
    refused: usize,
    explain: Vec<f64>,
    approve: Vec<f64>,
}

/// All that is measured of it.
pub(crate) fn figures() -> Result<Vec<Figure>> {
    let mut told = step("Deciding requests of 1,000 people", run)?;
    let asked = told.ask.len();
    let note = format!(
        "p99 of {asked} requests, {} of them refused; {} roles, {} rules, {} hosts, {} people, {} requests before",
        told.refused, told.roles, told.rules, told.hosts, told.users, told.history
    );
    let explain = "p99 of the same, as `policy explain` asks about them";
    Ok(vec![
        Figure::beside("server.decide", percentile(&mut told.ask, 99)?, "us")
            .at_most(GOAL_US)
            .note(note),
        Figure::beside("server.decide_p50", median(&mut told.ask)?, "us"),
        Figure::beside(
            "server.decide_explain",
            percentile(&mut told.explain, 99)?,
            "us",
        )
        .note(explain),
        Figure::beside(
            "server.decide_approval",
            percentile(&mut told.approve, 99)?,
            "us",
        )
        .note(format!("p99 of {} approvals", told.approve.len())),
    ])
}

fn run() -> Result<Told> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = "bench --quiet --locked -p jit_server --bench decide";
    let done = Command::new(cargo)
        .args(arguments.split(' '))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    ensure!(done.status.success(), "cargo {arguments}: {}", done.status);
    serde_json::from_slice(&done.stdout).context("reading what it measured")
}
