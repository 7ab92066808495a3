//! How long after a revocation at the server the session under it gets its first signal.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use jit_tests::site::Site;
use jit_tests::wait::Deadline;

use crate::figures::{Figure, median, milliseconds, percentile};
use crate::guests::{self, Guest, Stay};
use crate::people::{AN_HOUR, People};

const TIMES: usize = 100;
const GOAL_MS: f64 = 300.0;
const WITHIN_S: u64 = 10;

/// The administrator takes the guests' grants back, one after the other. What a guest runs dies of the first signal, which is what is
/// seen from outside.
pub(crate) fn to_first_signal(site: &Site, people: &People<'_>) -> Result<Vec<Figure>> {
    let guests = guests::enter(site, people, TIMES, |_| Stay {
        seconds: AN_HOUR,
        deaf: false,
    })?;
    let mut times = Vec::with_capacity(TIMES);
    for guest in &guests {
        times.push(revoked(people, guest)?);
    }
    site.wait_until_empty(Deadline::seconds(WITHIN_S))?;
    let note = format!(
        "p99 of {TIMES}, from asking the server to a death by that signal; 1,000 other grants in the bundle"
    );
    Ok(vec![
        Figure::beside("expiry.revocation", percentile(&mut times, 99)?, "ms")
            .at_most(GOAL_MS)
            .note(note),
        Figure::beside("expiry.revocation_p50", median(&mut times)?, "ms"),
    ])
}

fn revoked(people: &People<'_>, guest: &Guest) -> Result<f64> {
    let died = thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let died = guest.runs.ended(Deadline::seconds(WITHIN_S))?;
            died.then(Instant::now)
                .with_context(|| format!("{} is still in", guest.name))
        });
        let began = Instant::now();
        people.revoke(&guest.grant)?;
        let died = watched
            .join()
            .unwrap_or_else(|_| Err(anyhow!("a thread panicked")))?;
        // A death before would be another's doing.
        let time = died.checked_duration_since(began);
        time.with_context(|| format!("{} left before", guest.name))
    })?;
    ensure!(
        guest.client.ended(Deadline::seconds(WITHIN_S))?,
        "{}'s client is still connected",
        guest.name
    );
    Ok(milliseconds(died))
}
