//! The call that is being answered, for what is recorded because of it.
//!
//! It goes with the task that answers, so that no command of the server has to pass it on, nor can forget to.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use jit_grant::UserTokenId;

use super::Server;
use crate::error::Error;
use crate::event::{Entry, Via};
use crate::once::{Digest, Once};
use crate::origin::Origin;
use crate::store::{Answered, CallAnswer};
use crate::workflow::State;

tokio::task_local! {
    static CURRENT: Arc<Call>;
}

/// A call that is being answered.
#[derive(Debug)]
pub struct Call {
    from: Option<Origin>,
    uid: Option<u32>,
    /// Set once it is known who calls.
    caller: OnceLock<Option<UserTokenId>>,
    /// Set where its caller gave it a key.
    once: OnceLock<Once>,
    /// The first event that it made.
    done: OnceLock<u64>,
}

impl Call {
    /// A call from there, over the socket by that uid. Who makes it is not known yet.
    #[must_use]
    pub fn new(from: Option<Origin>, uid: Option<u32>) -> Self {
        Self {
            from,
            uid,
            caller: OnceLock::new(),
            once: OnceLock::new(),
            done: OnceLock::new(),
        }
    }

    /// It is made by a person, known by `token` where he showed one.
    pub(crate) fn is_of_person(&self, token: Option<UserTokenId>) {
        // Whoever asks first; a call is made by one caller.
        let _ = self.caller.set(token);
    }

    /// It has this key. Whatever it does, it does once.
    pub(crate) fn is_done_once(&self, once: Once) {
        // A call has one key.
        let _ = self.once.set(once);
    }

    /// The number of the first event that it made, where it has a key.
    pub(crate) fn done(&self) -> Option<u64> {
        self.done.get().copied()
    }

    /// What is done while `answering` is done because of it.
    pub(crate) async fn around<T>(self: Arc<Self>, answering: impl Future<Output = T>) -> T {
        CURRENT.scope(self, answering).await
    }

    /// The one that this task answers. None: it answers none.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Whether it may still be done. Call it with the turn: no server can do it after that but this one.
    ///
    /// # Errors
    /// [`Error::DoneBefore`].
    pub(super) fn check(&self, state: &State, now: Timestamp) -> Result<(), Error> {
        let key = self.once.get().filter(|_| self.done.get().is_none());
        match key.and_then(|once| state.calls.find(&once.key, now)) {
            Some(done) => Err(Error::DoneBefore(done.seq)),
            None => Ok(()),
        }
    }

    /// Puts its key into the first event that it makes.
    pub(super) fn sign(&self, entry: &mut Entry) {
        let once = self.once.get().filter(|_| self.done.get().is_none());
        if let Some(via) = &mut entry.via {
            via.once = once.copied();
        }
    }

    /// These events are kept.
    pub(super) fn kept(&self, entries: &[Entry]) {
        let has_key = |entry: &&Entry| entry.via.as_ref().is_some_and(|via| via.once.is_some());
        if let Some(first) = entries.iter().find(has_key) {
            let _ = self.done.set(first.seq);
        }
    }

    /// How it came in. None where it is not of a person: what hosts say of themselves has its own fields for that.
    pub(super) fn via(&self) -> Option<Via> {
        Some(Via {
            token: self.caller.get()?.clone(),
            from: self.from?,
            uid: self.uid,
            once: None,
        })
    }
}

impl Server {
    /// Keeps what a call with a key was answered, for whoever repeats it. Where it can't be kept he is told what the call did.
    pub(crate) async fn keep_answer(&self, of: Answered, answer: CallAnswer) {
        if let Err(error) = self.store.keep_answer(of, &answer).await {
            tracing::warn!("an answer is not kept for whoever repeats the call: {error}");
        }
    }

    /// What the call of that key was answered whose first event has that number. None where it is not kept.
    pub(crate) async fn answer_of(&self, key: Digest, seq: u64) -> Option<CallAnswer> {
        let found = self.store.answer(key, seq).await;
        found
            .inspect_err(|error| tracing::warn!("the answer to a call is not found: {error}"))
            .ok()
            .flatten()
    }
}
