//! Residue: what an elevation may have left behind that its end does not undo, found by comparing before and after.
//!
//! Nothing is undone and no content is recorded. What is listed changed while the elevation was open; whether it was the elevation
//! that changed it, a person has to judge. Root can hide from this: see SECURITY.md.
//!
//! | idea | file |
//! |---|---|
//! | what is looked at | `places.rs`, `kind.rs` |
//! | one look: files, units that run, modules, descriptors | `look.rs`, `services.rs`, `descriptors.rs`, `mounts.rs` |
//! | two looks compared | `snapshot.rs` |
//! | which elevation was open when | `ledger.rs`, `store.rs` |
//! | setuid files, wherever they lie | `setid.rs` |
//! | when to look, and writing it down | `keeper.rs`, `note.rs` |

mod descriptors;
mod keeper;
mod kind;
mod ledger;
mod look;
mod mounts;
mod note;
mod places;
mod services;
mod setid;
mod snapshot;
mod store;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::record::Record;
use keeper::Keeper;
pub(crate) use ledger::Whose;
pub(crate) use mounts::is_local;
pub(crate) use places::OF_USER_MANAGER;
use store::Store;

/// A caller is let in after the look, or so long after asking for it; the record says then that the list may not be complete.
const LONGEST_WAIT: Duration = Duration::from_millis(150);

/// Knows what elevations leave behind. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Residue(UnboundedSender<Asked>);

#[derive(Debug)]
enum Asked {
    /// An elevation is being opened: look, then say so. Or a login, for which there is nothing to look at yet.
    Opening(Whose, oneshot::Sender<()>),
    /// Its caller is told yes; false where the look was not done by then.
    LetIn(String, bool),
    /// Nothing is left of it.
    Ended(String),
    /// After a start: these are open, and no others.
    Open(BTreeSet<String>),
}

/// A look that has been asked for. Dropped: nobody is let in.
#[derive(Debug)]
pub(crate) struct Before {
    id: String,
    done: oneshot::Receiver<()>,
}

impl Residue {
    /// Goes on from what is kept below `run_dir`, in a task of the current runtime.
    ///
    /// # Errors
    /// Where there can be no folder.
    pub(crate) fn start(run_dir: &Path, clock: Clock, record: Arc<Record>) -> io::Result<Self> {
        let (sender, inbox) = unbounded_channel();
        let keeper = Keeper::new(inbox, Store::open(run_dir)?, clock, record);
        tokio::spawn(keeper.keep());
        Ok(Self(sender))
    }

    /// Begins to look, as early as an elevation is being opened.
    pub(crate) fn opening(&self, whose: Whose) -> Before {
        let (sender, done) = oneshot::channel();
        let id = whose.id.clone();
        let _ = self.0.send(Asked::Opening(whose, sender));
        Before { id, done }
    }

    /// Returns when root may begin: after the look, or when that takes too long.
    pub(crate) async fn let_in(&self, before: Before) {
        let in_time = matches!(timeout(LONGEST_WAIT, before.done).await, Ok(Ok(())));
        let _ = self.0.send(Asked::LetIn(before.id, in_time));
    }

    /// A login with groups is let in. Nothing is compared for it, so that nobody waits.
    pub(crate) fn login(&self, whose: Whose) {
        let before = self.opening(whose);
        let _ = self.0.send(Asked::LetIn(before.id, true));
    }

    /// Nothing is left of a session or an elevation. Sessions without groups leave nothing that is looked for.
    pub(crate) fn ended(&self, id: &str) {
        let _ = self.0.send(Asked::Ended(id.to_owned()));
    }

    /// What is open after a start; the others ended while jitd was away.
    pub(crate) fn open(&self, ids: impl Iterator<Item = String>) {
        let _ = self.0.send(Asked::Open(ids.collect()));
    }
}
