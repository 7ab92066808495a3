//! A database that was put back, and hosts that know more than it does.

use std::sync::Arc;

use jit_grant::HostId;

use super::{Server, Writer};
use crate::alarm::Alarm;
use crate::bundles;
use crate::error::Error;
use crate::event::{Actor, Event, Restored};
use crate::store::Place;
use crate::text::Reason;

/// Hosts believe revisions so far ahead of our time, in milliseconds: ten years. What a host claims beyond that is none of ours.
const FURTHEST_AHEAD: u64 = 10 * 365 * 86_400_000;

impl Server {
    /// Looks whether the database, whose last event is `copy`, is an older copy than this machine knows of, or one that went on without
    /// what this machine knows of; an empty one is where there were events. The record says already that what was lost up to `declared`
    /// was. Call it before anything else is recorded.
    pub(super) async fn check_mark(
        self: &Arc<Self>,
        copy: Option<(u64, jiff::Timestamp)>,
        declared: Option<u64>,
    ) -> Result<(), Error> {
        let (database, found) = (self.store.identity().await?, self.mark.found());
        // A mark of a version before doesn't say of which database it is: of the one that this machine has to itself.
        let is_shared = self.store.is_shared();
        let mark = found.filter(|found| found.database.map_or(!is_shared, |of| of == database));
        if copy.is_none() && found.is_none() {
            return self.mark.begin(database, Place::default());
        }
        let (seq, at) = copy.unwrap_or((0, self.now()));
        if mark.is_none() && is_shared {
            return Err(Error::Setup(
                "this machine knows nothing of the database, which has a record already or is not the one that it knew; where it is to \
                 be one of its servers, run `jit-server init` here as root, with the same options"
                    .to_owned(),
            ));
        }
        let is_older = match mark {
            Some(mark) => seq < mark.place.last_seq || !self.store.was_at(mark.place).await?,
            None => true,
        };
        let mark = mark.map(|mark| mark.place.last_seq);
        if is_older {
            tracing::error!(
                recorded = seq,
                mark,
                "this database is an older copy, or of another machine: all grants and tokens end"
            );
        }
        // Also of another database: this one may have been made anew in its place.
        let known = found.map(|found| found.place.last_seq);
        self.uninterrupted(move |server, mut writer| async move {
            // Another server may have said so.
            let since = server.look(|state| state.unconfirmed().and_then(|it| it.restored.mark));
            let is_said = mark.is_some_and(|mark| declared.max(since) >= Some(mark));
            if is_older && !is_said {
                // No number of the record is given twice either.
                writer.place.last_seq = writer.place.last_seq.max(known.unwrap_or(0));
                server
                    .restored(&mut writer, Actor::Server, (seq, at), known)
                    .await?;
            }
            server.mark.begin(database, writer.place)
        })
        .await?;
        if let Some(unconfirmed) = self.look(|state| state.unconfirmed().cloned()) {
            tracing::error!(
                since = %unconfirmed.at,
                "an older copy of the database was put back, and nobody may ask or approve until `jit-server restored --confirm`"
            );
        }
        Ok(())
    }

    /// An administrator says that an older copy was put back, where the server could not notice. Nothing happens where that is known.
    ///
    /// # Errors
    /// That it could not be kept.
    pub async fn declare_restored(self: &Arc<Self>) -> Result<(), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            if server.look(|state| state.unconfirmed().is_some()) {
                return Ok(());
            }
            let copy = (writer.place.last_seq, server.now());
            server
                .restored(&mut writer, Actor::Administrator, copy, None)
                .await
        })
        .await
    }

    /// An administrator has seen to what was lost. False where nothing was to be confirmed.
    ///
    /// # Errors
    /// That it could not be kept.
    pub async fn confirm_restored(self: &Arc<Self>) -> Result<bool, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            if server.look(|state| state.unconfirmed().is_none()) {
                return Ok(false);
            }
            let event = Event::RestoreConfirmed;
            server
                .keep(&mut writer, server.now(), Actor::Administrator, vec![event])
                .await
                .map(|_| true)
        })
        .await
    }

    async fn restored(
        &self,
        writer: &mut Writer,
        actor: Actor,
        (copy_seq, copy_at): (u64, jiff::Timestamp),
        mark: Option<u64>,
    ) -> Result<(), Error> {
        let event = Event::Restored(Restored {
            copy_seq,
            copy_at,
            mark,
            ids_above: self.look(|state| state.ids_after_restoring()),
            reason: Reason::ours("an older copy of the server's database was put back"),
        });
        self.keep(writer, self.now(), actor, vec![event])
            .await
            .map(drop)
    }

    /// A host says that it holds revision `held`. One that was told more than this database knows is an alarm; and one that holds a newer
    /// revision than was ever made here has its grants ended: one of them may have been taken away already.
    ///
    /// It is the host's own word, or that of whoever is in its jitd-sync's place, so it ends nothing anywhere else.
    ///
    /// # Errors
    /// A revision that can't be ours, or that it could not be kept.
    pub async fn overtake(self: &Arc<Self>, host: HostId, held: u64) -> Result<(), Error> {
        if !self.knows_less(&host, held) {
            return Ok(());
        }
        self.uninterrupted(move |server, mut writer| async move {
            let (now, last) = (server.now(), server.revision(&host));
            let furthest = bundles::next_revision(0, now).saturating_add(FURTHEST_AHEAD);
            if held > furthest {
                return Err(Error::NotARevision(held));
            }
            let found = server.look(|state| {
                let name = state.directory.host_by_id(&host)?.enrolled.name.clone();
                let live = state.live_grants(now).filter(|grant| grant.host == name);
                Some((
                    name.clone(),
                    live.map(|grant| grant.id.clone()).collect::<Vec<_>>(),
                ))
            });
            let Some((name, live)) = found.filter(|_| server.knows_less(&host, held)) else {
                return Ok(());
            };
            let alarm = Alarm::ServerOlder { held, known: last };
            server.raise_with(&mut writer, Some(name), alarm).await?;
            if held <= last {
                return Ok(());
            }
            let reason = Reason::ours(
                "the host knows more than this server's database, which may be an older copy",
            );
            let revoked = live.into_iter().map(|grant| Event::Revoked {
                grant,
                reason: reason.clone(),
            });
            let next = bundles::next_revision(held.max(last), now);
            let entries = server.numbered(&writer, now, &Actor::Server, revoked.collect());
            server
                .keep_all(&mut writer, entries, vec![(host, next)])
                .await
        })
        .await
    }

    fn knows_less(&self, host: &HostId, held: u64) -> bool {
        let known = self.known();
        let last = known.revisions.get(host).copied().unwrap_or(0);
        let Some(enrolled) = known.state.directory.host_by_id(host) else {
            return false;
        };
        let unconfirmed = known.state.unconfirmed();
        let ahead = unconfirmed.is_some_and(|unconfirmed| {
            unconfirmed.is_ahead(held) && !unconfirmed.ahead.contains_key(&enrolled.enrolled.name)
        });
        held > last || ahead
    }
}
