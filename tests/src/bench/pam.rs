//! What pam_jit adds to a PAM transaction's account phase, beside other modules and a bare Unix socket, all in one run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use jit_tests::machine;
use jit_tests::site::Site;
use serde::Deserialize;

use crate::figures::{Figure, median};

/// Two kinds of round take turns, so that noise hits all alike; within a round all modules do.
const ROUNDS: usize = 25;
const TRANSACTIONS_A_ROUND: &str = "60";
/// pam_jit may add so many times what a bare connect, round trip and close costs.
const GOAL_TIMES_BARE: f64 = 3.0;
/// Where the timing program is put.
const INSIDE: &str = "/usr/local/libexec/pam_transactions";

/// Builds pam_jit's example `pam_transactions`; gives the program.
pub(crate) fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = "build --quiet --release --locked -p pam_jit --example pam_transactions";
    let status = Command::new(cargo)
        .args(arguments.split(' '))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "cargo {arguments}: {status}");
    Ok(machine::target().join("release/examples/pam_transactions"))
}

/// Times whole transactions inside the host about alice, who has a grant, with `program`.
pub(crate) fn account(site: &Site, program: &Path) -> Result<Vec<Figure>> {
    let bytes = std::fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    site.host.write(INSIDE, "0755", bytes)?;
    let module = site
        .host
        .sh("dpkg-query --listfiles jitd | grep /pam_jit.so$")?;
    let module = module.trim();
    let (mut jitd, mut quickest) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        jitd.add(&run(
            site,
            &[module, TRANSACTIONS_A_ROUND, "/run/jit/pam.sock", "alice"],
        )?);
        quickest.add(&run(site, &[module, TRANSACTIONS_A_ROUND])?);
    }
    figures(&jitd, &quickest)
}

/// `jitd` answered in one kind of round, the quickest answerer there can be in the other.
fn figures(jitd: &Times, quickest: &Times) -> Result<Vec<Figure>> {
    let bare = quickest.median("bare_socket")?;
    let permit = jitd.median("pam_permit")?;
    let added = jitd.median_over("pam_jit", "pam_permit")?;
    let account = Figure::beside("pam.account", added, "us")
        .at_most(GOAL_TIMES_BARE * bare)
        .note(format!(
            "{:.1} times pam.bare_socket (goal: {GOAL_TIMES_BARE}); a transaction with pam_jit over one with pam_permit",
            added / bare
        ));
    let without_jitd = quickest.median_over("pam_jit", "pam_permit")?;
    let one_more = jitd.median_over("pam_jit_and_pam_permit", "pam_permit")?;
    let mut figures = vec![
        account,
        Figure::beside("pam.bare_socket", bare, "us")
            .note("connect, round trip and close, with a peer that does nothing else"),
        Figure::beside("pam.account_without_jitd", without_jitd, "us")
            .note("as pam.account, with that peer in jitd's place"),
        Figure::beside("pam.jitd_round_trip", jitd.median("bare_socket")?, "us")
            .note("as pam.bare_socket, with jitd deciding and recording"),
        Figure::beside("pam.account_one_more", one_more, "us")
            .note("a transaction with pam_jit and pam_permit over one with pam_permit"),
        Figure::beside("pam.permit", permit, "us").note("whole transaction: start, account, end"),
    ];
    for (name, subject) in [
        ("pam.access", "pam_access"),
        ("pam.unix", "pam_unix"),
        ("pam.exec_true", "pam_exec"),
    ] {
        let time = jitd.median(subject)?;
        figures.push(
            Figure::beside(name, time, "us").note(format!("{:.0} over pam.permit", time - permit)),
        );
    }
    Ok(figures)
}

/// A line of the program's.
#[derive(Deserialize)]
struct Timed {
    name: String,
    median_ns: f64,
}

fn run(site: &Site, arguments: &[&str]) -> Result<Vec<Timed>> {
    let text = site
        .host
        .command(&[INSIDE])
        .words(arguments.iter().copied())
        .text()?;
    let lines = text.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .with_context(|| format!("not understood: {text}"))
}

/// Microseconds by subject, one a round.
#[derive(Default)]
struct Times(HashMap<String, Vec<f64>>);

impl Times {
    fn add(&mut self, round: &[Timed]) {
        for Timed { name, median_ns } in round {
            self.0
                .entry(name.clone())
                .or_default()
                .push(median_ns / 1e3);
        }
    }

    fn of(&self, subject: &str) -> Result<&[f64]> {
        let times = self.0.get(subject);
        Ok(times.with_context(|| format!("{subject} was not timed"))?)
    }

    fn median(&self, subject: &str) -> Result<f64> {
        median(&mut self.of(subject)?.to_vec())
    }

    /// By how much `subject` takes longer than `other`, round by round.
    fn median_over(&self, subject: &str, other: &str) -> Result<f64> {
        let pairs = self.of(subject)?.iter().zip(self.of(other)?);
        median(&mut pairs.map(|(one, other)| one - other).collect::<Vec<_>>())
    }
}
