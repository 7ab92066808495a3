//! The next signing key.
//!
//! The next key is on disk before the record says that it is the next, and takes the place of the current one after that: whenever the
//! power goes, the key that the record ends with is there.

use std::sync::Arc;

use jiff::Timestamp;
use jit_grant::{HostId, NextKey, PublicKey};

use super::{Server, Writer};
use crate::bundles;
use crate::error::Error;
use crate::event::{Actor, Event, KeyRotated};
use crate::signer::Signer;
use crate::store::Store;

/// Where several servers share a record, whether `signer` has the key that it ends with: `newest`, or the one that it began with.
///
/// # Errors
/// Where it has another: hosts would believe nothing that it signs.
pub(crate) async fn check_key(
    signer: &Signer,
    store: &dyn Store,
    newest: Option<PublicKey>,
) -> Result<(), Error> {
    let ours = signer.public();
    let due = match newest {
        Some(newest) => Some(newest),
        None => store.first_key(ours).await?,
    };
    match due.filter(|due| *due != ours) {
        Some(due) => Err(another_key(due)),
        None => Ok(()),
    }
}

fn another_key(due: PublicKey) -> Error {
    Error::Setup(format!(
        "the servers on this database sign with the key {due}, which is not the one here; copy signing.key from one of them, or, where \
         an older backup of the database was put back, the signing.key that was kept with it"
    ))
}

impl Server {
    /// The key that signs now.
    pub(crate) fn public_key(&self) -> PublicKey {
        self.signer.public()
    }

    /// Makes the next signing key and signs with it from now on. Every host is told: which key it is, signed by the one before, and then
    /// its bundle anew.
    ///
    /// # Errors
    /// That the key could not be made or the rotation not be kept; then nothing has happened.
    pub async fn rotate_key(self: &Arc<Self>) -> Result<KeyRotated, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            let now = server.now();
            let next = server.signer.make_next()?;
            let current = server.signer.key();
            let seq = server.look(|state| state.keys.last()) + 1;
            let document = NextKey {
                seq,
                at: now,
                next: next.public(),
            };
            let rotated = KeyRotated {
                seq,
                before: current.public(),
                next: next.public(),
                document: document.sign(&current)?,
            };
            let event = Event::KeyRotated(rotated.clone());
            server
                .keep(&mut writer, now, Actor::Administrator, vec![event])
                .await?;
            server.signer.go_on_with(next);
            server.tell_all(&mut writer, now).await;
            Ok(rotated)
        })
        .await
    }

    /// Ends a rotation in whose midst the last run stopped.
    pub(super) async fn end_rotation(self: &Arc<Self>) -> Result<(), Error> {
        let newest = self.look(|state| state.keys.newest());
        let Some(newest) = newest.filter(|newest| *newest != self.signer.public()) else {
            return Ok(());
        };
        if !self.signer.go_on_to(newest) {
            if self.store.is_shared() {
                return Err(another_key(newest));
            }
            tracing::error!(
                "the signing key is not the one that the record ends with; hosts that believe another one must enrol again"
            );
            return Ok(());
        }
        self.uninterrupted(move |server, mut writer| async move {
            let now = server.now();
            server.tell_all(&mut writer, now).await;
            Ok(())
        })
        .await
    }

    /// New revisions for all hosts, so that what is on their disks is signed by the key of now. Where that can't be kept they hear of the
    /// key when they next open a stream, as they do after the first word of the new key.
    async fn tell_all(&self, writer: &mut Writer, now: Timestamp) {
        let revisions: Vec<(HostId, u64)> = {
            let known = self.known();
            let hosts = known.state.directory.hosts();
            let ids = hosts.map(|host| host.enrolled.host_id.clone());
            ids.map(|id| {
                let last = known.revisions.get(&id).copied().unwrap_or(0);
                let next = bundles::next_revision(last, now);
                (id, next)
            })
            .collect()
        };
        if let Err(error) = self.keep_all(writer, Vec::new(), revisions).await {
            tracing::error!("hosts are not told of the new key at once: {error}");
        }
    }
}
