//! How late the end of a session is, by jitd's own record.

use anyhow::{Context, Result, ensure};
use jit_tests::site::Site;
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use serde_json::Value;

use crate::figures::{Figure, percentile};
use crate::people::{GUESTS, People, guest};

/// Long enough for all guests to be in before the first has to leave.
const SECONDS: u64 = 20;
/// The last guest's time, the grace, and some.
const OVER_WITHIN: u64 = SECONDS + 20;
const FIRST_SIGNAL_GOAL_MS: f64 = 100.0;
const LAST_DEATH_GOAL_MS: f64 = 2500.0;

/// Every guest gets a grant of his own and logs in with ssh; then all wait to be thrown out.
pub(crate) fn lateness(site: &Site, people: &People<'_>) -> Result<Vec<Figure>> {
    let mut sessions = Vec::with_capacity(GUESTS);
    for login in (0..GUESTS).map(guest) {
        let request = people.ask(&login, SECONDS)?;
        people.approve("carol", &request)?;
        sessions.push(
            Ssh::new(&site.host, "alice")
                .login(&login)
                .start("exec sleep 600")?,
        );
    }
    wait::eventually("all guests to be in", Deadline::seconds(SECONDS), || {
        let sessions = site.sessions()?;
        let logins = sessions.iter().filter(|held| held["kind"] == "login");
        Ok((logins.count() == GUESTS).then_some(()))
    })?;
    site.wait_until_empty(Deadline::seconds(OVER_WITHIN))?;
    drop(sessions);
    let mut signals = recorded(site, "session.ending", "first_signal_late_ms")?;
    let mut deaths = recorded(site, "session.ended", "last_death_late_ms")?;
    let note = format!("p99 of {GUESTS} sessions, by jitd's record");
    Ok(vec![
        Figure::beside("expiry.first_signal", percentile(&mut signals, 99)?, "ms")
            .at_most(FIRST_SIGNAL_GOAL_MS)
            .note(note.clone()),
        Figure::beside("expiry.last_death", percentile(&mut deaths, 99)?, "ms")
            .at_most(LAST_DEATH_GOAL_MS)
            .note(note),
    ])
}

/// A field of all events of this kind.
fn recorded(site: &Site, kind: &str, field: &str) -> Result<Vec<f64>> {
    let script = format!(r#"grep -h -F '"kind":"{kind}"' /var/lib/jit/events/*.jsonl"#);
    let lines = site.host.sh(&script)?;
    let values = lines.lines().map(|line| {
        let value: Value = serde_json::from_str(line)?;
        value["event"][field]
            .as_f64()
            .with_context(|| format!("{kind} without {field}: {line}"))
    });
    let values: Vec<f64> = values.collect::<Result<_>>()?;
    ensure!(
        values.len() == GUESTS,
        "{} of {GUESTS} sessions have a {kind} on record",
        values.len()
    );
    Ok(values)
}
