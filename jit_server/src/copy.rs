//! A copy of the record in another database: to move there, or to have one that goes along with it.

use std::collections::BTreeMap;

use jit_grant::HostId;

use crate::error::Error;
use crate::store::{Piece, Place, Store, StoreError};

/// A copy, and the record that it is of.
pub struct Copying<'a> {
    record: &'a dyn Store,
    copy: &'a dyn Store,
    /// How far the copy has come.
    place: Place,
    revisions: BTreeMap<HostId, u64>,
}

impl<'a> Copying<'a> {
    /// Begins a copy of `record` in an empty database, or goes on with one that was made of it.
    ///
    /// # Errors
    /// Where `copy` has what is not in `record`: it is of another one, or a server has written to it.
    pub async fn begin(record: &'a dyn Store, copy: &'a dyn Store) -> Result<Self, Error> {
        let copying = Self {
            record,
            copy,
            place: copy.place().await?,
            revisions: copy.revisions().await?.into_iter().collect(),
        };
        let last_seq = copying.place.last_seq;
        if last_seq == 0 {
            // Writes that several servers share have ids, which no copy has: called the same, it would be taken for one that went on
            // by itself.
            if !(record.is_shared() && copy.is_shared()) {
                copy.take_identity(record.identity().await?).await?;
            }
        } else if copying.last_of(record).await? != copying.last_of(copy).await? {
            return Err(Error::Setup(format!(
                "what is there goes to event {last_seq}, and that is not in this record: it is a copy of another one, of this one before an \
                 older copy was put back, or a server has written to it; name an empty place"
            )));
        }
        Ok(copying)
    }

    /// What `store` has where the copy ends now.
    async fn last_of(&self, store: &dyn Store) -> Result<Option<Piece>, StoreError> {
        let pieces = store.pieces(self.place.last_seq - 1).await?;
        Ok(pieces.into_iter().next())
    }

    /// How far the copy has come: the number of an event.
    #[must_use]
    pub fn come_to(&self) -> u64 {
        self.place.last_seq
    }

    /// Takes in some of what the record has and the copy has not. False where there was nothing.
    ///
    /// # Errors
    /// Those of either database. What was taken in before is there.
    pub async fn some(&mut self) -> Result<bool, Error> {
        let pieces = self.record.pieces(self.place.last_seq).await?;
        if pieces.is_empty() {
            return self.revisions().await;
        }
        let mut events = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Own(entry) => events.push(*entry),
                Piece::OfHost { first, lines } => {
                    self.append(&std::mem::take(&mut events)).await?;
                    // After an older copy was put back, numbers are left out.
                    let before = Place {
                        last_seq: first - 1,
                        ..self.place
                    };
                    self.place = self.copy.append_host_lines(before, &lines).await?;
                }
            }
        }
        self.append(&events).await?;
        Ok(true)
    }

    async fn append(&mut self, events: &[crate::event::Entry]) -> Result<(), StoreError> {
        if !events.is_empty() {
            self.place = self.copy.append(self.place, events, &[]).await?;
        }
        Ok(())
    }

    /// After the events that led to them: a copy that ends between has the older ones, as one that was made earlier.
    async fn revisions(&mut self) -> Result<bool, Error> {
        let found = self.record.revisions().await?.into_iter();
        let newer: Vec<_> = found
            .filter(|(host, revision)| self.revisions.get(host) < Some(revision))
            .collect();
        if newer.is_empty() {
            return Ok(false);
        }
        self.place = self.copy.append(self.place, &[], &newer).await?;
        self.revisions.extend(newer);
        Ok(true)
    }
}
