//! Evidence: every decision and event, written before it takes effect.
//!
//! Two records: the event chain on disk and the system's log. A write has failed only when both have (T23). The chain is synced
//! and a signed checkpoint of it stored at most a second later, in the background, so that no caller waits for the disk.

mod chain;
mod checkpoint;
mod journal;
mod reader;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use chain::{Chain, Damage};
pub use checkpoint::{Checkpoint, Signer};
use checkpoint::{sign, store, stored};
pub(crate) use journal::DEV_LOG;
use journal::Journal;

/// A line of more bytes than this is not written; a note that it was too long is. Several must fit one reply to jitd-sync.
pub const LINE_BYTES: usize = jit_grant::Checkpoint::LINE_BYTES;

/// How long after a write the chain is synced, so that a burst costs one sync.
const SYNC_DELAY: Duration = Duration::from_millis(200);

/// Neither the disk nor the system's log took an event.
#[derive(Debug, thiserror::Error)]
#[error(
    "an event could be written neither to the event chain ({disk}) nor to the system's log ({log}); free some disk space"
)]
pub struct NotRecorded {
    disk: String,
    log: String,
}

/// The record. Cheap to write to from anywhere in the daemon.
pub struct Record {
    directory: PathBuf,
    clock: Clock,
    inner: Mutex<Inner>,
    unsynced: Notify,
    /// Number of the last event that a power cut can't take.
    synced: watch::Sender<u64>,
}

struct Inner {
    chain: Chain,
    journal: Journal,
    signer: Option<Signer>,
    reader: reader::Position,
    /// The loss that was told of last.
    told: Option<Told>,
    /// Number of the next event. Mostly one more than the chain's last.
    next: u64,
    /// Events that the disk refused since it last took one.
    missed: u64,
    line: Vec<u8>,
}

/// A `record.lost` that says that lines were dropped to make room.
#[derive(Clone, Copy)]
struct Told {
    /// Its own number.
    seq: u64,
    /// The first line that was left then.
    dropped_before: u64,
}

#[derive(Serialize)]
struct Line<'a, F: Serialize> {
    event: Event<'a, F>,
    prev: &'a str,
}

#[derive(Serialize)]
struct Event<'a, F: Serialize> {
    seq: u64,
    at: jiff::Timestamp,
    kind: &'a str,
    #[serde(flatten)]
    fields: F,
}

impl Record {
    /// Opens the record in `directory` (made where missing), with the log daemon's socket at `log`.
    ///
    /// What is amiss with the chain is recorded and never fatal: a torn last line is cut off, and where lines that the last
    /// checkpoint covers are gone the numbers go on after it, so that the server sees the gap.
    ///
    /// # Errors
    /// Where the directory can't be made or read.
    pub fn open(directory: &Path, log: &Path, clock: Clock) -> io::Result<Arc<Self>> {
        let (chain, damage) = Chain::open(directory)?;
        let covered = stored(directory).map_or(0, |checkpoint| checkpoint.seq);
        let seq = chain.seq;
        let inner = Inner {
            next: seq.max(covered) + 1,
            chain,
            journal: Journal::new(log),
            signer: None,
            reader: reader::Position::default(),
            told: None,
            missed: 0,
            line: Vec::with_capacity(1024),
        };
        let record = Arc::new(Self {
            directory: directory.to_owned(),
            clock,
            inner: Mutex::new(inner),
            unsynced: Notify::new(),
            synced: watch::Sender::new(0),
        });
        // What was there already may not have reached the disk either.
        record.unsynced.notify_one();
        record.note_damage(&damage, seq, covered);
        Ok(record)
    }

    fn note_damage(&self, damage: &Damage, seq: u64, covered: u64) {
        #[derive(Serialize)]
        struct Torn {
            bytes: u64,
        }
        #[derive(Serialize)]
        struct Lost {
            after: u64,
            checkpoint: u64,
        }
        // A record that can't take even this says so at the first decision.
        if damage.torn_bytes > 0 {
            let _ = self.write(
                "record.torn",
                Torn {
                    bytes: damage.torn_bytes,
                },
            );
        }
        if covered > seq {
            let _ = self.write(
                "record.lost",
                Lost {
                    after: seq,
                    checkpoint: covered,
                },
            );
        }
    }

    /// Appends an event. When this returns the kernel has it; a power cut may still take what is younger than a second.
    ///
    /// `fields` must serialise to an object; `seq`, `at` and `kind` are not its to set.
    ///
    /// # Errors
    /// When neither the disk nor the system's log took it. Entry is refused then; kills go on.
    pub fn write(&self, kind: &str, fields: impl Serialize) -> Result<(), NotRecorded> {
        let mut inner = self.lock();
        let at = self.clock.now();
        inner.note_missed(at);
        let result = inner.write(at, kind, &fields);
        drop(inner);
        self.unsynced.notify_one();
        result
    }

    /// Number of the last event that is on disk whatever happens, to be awaited. Only events up to it may leave the host: a server
    /// that knew more than is left after a power cut would take the host for a liar.
    #[must_use]
    pub fn synced(&self) -> watch::Receiver<u64> {
        self.synced.subscribe()
    }

    /// False when the last event could not be written to disk.
    #[must_use]
    pub fn on_disk(&self) -> bool {
        self.lock().missed == 0
    }

    /// From now on checkpoints are signed with this.
    pub fn sign_with(&self, signer: Signer) {
        self.lock().signer = Some(signer);
        self.unsynced.notify_one();
    }

    /// Lines after number `after` and up to number `last`, oldest first, together at most `most_bytes`, and a checkpoint over the
    /// last of them. Where the line that is due was dropped to make room, they begin with a `record.lost` that says so: the server
    /// takes a line that does not follow the one it has only where that line tells of the loss.
    ///
    /// # Errors
    /// Where the disk can't be read, or does not take that event.
    pub fn read_after(
        &self,
        after: u64,
        last: u64,
        most_bytes: usize,
    ) -> io::Result<(Vec<String>, Option<Checkpoint>)> {
        let mut inner = self.lock();
        let seq = inner.chain.seq;
        let after = inner.past_what_was_dropped(&self.directory, self.clock.now(), after)?;
        if inner.chain.seq != seq {
            self.unsynced.notify_one();
        }
        let Inner {
            reader,
            chain,
            signer,
            ..
        } = &mut *inner;
        let last = last.min(chain.seq);
        let lines = reader.read(&self.directory, last, after, most_bytes)?;
        let checkpoint = lines
            .last()
            .and_then(|(seq, line)| sign(signer.as_ref(), *seq, &chain::hash(line.as_bytes())));
        Ok((
            lines.into_iter().map(|(_, line)| line).collect(),
            checkpoint,
        ))
    }

    /// Syncs and signs in the background, for as long as the daemon runs.
    pub async fn keep(self: Arc<Self>) {
        loop {
            self.unsynced.notified().await;
            tokio::time::sleep(SYNC_DELAY).await;
            self.sync().await;
        }
    }

    /// Syncs what has been written, then stores a signed checkpoint over it.
    pub async fn sync(&self) {
        let (file, seq, checkpoint) = {
            let inner = self.lock();
            let checkpoint = match inner.chain.seq {
                0 => None,
                seq => sign(inner.signer.as_ref(), seq, &inner.chain.head),
            };
            (inner.chain.file(), inner.chain.seq, checkpoint)
        };
        let path = self.directory.join(checkpoint::FILE);
        let synced = self.synced.clone();
        let done = tokio::task::spawn_blocking(move || {
            file.sync_data()?;
            // Without a checkpoint too: on a full disk there is none to be stored.
            synced.send_if_modified(|last| std::mem::replace(last, seq.max(*last)) < seq);
            store(&path, checkpoint.as_ref())
        });
        if let Ok(Err(error)) = done.await {
            tracing::warn!("the event chain is not synced, or its checkpoint not stored: {error}");
        }
    }

    /// A thread that panicked while it held the lock can't leave a half-changed chain: lines go out in one call.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// When the disk takes events again, the first of them says how many it did not.
    fn note_missed(&mut self, at: jiff::Timestamp) {
        #[derive(Serialize)]
        struct Missed {
            events: u64,
        }
        if self.missed > 0 {
            let events = self.missed;
            if self
                .write_to_disk(at, "record.missed", &Missed { events })
                .is_ok()
            {
                self.missed = 0;
            }
        }
    }

    /// The number after which to read for somebody who has the lines up to `after`.
    fn past_what_was_dropped(
        &mut self,
        directory: &Path,
        at: jiff::Timestamp,
        after: u64,
    ) -> io::Result<u64> {
        #[derive(Serialize)]
        struct Lost {
            after: u64,
            dropped_before: u64,
        }
        if after >= self.chain.seq || self.reader.follows(directory, after) {
            return Ok(after);
        }
        let first = chain::segments(directory)?.first().copied();
        let dropped_before = match first {
            Some(first) if first > after + 1 => first,
            _ => return Ok(after),
        };
        // The server takes it only for lines that were gone already when it was told.
        let covers = |told: &Told| told.dropped_before > after + 1 && told.seq >= dropped_before;
        let told = self.told.filter(covers);
        if let Some(told) = told {
            return Ok(told.seq - 1);
        }
        // Whatever its reader has: the asking writes one line for what was dropped at one time, and no more.
        let lost = Lost {
            after: 0,
            dropped_before,
        };
        self.write_to_disk(at, "record.lost", &lost)?;
        let seq = self.chain.seq;
        self.told = Some(Told {
            seq,
            dropped_before,
        });
        Ok(seq - 1)
    }

    fn write(
        &mut self,
        at: jiff::Timestamp,
        kind: &str,
        fields: &impl Serialize,
    ) -> Result<(), NotRecorded> {
        let disk = self.write_to_disk(at, kind, fields);
        let text = String::from_utf8_lossy(self.line.strip_suffix(b"\n").unwrap_or(&self.line));
        let log = self.journal.write(&text);
        match (disk, log) {
            (Ok(()), _) => Ok(()),
            (Err(_), Ok(())) => {
                self.missed += 1;
                Ok(())
            }
            (Err(disk), Err(log)) => {
                self.missed += 1;
                Err(NotRecorded {
                    disk: disk.to_string(),
                    log: log.to_string(),
                })
            }
        }
    }

    /// Leaves the line in `self.line` whatever happens, for the log.
    fn write_to_disk(
        &mut self,
        at: jiff::Timestamp,
        kind: &str,
        fields: &impl Serialize,
    ) -> io::Result<()> {
        #[derive(Serialize)]
        struct TooLong {
            too_long_bytes: usize,
        }
        let seq = self.next;
        let prev = hex(&self.chain.head);
        format_line(
            &mut self.line,
            &Line {
                event: Event {
                    seq,
                    at,
                    kind,
                    fields,
                },
                prev: &prev,
            },
        )?;
        if self.line.len() > LINE_BYTES {
            let too_long_bytes = self.line.len();
            format_line(
                &mut self.line,
                &Line {
                    event: Event {
                        seq,
                        at,
                        kind,
                        fields: TooLong { too_long_bytes },
                    },
                    prev: &prev,
                },
            )?;
        }
        self.chain.append(seq, &self.line)?;
        self.next = seq + 1;
        Ok(())
    }
}

fn format_line(line: &mut Vec<u8>, content: &impl Serialize) -> io::Result<()> {
    line.clear();
    serde_json::to_writer(&mut *line, content)?;
    line.push(b'\n');
    Ok(())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests;
