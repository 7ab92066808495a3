//! Guests: each has a grant of his own, logs in with ssh and stays until he is thrown out.

use std::collections::HashMap;
use std::fs;
use std::thread;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use jit_tests::run::Running;
use jit_tests::site::Site;
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline, Process};

use crate::people::{People, guest};
use crate::probe::{Login, Probe};

/// As many log in at a time: sshd and systemd have a processor's work with each.
const AT_A_TIME: usize = 4;
/// A login takes tenths of a second; on a busy machine longer.
const IN_WITHIN_S: u64 = 30;

/// How one of them comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) seconds: u64,
    /// Ignores every signal that can be.
    pub(crate) deaf: bool,
}

/// Somebody who is in.
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) grant: String,
    /// What he runs; the last of his session to die.
    pub(crate) runs: Process,
    /// The client at his end.
    pub(crate) client: Running,
}

/// Has the first `count` guests granted what `stay` says of each, and all of them in.
pub(crate) fn enter(
    site: &Site,
    people: &People<'_>,
    count: usize,
    stay: impl Fn(usize) -> Stay,
) -> Result<Vec<Guest>> {
    let mut granted = Vec::with_capacity(count);
    for number in 0..count {
        let (name, Stay { seconds, deaf }) = (guest(number), stay(number));
        let grant = people.approve("carol", &people.ask(&name, seconds)?)?;
        granted.push((number, name, grant, deaf));
    }
    // Whoever has the last of them has all.
    Probe::start(&site.host, &guest(count - 1))?.until(Login::Allowed)?;
    let share = count.div_ceil(AT_A_TIME);
    let clients = at_once(granted.chunks(share), |some| {
        let come = |(number, name, _, deaf): &(usize, String, String, bool)| {
            come(site, *number, name, *deaf)
        };
        some.iter().map(come).collect::<Result<Vec<_>>>()
    })?;
    let mut sleeps = wait::eventually("all guests to run", Deadline::seconds(5), || {
        let sleeps = running_sleeps()?;
        let all = (0..count).all(|number| sleeps.contains_key(&sleep(number)));
        Ok(all.then_some(sleeps))
    })?;
    let clients = clients.into_iter().flatten();
    let guests = granted.into_iter().zip(clients);
    guests
        .map(|((number, name, grant, _), client)| {
            let pid = sleeps.remove(&sleep(number)).context("it is gone")?;
            let runs = Process::open(pid).with_context(|| format!("{name} left early"))?;
            Ok(Guest {
                name,
                grant,
                runs,
                client,
            })
        })
        .collect()
}

/// Waits until all are gone; gives when each of them died, by the machine's clock.
pub(crate) fn deaths(guests: &[Guest], deadline: Deadline) -> Result<Vec<Timestamp>> {
    at_once(guests, |guest| {
        let gone = guest.runs.ended(deadline)?;
        gone.then(now)
            .with_context(|| format!("{} is still in", guest.name))
    })
}

/// The clock of this machine, which is that of its hosts too.
#[expect(
    clippy::disallowed_methods,
    reason = "hosts' grants end by the machine's clock: the one place here that reads it"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Does it with each of them on a thread of its own.
fn at_once<T: Send, R: Send>(
    all: impl IntoIterator<Item = T>,
    act: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let act = &act;
    thread::scope(|scope| {
        let threads = all.into_iter().map(|one| scope.spawn(move || act(one)));
        let threads: Vec<_> = threads.collect();
        let done = threads.into_iter().map(|thread| {
            let done = thread.join();
            done.unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
        });
        done.collect()
    })
}

fn come(site: &Site, number: usize, name: &str, deaf: bool) -> Result<Running> {
    let deaf = if deaf { "trap '' TERM HUP; " } else { "" };
    let command = format!("{deaf}echo is in; exec sleep {}", sleep(number));
    let client = Ssh::new(&site.host, "alice").login(name).start(&command)?;
    client.says("is in", Deadline::seconds(IN_WITHIN_S))?;
    Ok(client)
}

/// For how long a guest means to sleep: known by it from all else on this machine.
fn sleep(number: usize) -> String {
    format!("3600.{}{number:03}", std::process::id())
}

/// The processes of this machine and all hosts on it that sleep, by for how long.
fn running_sleeps() -> Result<HashMap<String, u32>> {
    let mut sleeps = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ended meanwhile is none of them.
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if let Some(time) = words.strip_prefix("sleep\0") {
            sleeps.insert(time.trim_end_matches('\0').to_owned(), pid);
        }
    }
    Ok(sleeps)
}
