//! A store that does something of a test's own before and after it keeps events.

use std::path::Path;

use futures_util::future::BoxFuture;
use jit_grant::{GrantId, HostId, HostName};
use jit_server::event::Entry;
use jit_server::once::Digest;
use jit_server::store::{
    Answered, CallAnswer, HostHead, HostLines, Id, Kept, Loaded, Part, Piece, Place, SqliteStore,
    Store, StoreError, Turn,
};

pub struct Watched {
    store: SqliteStore,
    /// Where it fails, nothing is kept.
    pub before: Box<dyn Fn() -> Result<(), StoreError> + Send + Sync>,
    pub after: Box<dyn Fn() + Send + Sync>,
}

impl Watched {
    /// The database in `folder`.
    pub async fn open(folder: &Path) -> Self {
        let store = SqliteStore::open(&folder.join("jit-server.db")).await;
        Self {
            store: store.unwrap(),
            before: Box::new(|| Ok(())),
            after: Box::new(|| ()),
        }
    }
}

impl Store for Watched {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        self.store.load()
    }

    fn identity(&self) -> BoxFuture<'_, Result<Id, StoreError>> {
        self.store.identity()
    }

    fn was_at(&self, place: Place) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.store.was_at(place)
    }

    fn turn(&self) -> BoxFuture<'_, Result<Turn, StoreError>> {
        self.store.turn()
    }

    fn take_identity(&self, id: Id) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.take_identity(id)
    }

    fn append<'a>(
        &'a self,
        after: Place,
        entries: &'a [Entry],
        revisions: &'a [(HostId, u64)],
    ) -> BoxFuture<'a, Result<Place, StoreError>> {
        Box::pin(async move {
            (self.before)()?;
            let kept = self.store.append(after, entries, revisions).await;
            (self.after)();
            kept
        })
    }

    fn append_host_lines<'a>(
        &'a self,
        after: Place,
        lines: &'a HostLines,
    ) -> BoxFuture<'a, Result<Place, StoreError>> {
        self.store.append_host_lines(after, lines)
    }

    fn host_head<'a>(
        &'a self,
        host: &'a HostId,
    ) -> BoxFuture<'a, Result<Option<HostHead>, StoreError>> {
        self.store.host_head(host)
    }

    fn left_behind<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Part<String>, StoreError>> {
        self.store.left_behind(host, grant, limit)
    }

    fn sessions_of<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Part<Kept>, StoreError>> {
        self.store.sessions_of(host, grant, limit)
    }

    fn record(&self, after: u64, limit: u32) -> BoxFuture<'_, Result<Part<Kept>, StoreError>> {
        self.store.record(after, limit)
    }

    fn keep_answer<'a>(
        &'a self,
        of: Answered,
        answer: &'a CallAnswer,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.keep_answer(of, answer)
    }

    fn answer(
        &self,
        key: Digest,
        seq: u64,
    ) -> BoxFuture<'_, Result<Option<CallAnswer>, StoreError>> {
        self.store.answer(key, seq)
    }

    fn pieces(&self, after: u64) -> BoxFuture<'_, Result<Vec<Piece>, StoreError>> {
        self.store.pieces(after)
    }

    fn place(&self) -> BoxFuture<'_, Result<Place, StoreError>> {
        self.store.place()
    }

    fn revisions(&self) -> BoxFuture<'_, Result<Vec<(HostId, u64)>, StoreError>> {
        self.store.revisions()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}
