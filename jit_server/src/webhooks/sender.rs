//! One endpoint: it is told what happens, in order, each thing until it has it. Nothing that another endpoint does delays it.
//!
//! An event is done with when it was taken, given up, or is not one that the endpoint is told of; only then is that written down. So
//! whatever happens in between, it is sent at least once, under the same id.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::held::Due;
use super::message::{Message, Told};
use super::place::{Dead, Folder, Gone, Place, Trying};
use super::receiver::{Answer, Receiver};
use super::record::Record;
use super::settings::EndpointName;
use crate::clock::Clock;
use crate::error::Error;

/// How long is waited, and for what.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Before each further try of a message; the last one again and again.
    pub(super) tries: Vec<Duration>,
    /// A message that was tried for so long is given up.
    pub(super) give_up: SignedDuration,
    /// The record is asked again after so long where nothing happens.
    pub(super) poll: Duration,
    /// The record is asked again where it could not be read: first, and at last.
    pub(super) away: (Duration, Duration),
}

impl Default for Pace {
    /// As Standard Webhooks advises: from seconds to hours, for a day.
    fn default() -> Self {
        let seconds = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400];
        Self {
            tries: seconds.map(Duration::from_secs).to_vec(),
            give_up: SignedDuration::from_hours(24),
            poll: Duration::from_secs(20),
            away: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

/// Events of one answer.
const PAGE: u32 = 200;
/// So long after an instant everything that happened before it is in the record.
const SETTLED: SignedDuration = SignedDuration::from_secs(2);

/// Who an endpoint is and what it wants.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: EndpointName,
    pub(super) url: String,
    pub(super) events: BTreeSet<String>,
}

/// Tells one endpoint.
pub(super) struct Sender<S, R> {
    wanted: Wanted,
    record: S,
    receiver: R,
    clock: Box<dyn Clock>,
    pace: Pace,
    folder: Folder,
    place: Place,
    /// The place as it is on disk.
    kept: Place,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It was taken, or nothing was to be told.
    Through,
    /// It was given up, and is a dead letter.
    GivenUp,
    /// The endpoint wants nothing any more.
    Gone,
}

impl<S: Record, R: Receiver> Sender<S, R> {
    /// Goes on from where it was.
    ///
    /// # Errors
    /// Where that can't be read.
    pub(super) fn new(
        wanted: Wanted,
        record: S,
        receiver: R,
        clock: Box<dyn Clock>,
        pace: Pace,
        folder: Folder,
    ) -> Result<Self, Error> {
        let kept = folder.place(&wanted.name)?;
        let mut place = kept.unwrap_or_else(|| Place::beginning(clock.now()));
        // An administrator who names another URL means that it be called.
        place.gone = place.gone.filter(|gone| gone.url == wanted.url);
        folder.keep(&wanted.name, &place)?;
        Ok(Self {
            wanted,
            record,
            receiver,
            clock,
            pace,
            folder,
            kept: place.clone(),
            place,
        })
    }

    /// Runs for ever.
    ///
    /// # Errors
    /// Where what was done can't be written down: then it would be done again and again.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        let name = self.wanted.name.clone();
        let mut away = self.pace.away.0;
        let mut told = None;
        if let Some(gone) = &self.place.gone {
            tracing::error!(
                "{name} is not called: it said at {:.0} that it is gone; `jit-server webhooks --again {name}` calls it again",
                gone.at
            );
        }
        loop {
            self.send_again().await?;
            if self.place.gone.is_some() {
                sleep(self.pace.poll).await;
                continue;
            }
            match self.step().await {
                Ok(()) => {
                    if told.take().is_some() {
                        tracing::info!("{name}: the record is read again");
                    }
                    away = self.pace.away.0;
                }
                Err(Stopped::Disk(error)) => return Err(error),
                Err(Stopped::Record(error)) => {
                    let why = error.to_string();
                    if told.as_ref() != Some(&why) {
                        tracing::error!(
                            "{name} is told nothing until the record can be read, which is tried on and on: {why}"
                        );
                        told = Some(why);
                    }
                    sleep(jittered(away)).await;
                    away = (away * 2).min(self.pace.away.1);
                }
            }
        }
    }

    /// Reads on in the record, and tells what there is.
    async fn step(&mut self) -> Result<(), Stopped> {
        let (asked, wait) = (self.clock.now(), self.patience());
        let page = self.record.read(self.place.after, PAGE, wait).await;
        let page = page.map_err(Stopped::Record)?;
        if !self.follows().await? {
            let name = &self.wanted.name;
            tracing::error!(
                "{name}: the record is another one than it was, as after an older copy was put back; what happened since is told"
            );
            self.place = self.place.again();
            return Ok(self.keep()?);
        }
        for told in &page.events {
            if self.event(told).await? == Outcome::Gone {
                return Ok(());
            }
        }
        match page.next {
            Some(next) if page.events.is_empty() => {
                (self.place.after, self.place.at) = (next, None);
            }
            Some(_) => {}
            None => {
                // Whatever happened before that is in the record as it was asked for.
                let settled = asked.checked_sub(SETTLED).unwrap_or(Timestamp::MIN);
                if self.due_until(settled.max(self.place.seen)).await? == Outcome::Gone {
                    return Ok(());
                }
            }
        }
        Ok(self.keep()?)
    }

    /// True where the last event done with is still where it was.
    async fn follows(&self) -> Result<bool, Stopped> {
        let (Some(before), Some(at)) = (self.place.after.checked_sub(1), self.place.at) else {
            return Ok(true);
        };
        let page = self.record.read(before, 1, Duration::ZERO).await;
        let page = page.map_err(Stopped::Record)?;
        let found = page.events.first();
        Ok(found.is_some_and(|told| told.seq == self.place.after && told.at == at))
    }

    /// Until the next start or end of a grant, or an administrator's wish has to be looked for.
    fn patience(&self) -> Duration {
        let next = self.place.held.next().map(|due| due.at);
        let next = next.and_then(|at| at.checked_add(SETTLED).ok());
        let left = next.map(|at| at.duration_since(self.clock.now()));
        // In whole seconds, as the API takes it, and not before the instant.
        let left = left.map(|left| match u64::try_from(left.as_secs()) {
            Ok(seconds) if left.is_positive() => Duration::from_secs(seconds + 1),
            _ => Duration::ZERO,
        });
        left.map_or(self.pace.poll, |left| left.min(self.pace.poll))
    }

    /// Tells of `told` where the endpoint is told of it, after what was due before.
    async fn event(&mut self, told: &Told) -> Result<Outcome, Error> {
        if told.is_own() && self.due_until(told.at).await? == Outcome::Gone {
            return Ok(Outcome::Gone);
        }
        let wanted = told.is_own() && told.names().any(|name| self.wants(name, told.at));
        if wanted {
            let message = Message::of_event(self.wanted.name.as_str(), told);
            if self.deliver(&message).await? == Outcome::Gone {
                return Ok(Outcome::Gone);
            }
        }
        if let Some(event) = told.own() {
            self.place.held.take(&event);
        }
        if told.is_own() {
            self.place.seen = self.place.seen.max(told.at);
        }
        (self.place.after, self.place.at) = (told.seq, Some(told.at));
        if wanted {
            self.keep()?;
        }
        Ok(Outcome::Through)
    }

    /// Tells what starts and expires up to `until`.
    async fn due_until(&mut self, until: Timestamp) -> Result<Outcome, Error> {
        while let Some(due) = self.place.held.next().filter(|due| due.at <= until) {
            if self.due(&due).await? == Outcome::Gone {
                return Ok(Outcome::Gone);
            }
        }
        Ok(Outcome::Through)
    }

    async fn due(&mut self, due: &Due) -> Result<Outcome, Error> {
        let wanted = self.wants(due.kind, due.at);
        if wanted {
            let message = Message::of_due(self.wanted.name.as_str(), due);
            if self.deliver(&message).await? == Outcome::Gone {
                return Ok(Outcome::Gone);
            }
        }
        self.place.held.told(due);
        if wanted {
            self.keep()?;
        }
        Ok(Outcome::Through)
    }

    fn wants(&self, name: &str, at: Timestamp) -> bool {
        at > self.place.told_until && self.wanted.events.contains(name)
    }

    /// Tries until it is taken, or has been tried for as long as anything is.
    async fn deliver(&mut self, message: &Message) -> Result<Outcome, Error> {
        let name = self.wanted.name.clone();
        let since = match self.place.trying.take() {
            Some(trying) if trying.id == message.id => trying.since,
            _ => self.clock.now(),
        };
        let mut tries = 0;
        loop {
            let why = match self.receiver.send(message, self.clock.now()).await {
                Answer::Taken => {
                    self.place.trying = None;
                    return Ok(Outcome::Through);
                }
                Answer::Gone => return self.gone().map(|()| Outcome::Gone),
                Answer::Failed(why) => why,
            };
            let now = self.clock.now();
            let tried = now.duration_since(since);
            if tried >= self.pace.give_up {
                self.give_up(message, now, why)?;
                return Ok(Outcome::GivenUp);
            }
            let last = self.pace.tries.len().saturating_sub(1);
            let wait = self.pace.tries.get(tries.min(last)).copied();
            // The last try is when its time is over, not long after.
            let left = Duration::try_from(self.pace.give_up - tried).unwrap_or_default();
            let wait = jittered(wait.unwrap_or_default()).min(left);
            tracing::warn!(
                "{name} did not take {} ({}): {why}; tried again in {} s",
                message.id,
                message.kind,
                wait.as_secs_f32().ceil()
            );
            if tries == 0 {
                let id = message.id.clone();
                self.place.trying = Some(Trying { id, since });
                self.keep()?;
            }
            tries += 1;
            sleep(wait).await;
        }
    }

    fn gone(&mut self) -> Result<(), Error> {
        let name = &self.wanted.name;
        tracing::error!(
            "{name} says that it is gone (410), and is not called any more; `jit-server webhooks --again {name}` calls it again"
        );
        self.place.gone = Some(Gone {
            at: self.clock.now(),
            url: self.wanted.url.clone(),
        });
        self.keep()
    }

    fn give_up(&mut self, message: &Message, now: Timestamp, why: String) -> Result<(), Error> {
        let name = &self.wanted.name;
        tracing::error!(
            "{name} did not take {} ({}) in all that time, and it is given up: {why}; `jit-server webhooks --again {name}` sends it again",
            message.id,
            message.kind
        );
        let dead = Dead {
            given_up: now,
            why,
            message: message.clone(),
        };
        self.place.trying = None;
        if self.folder.give_up(name, dead)? {
            tracing::error!(
                "{name} has more dead letters than are kept: the oldest is lost, and only the record has it"
            );
        }
        Ok(())
    }

    /// What an administrator has put back into the queue goes first.
    async fn send_again(&mut self) -> Result<(), Error> {
        let name = self.wanted.name.clone();
        let Some(queue) = self.folder.queue(&name)? else {
            return Ok(());
        };
        if self.place.gone.take().is_some() {
            self.keep()?;
        }
        let trying = self.place.trying.take();
        for (sent, dead) in queue.iter().enumerate() {
            if self.deliver(&dead.message).await? != Outcome::Through {
                // Where one of them took a day for nothing, the others need not take one each.
                for dead in &queue[sent..] {
                    self.folder.give_up(&name, dead.clone())?;
                }
                break;
            }
            self.folder.keep_queue(&name, &queue[sent + 1..])?;
        }
        self.place.trying = trying;
        if self.folder.queue(&name)?.is_some() {
            self.folder.keep_queue(&name, &[])?;
        }
        Ok(())
    }

    /// Writes down how far it is, where that is not what is there.
    fn keep(&mut self) -> Result<(), Error> {
        if self.place != self.kept {
            self.folder.keep(&self.wanted.name, &self.place)?;
            self.kept = self.place.clone();
        }
        Ok(())
    }
}

/// Why a step did not come to its end.
enum Stopped {
    /// The record can't be read now.
    Record(Error),
    /// What was done can't be written down.
    Disk(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Disk(error)
    }
}

/// A wait from three quarters of it to five: receivers that came back are not called by all at once.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests;
