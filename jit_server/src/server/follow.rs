//! What other servers on the same database did: taken in before anything is done here, and within a second in any case.
//!
//! A server that does not see the database can't know what was taken away meanwhile. Such a server says nothing to hosts that would let
//! anything open: no word, no bundle. Hosts go to another server, or close when what they
//! heard is too old for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jit_grant::HostId;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Server, Writer};
use crate::clock::since_boot;
use crate::error::Error;
use crate::event::{Entry, Event};
use crate::store::{Loaded, Place, StoreError, Turn};

/// So often it looks for what others did, whether or not the database tells of it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A server that has not seen the database for so long does not speak for it any more.
pub const CUT_OFF_AFTER: Duration = Duration::from_secs(5);

/// When the database was seen last.
#[derive(Debug)]
pub(super) struct Contact {
    /// By the boot clock, which goes on in suspend.
    seen: Mutex<Duration>,
    /// The last call found nobody.
    away: AtomicBool,
}

impl Default for Contact {
    fn default() -> Self {
        Self {
            seen: Mutex::new(since_boot()),
            away: AtomicBool::new(false),
        }
    }
}

impl Contact {
    /// It answered a question that was asked `then`.
    fn saw(&self, then: Duration) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = then.max(*seen);
        self.away.store(false, Ordering::Relaxed);
    }

    /// Whether it answered a question that was asked after `then`.
    fn was_asked_since(&self, then: Duration) -> bool {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) > then
    }

    fn is_cut_off(&self) -> bool {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        since_boot().saturating_sub(seen) > CUT_OFF_AFTER
    }
}

impl Server {
    /// Follows what other servers do, until this one stops. Returns at once where no other can write.
    pub async fn follow(self: Arc<Self>) {
        if self.store.is_shared() {
            tokio::join!(self.take_in_news(), self.watch_contact());
        }
    }

    /// Ends the hosts' streams when this server is cut off, so that they go to another one.
    async fn watch_contact(&self) {
        let mut stopping = self.stopping();
        loop {
            self.speaks.send_if_modified(|speaks| {
                let before = std::mem::replace(speaks, self.in_contact().is_ok());
                before != *speaks
            });
            tokio::select! {
                () = sleep(LOOK_AGAIN) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// Whether this server speaks to hosts, as of half a second ago.
    pub(crate) fn speaks(&self) -> watch::Receiver<bool> {
        self.speaks.subscribe()
    }

    async fn take_in_news(&self) {
        let mut stopping = self.stopping();
        loop {
            tokio::select! {
                () = self.store.told() => {}
                () = sleep(LOOK_AGAIN) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            let was_away = self.contact.away.load(Ordering::Relaxed);
            let mut writer = Arc::clone(&self.writer).lock_owned().await;
            match self.catch_up(&mut writer).await {
                Ok(()) if was_away => tracing::info!("the database answers again"),
                Err(error) if !was_away => tracing::error!("what others do is not seen: {error}"),
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Knows from here on whatever other servers did before this call: what somebody was told by one server he may act on at another.
    /// However many wait for this, the database is asked once for all of them: by the first, after the last of them came.
    ///
    /// # Errors
    /// Where the database can't be asked. Nothing could be changed now, and what is so is not known: a request made at another server a
    /// moment ago would not be there.
    pub async fn look_again(&self) -> Result<(), Error> {
        if !self.store.is_shared() {
            return Ok(());
        }
        if self.contact.away.load(Ordering::Relaxed) {
            return Err(Error::Away);
        }
        let came = since_boot();
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        // Whoever was before in the queue may have waited for the database in vain.
        if self.contact.away.load(Ordering::Relaxed) {
            return Err(Error::Away);
        }
        if self.over.borrow().is_none() && self.contact.was_asked_since(came) {
            return Ok(());
        }
        self.catch_up(&mut writer).await
    }

    /// Whether this server knows enough to speak to hosts.
    ///
    /// # Errors
    /// [`Error::CutOff`]; [`Error::Stopping`] where it must start anew.
    pub fn in_contact(&self) -> Result<(), Error> {
        if self.over.borrow().is_some() {
            return Err(Error::Stopping);
        }
        if self.store.is_shared() && self.contact.is_cut_off() {
            return Err(Error::CutOff(CUT_OFF_AFTER));
        }
        Ok(())
    }

    /// The right to write, with everything known that others wrote.
    pub(super) async fn turn(&self, writer: &mut Writer) -> Result<Turn, Error> {
        // While the database is away, calls fail at once instead of each waiting for it in turn. Following goes on and notices its return.
        if self.contact.away.load(Ordering::Relaxed) {
            return Err(Error::Away);
        }
        let turn = self.store.turn().await;
        let turn = turn.inspect_err(|error| self.failed(error))?;
        self.catch_up(writer).await?;
        Ok(turn)
    }

    /// Takes in what others wrote.
    pub(super) async fn catch_up(&self, writer: &mut Writer) -> Result<(), Error> {
        if self.over.borrow().is_some() {
            return Err(Error::Stopping);
        }
        let then = since_boot();
        let news = self.store.since(writer.place).await;
        let news = news.inspect_err(|error| self.failed(error))?;
        if let Some(news) = news {
            self.check_news(writer, &news)?;
            let Loaded {
                entries,
                revisions,
                place,
            } = news;
            if let Some(last) = entries.iter().map(|entry| entry.at).max() {
                self.clock.raise(last);
            }
            self.take_in(writer, &entries, &revisions, place);
            self.compare_policies(&entries);
            self.go_on_with_their_key()?;
        }
        self.contact.saw(then);
        Ok(())
    }

    /// An older copy was put back and went on while this server did not look: what it knows is not what the record has.
    fn check_news(&self, writer: &Writer, news: &Loaded) -> Result<(), Error> {
        let known = writer.place.last_seq;
        let restored = news.entries.iter().find_map(|entry| match &entry.event {
            Event::Restored(restored) if restored.copy_seq < known => Some(restored.copy_seq),
            _ => None,
        });
        let Some(found) = restored else {
            return Ok(());
        };
        let error = StoreError::WentBack { found, known };
        self.failed(&error);
        Err(error.into())
    }

    /// Says where another server goes by another policy: until the files are the same, what is allowed depends on which of them is asked.
    fn compare_policies(&self, entries: &[Entry]) {
        let theirs = entries.iter().rev().find_map(|entry| match &entry.event {
            Event::PolicyTaken { policy, .. } => Some(policy),
            _ => None,
        });
        let ours = &self.policy().hash;
        if let Some(theirs) = theirs.filter(|theirs| *theirs != ours) {
            tracing::warn!("another server goes by the policy {theirs}, this one by {ours}");
        }
    }

    /// Another server signs with the next key. Without it this one would sign what no host believes any more.
    fn go_on_with_their_key(&self) -> Result<(), Error> {
        let newest = self.look(|state| state.keys.newest());
        let Some(newest) = newest.filter(|newest| *newest != self.signer.public()) else {
            return Ok(());
        };
        if self.signer.go_on_to(newest) {
            return Ok(());
        }
        let why = "another server signs with the next key; copy its signing.key to this machine";
        self.end(why.to_owned());
        Err(Error::Setup(why.to_owned()))
    }

    /// The store did not do it. Until it is seen again, nobody else waits for it.
    pub(super) fn failed(&self, error: &StoreError) {
        match error {
            StoreError::WentBack { .. } => self.end(error.to_string()),
            _ if tells_of_absence(error) => self
                .contact
                .away
                .store(self.store.is_shared(), Ordering::Relaxed),
            _ => {}
        }
    }

    /// This server must start anew: what it holds in memory can't be mended.
    fn end(&self, why: String) {
        tracing::error!("this server must start anew: {why}");
        self.over.send_replace(Some(why));
    }

    /// Waits until this server must start anew; gives why.
    pub async fn must_start_anew(&self) -> String {
        let mut over = self.over.subscribe();
        let why = over.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// What is kept, by this server or another: to memory, and then to the world.
    pub(super) fn take_in(
        &self,
        writer: &mut Writer,
        entries: &[Entry],
        revisions: &[(HostId, u64)],
        place: Place,
    ) {
        self.mark.raise(place);
        {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            for entry in entries {
                known.state.apply(entry);
                if is_of_policy(&entry.event) {
                    writer.policy = Some(entry.event.clone());
                    self.go_by_record(&known.state);
                }
            }
            known.revisions.extend(revisions.iter().cloned());
            self.streams.keep_only(|host| {
                let listed = known.state.directory.host_by_id(host).is_some();
                listed || revisions.iter().any(|(touched, _)| touched == host)
            });
        }
        writer.place = place;
        for (host, revision) in revisions {
            self.streams.announce(host, *revision);
        }
        self.changes.send_replace(place.last_seq);
    }
}

/// Whether nobody may be there to keep anything. Not where another server was first, nor where this one could not say what was to be kept:
/// whatever that was, the next call is another.
fn tells_of_absence(error: &StoreError) -> bool {
    !matches!(
        error,
        StoreError::Overtaken | StoreError::Database(sqlx::Error::Encode(_))
    )
}

/// Whether it says which policy is in force.
pub(super) fn is_of_policy(event: &Event) -> bool {
    matches!(
        event,
        Event::PolicyTaken { .. } | Event::PolicyRefused { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_said_to_the_database_does_not_tell_that_it_is_away() {
        let encoding = StoreError::Database(sqlx::Error::Encode("too large".into()));
        for here in [encoding, StoreError::Overtaken] {
            assert!(!tells_of_absence(&here), "{here}");
        }
        let silent = StoreError::Silent(CUT_OFF_AFTER);
        let closed = StoreError::Database(sqlx::Error::PoolClosed);
        for away in [silent, closed, StoreError::Uncertain] {
            assert!(tells_of_absence(&away), "{away}");
        }
    }
}
