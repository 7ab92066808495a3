//! How late the end of a session is: by jitd's own record, and as seen from outside where jitd is dead.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use jit_grant::Code;
use jit_tests::site::Site;
use jit_tests::wait::Deadline;
use serde_json::Value;

use crate::figures::{Figure, percentile};
use crate::guests::{self, Stay};
use crate::people::{AN_HOUR, GUESTS, People};

/// The grants end at random, so far from the first moment and within so long a time.
const SHORTEST: u64 = 10;
const WINDOW: u64 = 40;
/// The last guest's time, the grace, and some.
const OVER_WITHIN: u64 = SHORTEST + WINDOW + 20;
const FIRST_SIGNAL_GOAL_MS: f64 = 100.0;
const LAST_DEATH_GOAL_MS: f64 = 2500.0;

/// So many are in when jitd is killed.
const WITHOUT_JITD: usize = 20;
/// Long enough for them to be in before the first has to leave.
const SHORTEST_WITHOUT_JITD: u64 = 40;
const WINDOW_WITHOUT_JITD: u64 = 10;
const WITHOUT_JITD_GOAL_MS: f64 = 4000.0;

/// Seen from outside, deaths came up to 1.6 ms before the grant's last moment on a busy machine, while jitd's own time had reached it; why
/// the two differ is not known. By jitd's own time nothing may end early at all.
const CLOCKS_DIFFER_MS: f64 = 5.0;

/// It would be back in 200 ms; masked it is not.
const KILL: &str = "systemctl kill --signal=KILL jitd.service; systemctl mask --runtime --now --quiet jitd.service";

/// Every guest logs in under a grant of an hour; then a short one takes its place, and all wait to be thrown out.
pub(crate) fn lateness(site: &Site, people: &People<'_>) -> Result<Vec<Figure>> {
    let guests = guests::enter(site, people, GUESTS, |number| Stay {
        seconds: AN_HOUR,
        deaf: every_other(number),
    })?;
    let dice = RandomState::new();
    let mut expiries = Vec::with_capacity(GUESTS);
    for (number, guest) in guests.iter().enumerate() {
        let seconds = SHORTEST + dice.hash_one(number) % WINDOW;
        let request = people.ask(&guest.name, seconds)?;
        expiries.push(people.expiry(&people.approve("carol", &request)?)?);
        people.revoke(&guest.grant)?;
    }
    let deaths = guests::deaths(&guests, Deadline::seconds(OVER_WITHIN))?;
    late(&expiries, &deaths)?;
    site.wait_until_empty(Deadline::seconds(OVER_WITHIN))?;
    let mut signals = recorded(site, "session.ending", "first_signal_late_ms")?;
    let mut deaths = recorded(site, "session.ended", "last_death_late_ms")?;
    let note = format!("p99 of {GUESTS} sessions, by jitd's record; none ended early");
    Ok(vec![
        Figure::beside("expiry.first_signal", percentile(&mut signals, 99)?, "ms")
            .at_most(FIRST_SIGNAL_GOAL_MS)
            .note(note.clone()),
        Figure::beside("expiry.last_death", percentile(&mut deaths, 99)?, "ms")
            .at_most(LAST_DEATH_GOAL_MS)
            .note(note),
    ])
}

/// Guests are in; jitd is killed and stays away. What PID 1 does by itself is seen from outside.
pub(crate) fn without_jitd(site: &Site, people: &People<'_>) -> Result<Vec<Figure>> {
    let dice = RandomState::new();
    let guests = guests::enter(site, people, WITHOUT_JITD, |number| Stay {
        seconds: SHORTEST_WITHOUT_JITD + dice.hash_one(number) % WINDOW_WITHOUT_JITD,
        deaf: every_other(number),
    })?;
    let expiries = guests.iter().map(|guest| people.expiry(&guest.grant));
    let expiries: Vec<_> = expiries.collect::<Result<_>>()?;
    site.host.sh(KILL)?;
    let killed = guests::now();
    let deaths = guests::deaths(&guests, Deadline::seconds(OVER_WITHIN));
    site.mend_jitd()?;
    let deaths = deaths?;
    ensure!(
        expiries.iter().all(|expiry| *expiry > killed),
        "somebody's time was over before jitd was killed: this machine is too slow for it"
    );
    let mut late = late(&expiries, &deaths)?;
    let note = format!(
        "the latest of {WITHOUT_JITD} sessions, half of them deaf to signals, seen from outside"
    );
    Ok(vec![
        Figure::beside(
            "expiry.last_death_without_jitd",
            percentile(&mut late, 100)?,
            "ms",
        )
        .at_most(WITHOUT_JITD_GOAL_MS)
        .note(note),
    ])
}

/// Half of them must be killed.
fn every_other(number: usize) -> bool {
    number % 2 == 1
}

/// By how many milliseconds each death came after its grant's expiry. None may come before.
fn late(expiries: &[Timestamp], deaths: &[Timestamp]) -> Result<Vec<f64>> {
    let pairs = expiries.iter().zip(deaths);
    pairs
        .map(|(expiry, death)| {
            let late = death.duration_since(*expiry).as_secs_f64() * 1e3;
            ensure!(
                late >= -CLOCKS_DIFFER_MS,
                "a session ended early: at {death}, with a grant until {expiry}"
            );
            Ok(late)
        })
        .collect()
}

/// A field of all events of this kind that tell of an expiry.
fn recorded(site: &Site, kind: &str, field: &str) -> Result<Vec<f64>> {
    let script = format!(
        r#"grep -h -F '"kind":"{kind}"' /var/lib/jit/events/*.jsonl | grep -F '"code":"{}"'"#,
        Code::EndExpired.as_str()
    );
    let lines = site.host.sh(&script)?;
    let values = lines.lines().map(|line| {
        let value: Value = serde_json::from_str(line)?;
        let late = value["event"][field]
            .as_f64()
            .with_context(|| format!("{kind} without {field}: {line}"))?;
        ensure!(late >= 0.0, "a session ended early: {line}");
        Ok(late)
    });
    let values: Vec<f64> = values.collect::<Result<_>>()?;
    ensure!(
        values.len() == GUESTS,
        "{} of {GUESTS} sessions have a {kind} on record",
        values.len()
    );
    Ok(values)
}
