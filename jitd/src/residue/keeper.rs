//! The task that looks, compares and writes down: one look and one search at a time, however many elevations come and go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};

use super::ledger::{Ledger, Left, Whose};
use super::setid::{self, Found};
use super::snapshot::Snapshot;
use super::store::Store;
use super::{Asked, look, note};
use crate::clock::Clock;
use crate::record::Record;

/// Ends that come so close together share one look.
const TOGETHER: Duration = Duration::from_millis(250);
/// A look that takes longer has failed.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// A search takes at most a twentieth of one processor.
const REST: u32 = 20;
/// And yet the next begins so long after the last at the latest.
const LONGEST_REST: Duration = Duration::from_secs(900);
/// Elevations that wait for a search. Where there are more, the oldest go without.
const MOST_WAITING: usize = 1000;

pub(super) struct Keeper {
    pub(super) inbox: UnboundedReceiver<Asked>,
    pub(super) ledger: Ledger,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) record: Arc<Record>,
    looking: Option<JoinHandle<Snapshot>>,
    look_at: Option<Instant>,
    search: Option<Search>,
    search_from: Instant,
}

struct Search {
    of: BTreeSet<String>,
    began: Instant,
    found: oneshot::Receiver<Found>,
}

impl Keeper {
    pub(super) fn new(
        inbox: UnboundedReceiver<Asked>,
        store: Store,
        clock: Clock,
        record: Arc<Record>,
    ) -> Self {
        Self {
            inbox,
            ledger: store.load(),
            store,
            clock,
            record,
            looking: None,
            look_at: None,
            search: None,
            search_from: Instant::now(),
        }
    }

    /// For as long as jitd runs.
    pub(super) async fn keep(mut self) {
        loop {
            let search_at = self.ledger.to_scan().map(|_| self.search_from);
            let search_at = search_at.filter(|_| self.search.is_none());
            tokio::select! {
                asked = self.inbox.recv() => match asked {
                    Some(asked) => self.take(asked).await,
                    None => return,
                },
                () = at(self.look_at) => {
                    let looked = self.look().await;
                    self.tell(looked);
                }
                found = found(&mut self.search) => self.searched(found),
                () = at(search_at) => self.begin_search(),
            }
        }
    }

    /// All that has been asked until now: one look does for all of it.
    async fn take(&mut self, first: Asked) {
        let mut asked = vec![first];
        while let Ok(more) = self.inbox.try_recv() {
            asked.push(more);
        }
        let (openings, rest): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .partition(|asked| matches!(asked, Asked::Opening(..)));
        let elevates =
            |asked: &Asked| matches!(asked, Asked::Opening(whose, _) if !whose.is_login());
        let looked = if openings.iter().any(elevates) {
            Some(self.look().await)
        } else {
            None
        };
        for opening in openings {
            if let Asked::Opening(whose, done) = opening {
                self.open(whose, done, looked == Some(true));
            }
        }
        for asked in rest {
            match asked {
                Asked::Opening(..) => {}
                Asked::LetIn(id, in_time) => self.ledger.let_in(&id, in_time),
                Asked::Ended(id) => drop(self.ledger.end(&id, self.clock.wall())),
                Asked::Open(open) => self.ledger.end_others(&open, self.clock.wall()),
            }
        }
        self.close_oldest();
        self.store.save_windows(&self.ledger);
        match looked {
            Some(looked) => self.tell(looked),
            None if self.ledger.waits_for_a_look() => {
                self.look_at
                    .get_or_insert_with(|| Instant::now() + TOGETHER);
            }
            None => {}
        }
    }

    fn open(&mut self, whose: Whose, done: oneshot::Sender<()>, looked: bool) {
        self.ledger.open(whose, self.clock.wall(), looked);
        // Who does not wait any more says so himself.
        let _ = done.send(());
    }

    /// True where there is a new snapshot, begun after this was called.
    async fn look(&mut self) -> bool {
        self.look_at = None;
        // One that hung began too early, and there is never a second beside it.
        if let Some(mut hung) = self.looking.take()
            && timeout(LONGEST_LOOK, &mut hung).await.is_err()
        {
            self.looking = Some(hung);
            return false;
        }
        let mut looking = spawn_blocking(look::look);
        match timeout(LONGEST_LOOK, &mut looking).await {
            Ok(Ok(snapshot)) => {
                if self.ledger.saw(snapshot) {
                    self.store.save_seen(&self.ledger);
                }
                true
            }
            Ok(Err(_)) => false,
            Err(_) => {
                self.looking = Some(looking);
                false
            }
        }
    }

    fn tell(&mut self, looked: bool) {
        let told = self.ledger.compare_ended(looked);
        if told.is_empty() {
            return;
        }
        for (window, left) in told {
            note::write(&self.record, &window, left);
        }
        self.close_oldest();
        self.store.save_windows(&self.ledger);
    }

    /// Of more than may wait for a search: nobody looked.
    fn close_oldest(&mut self) {
        for window in self.ledger.close_beyond(MOST_WAITING) {
            note::write(&self.record, &window, Left::unknown());
        }
    }

    fn begin_search(&mut self) {
        let Some((since, of)) = self.ledger.to_scan() else {
            return;
        };
        let (tell, found) = oneshot::channel();
        let searching = std::thread::Builder::new().name("search".to_owned());
        let began = searching.spawn(move || drop(tell.send(setid::search(since))));
        if let Err(error) = began {
            tracing::warn!("no thread to search for setuid files: {error}");
        }
        // Without a thread the other end is gone: that is a search that found nothing and was not whole.
        let began = Instant::now();
        self.search = Some(Search { of, began, found });
    }

    fn searched(&mut self, found: Found) {
        let Some(search) = self.search.take() else {
            return;
        };
        let rest = search
            .began
            .elapsed()
            .saturating_mul(REST)
            .min(LONGEST_REST);
        self.search_from = Instant::now() + rest;
        for id in search.of {
            let Some(window) = self.ledger.close(&id) else {
                continue;
            };
            let programs = found
                .programs
                .iter()
                .filter(|program| window.holds(program.at, program.made))
                .filter(|program| window.looks_for(program.runs_as));
            let left = Left {
                items: programs.map(|program| program.item.clone()).collect(),
                complete: found.whole,
            };
            note::write(&self.record, &window, left);
        }
        self.store.save_windows(&self.ledger);
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// What the search found, once there is one and it has.
async fn found(search: &mut Option<Search>) -> Found {
    match search {
        Some(search) => (&mut search.found).await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[tokio::test]
    async fn where_there_are_only_logins_no_more_wait_for_a_search_than_may() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::start(None);
        let (events, log) = (folder.path().join("events"), folder.path().join("log"));
        let record = Record::open(&events, &log, clock.clone()).unwrap();
        let (sender, inbox) = unbounded_channel();
        let store = Store::open(folder.path()).unwrap();
        let mut keeper = Keeper::new(inbox, store, clock, record);
        for number in 0..=MOST_WAITING {
            let whose = Whose {
                id: format!("l{number}"),
                login: "ann".to_owned(),
                principal: None,
                grant: None,
                gids: [4].into(),
            };
            let (done, _) = oneshot::channel();
            for asked in [
                Asked::Opening(whose, done),
                Asked::LetIn(format!("l{number}"), true),
                Asked::Ended(format!("l{number}")),
            ] {
                sender.send(asked).unwrap();
            }
        }
        let first = keeper.inbox.recv().await.unwrap();
        keeper.take(first).await;
        assert_eq!(keeper.ledger.windows.len(), MOST_WAITING);
    }
}
