//! `make bench`: boots one host of this machine's release with the packages as built and measures there, then a server with 5,000 hosts
//! on loopback, then servers with their record in SQLite and in PostgreSQL, then the workflow by itself; prints a table and writes
//! target/bench/figures.json. It judges nothing but itself: it fails only where something could not be measured. `make bench PART=host`,
//! `PART=fleet`, `PART=records` or `PART=decide` measures one of them.
//!
//! | idea | file |
//! |---|---|
//! | a figure, its goal, the table, the JSON | `bench/figures.rs` |
//! | people who ask and approve, a thousand grants | `bench/people.rs` |
//! | PAM transactions beside other modules | `bench/pam.rs` |
//! | from an approval to a login | `bench/approval.rs`, `bench/probe.rs` |
//! | jitd's start and memory | `bench/daemon.rs` |
//! | jitd-sync's memory and wake-ups | `bench/sync.rs` |
//! | guests who log in and stay | `bench/guests.rs` |
//! | how late an end is, with jitd and without | `bench/expiry.rs` |
//! | from a revocation to the first signal | `bench/revocation.rs` |
//! | a server with 5,000 hosts | `bench/fleet.rs`, `bench/server.rs`, `bench/load.rs` |
//! | requests a second, from one server to another | `bench/records.rs` |
//! | requests, explanations and approvals, decided and not kept | `bench/decide.rs` |
#![forbid(unsafe_code)]

#[path = "../bench/approval.rs"]
mod approval;
#[path = "../bench/daemon.rs"]
mod daemon;
#[path = "../bench/decide.rs"]
mod decide;
#[path = "../bench/expiry.rs"]
mod expiry;
#[path = "../bench/figures.rs"]
mod figures;
#[path = "../bench/fleet.rs"]
mod fleet;
#[path = "../bench/guests.rs"]
mod guests;
#[path = "../bench/load.rs"]
mod load;
#[path = "../bench/pam.rs"]
mod pam;
#[path = "../bench/people.rs"]
mod people;
#[path = "../../../jit_server/tests/common/postgres.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it is made for tests, which use the rest"
)]
mod postgres;
#[path = "../bench/probe.rs"]
mod probe;
#[path = "../bench/records.rs"]
mod records;
#[path = "../bench/revocation.rs"]
mod revocation;
#[path = "../bench/server.rs"]
mod server;
#[path = "../bench/sync.rs"]
mod sync;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use jit_tests::image::Release;
use jit_tests::machine;
use jit_tests::site::Site;

use figures::Figure;
use people::People;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => bench(|| {
            let mut figures = host_figures(Release::of_this_machine())?;
            figures.extend(fleet::figures()?);
            figures.extend(records::figures()?);
            figures.extend(decide::figures()?);
            Ok(figures)
        }),
        ["host"] => bench(|| host_figures(Release::of_this_machine())),
        ["host", "bookworm"] => bench(|| host_figures(Release::Bookworm)),
        ["host", "trixie"] => bench(|| host_figures(Release::Trixie)),
        ["fleet"] => bench(fleet::figures),
        ["records"] => bench(records::figures),
        ["decide"] => bench(decide::figures),
        // How it starts itself inside the host.
        ["probe", socket, login] => probe::answer(socket, login),
        _ => Err(anyhow::anyhow!(
            "usage: bench [host [bookworm|trixie] | fleet | records | decide]"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "bench: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn bench(measure: impl FnOnce() -> Result<Vec<Figure>>) -> Result<()> {
    let figures = measure()?;
    print(&figures::table(&figures));
    let file = figures::write(&machine::target().join("bench"), &figures)?;
    print(&format!("Also in {}", file.display()));
    Ok(())
}

fn host_figures(release: Release) -> Result<Vec<Figure>> {
    let timing = step("Building what times PAM transactions", pam::build)?;
    let site = step(
        &format!("Booting a {} host, enforcing", release.name()),
        || Site::enforcing(release),
    )?;
    let people = People::settle(&site.host)?;
    step("Asking for and approving 1,000 grants", || {
        people.fill(&site)
    })?;
    let mut figures = step("Timing PAM transactions", || pam::account(&site, &timing))?;
    figures.extend(step("Restarting jitd", || daemon::start(&site))?);
    figures.extend(step("Approving 100 requests", || {
        approval::to_login(&site, &people)
    })?);
    figures.extend(step("Letting 200 sessions expire", || {
        expiry::lateness(&site, &people)
    })?);
    figures.extend(step("Revoking the grants of 100 sessions", || {
        revocation::to_first_signal(&site, &people)
    })?);
    figures.extend(step("Watching jitd do nothing", || {
        daemon::idle_wakeups(&site)
    })?);
    figures.extend(step("Watching jitd-sync wait", || sync::figures(&site))?);
    // By now jitd has taken more than a thousand bundles and has done all that it does.
    figures.extend(daemon::memory(&site)?);
    // After that, since it is another jitd that comes back.
    figures.extend(step("Letting 20 sessions expire without jitd", || {
        expiry::without_jitd(&site, &people)
    })?);
    if !people.all_in_force(&site)? {
        bail!(
            "some of the 1,000 grants ended while it was measured: this machine is too slow for it"
        );
    }
    Ok(figures)
}

fn step<T>(what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let done = act()?;
    print(&format!("{what} … {:.1?}", began.elapsed()));
    Ok(done)
}

fn print(text: &str) {
    // Nobody listening is no reason to fail.
    writeln!(io::stdout(), "{text}").ok();
}
