//! How long after an approval the login that it opens is possible.

use std::time::Instant;

use anyhow::Result;
use jit_tests::site::Site;

use crate::figures::{Figure, median, milliseconds, percentile};
use crate::people::People;
use crate::probe::{Login, Probe};

const TIMES: usize = 100;
const GOAL_MS: f64 = 250.0;

/// bob asks, carol approves; from the answer to her approval until jitd lets bob in. A thousand other grants are in the bundle.
pub(crate) fn to_login(site: &Site, people: &People<'_>) -> Result<Vec<Figure>> {
    let mut probe = Probe::start(&site.host, "bob")?;
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        probe.until(Login::Refused)?;
        let request = people.ask("bob", 600)?;
        let grant = people.approve("carol", &request)?;
        let approved = Instant::now();
        probe.until(Login::Allowed)?;
        times.push(milliseconds(approved.elapsed()));
        people.revoke(&grant)?;
    }
    let note = format!("p99 of {TIMES}, with 1,000 other grants in the bundle");
    Ok(vec![
        Figure::beside("pam.approval_to_login", percentile(&mut times, 99)?, "ms")
            .at_most(GOAL_MS)
            .note(note),
        Figure::beside("pam.approval_to_login_p50", median(&mut times)?, "ms"),
    ])
}
