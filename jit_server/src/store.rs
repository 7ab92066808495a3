//! Where events are kept. An event is on disk before anybody is told of it.

mod answers;
mod id;
mod part;
mod piece;
mod postgres;
mod rows;
mod session_lines;
mod sqlite;

use std::any::Any;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jit_grant::{ChainHead, GrantId, HostId, HostName, PublicKey};

use crate::event::Entry;
use crate::once::Digest;

pub use answers::{Answered, CallAnswer};
pub use id::{Id, NotAnId};
pub use part::Part;
pub use piece::Piece;
pub use postgres::{Address, AddressError, PostgresStore};
pub use sqlite::SqliteStore;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
    /// A migration.
    #[error("the database could not be brought to this version: {0}; is it of a newer jit-server?")]
    Migration(sqlx::migrate::MigrateError),
    /// What is kept can't be read.
    #[error("event {seq} of the record can't be read: {why}; restore the database from a backup")]
    Damaged {
        /// Which.
        seq: i64,
        /// What is wrong with it.
        why: String,
    },
    /// A newer server has written what this one would leave out.
    #[error(
        "event {seq} says that the record needs a newer jit-server (version {version} of the record, for {what})"
    )]
    Newer {
        /// Which.
        seq: u64,
        /// The version that a server has to know.
        version: u32,
        /// What it is for.
        what: String,
    },
    /// Another server wrote first. Nothing was kept.
    #[error("another server wrote at this moment, so this was not kept; ask again")]
    Overtaken,
    /// The connection was lost while it was being kept, and nobody could be asked since.
    #[error("the database was lost while this was being kept: look whether it was")]
    Uncertain,
    /// It lacks what it had.
    #[error(
        "the database has come to event {found} without all that this server knows of, which goes to event {known}: an older copy was put back"
    )]
    WentBack {
        /// How far it has come.
        found: u64,
        /// How far this server saw it come.
        known: u64,
    },
    /// It may lose what it said it has.
    #[error("the database has {0} off, so a power cut takes away what was acknowledged; set it on")]
    Unsafe(&'static str),
    /// Nothing came back.
    #[error("the database did not answer within {0:?}")]
    Silent(Duration),
}

// By hand, so that neither is the source as well: whoever prints the chain of errors would print it again.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migration(error)
    }
}

/// A line of a host's own event chain, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLine {
    /// Its number in the host's chain.
    pub host_seq: u64,
    /// SHA-256 of it.
    pub head: ChainHead,
    /// As the host wrote it.
    pub line: String,
}

/// Lines that a host sends, with its signature over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLines {
    /// The host.
    pub host_id: HostId,
    /// Its name now.
    pub host: HostName,
    /// The lines, each following the one before.
    pub lines: Vec<HostLine>,
    /// `jit-events+jwt` over the chain up to the last line.
    pub checkpoint: String,
}

/// The end of a host's chain as far as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostHead {
    /// Number of the last line.
    pub host_seq: u64,
    /// SHA-256 of it.
    pub head: ChainHead,
}

/// Something of the whole record, as it was kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// One of the server's own events.
    Own(Box<Entry>),
    /// A line of a host.
    OfHost {
        /// Place in the whole record.
        seq: u64,
        /// The host's name when it came.
        host: HostName,
        /// As the host wrote it.
        line: String,
    },
}

/// How far a record has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The highest number given in the whole record.
    pub last_seq: u64,
    /// So often something was kept, revisions alone too. Counted where several servers write.
    pub writes: u64,
    /// What the last write is called there: another copy of the record may have as many.
    pub write: Option<Id>,
}

/// What is kept, from the beginning or after a place.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The servers' own events, in order.
    pub entries: Vec<Entry>,
    /// The last revision of each host's bundle.
    pub revisions: Vec<(HostId, u64)>,
    /// How far it goes.
    pub place: Place,
}

/// The right to write: while this is held no other server has it.
pub struct Turn {
    _held: Option<Box<dyn Any + Send>>,
}

/// An append-only record. Where several servers write to it, each must have the turn and know all that was kept before.
pub trait Store: Send + Sync + 'static {
    /// Reads everything.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>>;

    /// What this database is called and no other; its copies are called the same.
    fn identity(&self) -> BoxFuture<'_, Result<Id, StoreError>>;

    /// Whether the record was at `place` as far as the id of the write there says: a copy that went on by itself was not.
    fn was_at(&self, place: Place) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Whether other servers may write to it.
    fn is_shared(&self) -> bool {
        false
    }

    /// Waits until no other server writes.
    fn turn(&self) -> BoxFuture<'_, Result<Turn, StoreError>>;

    /// What was kept after `place`. None: nothing was. [`StoreError::WentBack`] where the record never was at `place`.
    fn since(&self, _: Place) -> BoxFuture<'_, Result<Option<Loaded>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// Waits until something was kept, where the database tells of that. It may not tell of everything.
    fn told(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// The key that signed first: `ours` where none did. None where that is not kept.
    fn first_key(&self, _: PublicKey) -> BoxFuture<'_, Result<Option<PublicKey>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// Tells other servers that these hosts were `heard`, and forgets all but those `known`. Gives for each that any server heard a
    /// number that rises whenever one does.
    fn exchange_heard<'a>(
        &'a self,
        _: &'a [HostId],
        _: &'a [HostId],
    ) -> BoxFuture<'a, Result<Vec<(HostId, i64)>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Keeps events and the revisions that they lead to: all of them or none, on disk when this returns. The record has come to `after`;
    /// gives how far it has come by this.
    ///
    /// On [`StoreError::Uncertain`] nobody knows whether they were kept; on any other error they were not.
    fn append<'a>(
        &'a self,
        after: Place,
        entries: &'a [Entry],
        revisions: &'a [(HostId, u64)],
    ) -> BoxFuture<'a, Result<Place, StoreError>>;

    /// Keeps lines of a host, numbered on from `after` in the whole record: all of them or none. Errors as of [`Self::append`].
    fn append_host_lines<'a>(
        &'a self,
        after: Place,
        lines: &'a HostLines,
    ) -> BoxFuture<'a, Result<Place, StoreError>>;

    /// The end of a host's chain. None where there is nothing of it.
    fn host_head<'a>(
        &'a self,
        host: &'a HostId,
    ) -> BoxFuture<'a, Result<Option<HostHead>, StoreError>>;

    /// Lines of the kind `elevation.residue` that this host wrote and that name this grant: the oldest, at most `limit`, and no
    /// more than a few megabytes of them.
    fn left_behind<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Part<String>, StoreError>>;

    /// Lines of this host about how logins, elevations and jobs began and ended that this grant held open at one of the two: the newest, at
    /// most `limit`, the newest first, and no more than a few megabytes of them.
    fn sessions_of<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Part<Kept>, StoreError>>;

    /// At most `limit` of the record after `seq`, in order, and no more than a few megabytes of it.
    fn record(&self, after: u64, limit: u32) -> BoxFuture<'_, Result<Part<Kept>, StoreError>>;

    /// Some of the record after `seq` as another store takes it in, in order, and no more than a few megabytes of it. None: there is no more.
    fn pieces(&self, after: u64) -> BoxFuture<'_, Result<Vec<Piece>, StoreError>>;

    /// How far it goes.
    fn place(&self) -> BoxFuture<'_, Result<Place, StoreError>>;

    /// The last revision of each host's bundle.
    fn revisions(&self) -> BoxFuture<'_, Result<Vec<(HostId, u64)>, StoreError>>;

    /// Is called as what it is a copy of, where nothing was kept yet: a machine that knew the one knows the other.
    fn take_identity(&self, id: Id) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps what a call was answered for a day, and the newest few thousand of such answers. Not part of the record.
    fn keep_answer<'a>(
        &'a self,
        _: Answered,
        _: &'a CallAnswer,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    /// What the call of that key was answered whose first event has that number. None where it is not kept.
    fn answer(&self, _: Digest, _: u64) -> BoxFuture<'_, Result<Option<CallAnswer>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// Ends the connection.
    fn close(&self) -> BoxFuture<'_, ()>;
}
