//! Where events are kept. An event is on disk before anybody is told of it.

mod sqlite;

use futures_util::future::BoxFuture;
use jit_grant::{ChainHead, GrantId, HostId, HostName};

use crate::event::Entry;

pub use sqlite::SqliteStore;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A migration.
    #[error("the database could not be brought to this version: {0}; is it of a newer jit-server?")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// What is kept can't be read.
    #[error("event {seq} of the record can't be read: {why}; restore the database from a backup")]
    Damaged {
        /// Which.
        seq: i64,
        /// What is wrong with it.
        why: String,
    },
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

/// All that is kept, read once at the start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The server's own events, in order.
    pub entries: Vec<Entry>,
    /// The last revision of each host's bundle.
    pub revisions: Vec<(HostId, u64)>,
    /// The highest number given in the whole record.
    pub last_seq: u64,
}

/// An append-only record. Only one program writes to it.
pub trait Store: Send + Sync + 'static {
    /// Reads everything.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>>;

    /// Keeps events and the revisions that they lead to: all of them or none, on disk when this returns.
    fn append<'a>(
        &'a self,
        entries: &'a [Entry],
        revisions: &'a [(HostId, u64)],
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Keeps lines of a host, numbered from `first_seq` on in the whole record: all of them or none.
    fn append_host_lines<'a>(
        &'a self,
        first_seq: u64,
        lines: &'a HostLines,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The end of a host's chain. None where there is nothing of it.
    fn host_head<'a>(
        &'a self,
        host: &'a HostId,
    ) -> BoxFuture<'a, Result<Option<HostHead>, StoreError>>;

    /// Lines of the kind `elevation.residue` that this host wrote and that name this grant: the oldest, at most `limit`.
    fn left_behind<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;

    /// Lines of this host about how logins, elevations and jobs began and ended that this grant held open at one of the two: the newest, at
    /// most `limit`, the newest first.
    fn sessions_of<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Kept>, StoreError>>;

    /// At most `limit` of the record after `seq`, in order.
    fn record(&self, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>>;
}
