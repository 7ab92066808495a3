//! What the server signs for a host: bundles, and its word.

use jit_grant::{Bundle, HostId, Nonce, PublicKey, Word};

use super::Server;
use crate::bundles;
use crate::error::Error;

/// A signed bundle and its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBundle {
    /// Its revision.
    pub revision: u64,
    /// The compact JWS.
    pub document: String,
}

impl Server {
    /// The bundle of `host` as it is now.
    ///
    /// # Errors
    /// [`Error::UnknownHost`], [`Error::CutOff`], or that it could not be signed.
    pub fn bundle(&self, host: &HostId) -> Result<SignedBundle, Error> {
        self.in_contact()?;
        let now = self.now();
        let (bundle, revision) = {
            let known = self.known();
            let enrolled = known
                .state
                .directory
                .host_by_id(host)
                .ok_or(Error::UnknownHost)?;
            let revision = known.revisions.get(host).copied().unwrap_or(0);
            (
                bundles::bundle(&known.state, enrolled, revision, now),
                revision,
            )
        };
        Ok(SignedBundle {
            revision,
            document: bundle.sign(&self.signer.key())?,
        })
    }

    /// What a host is told last that is not known any more: nothing is granted on it. It holds revision `held`.
    ///
    /// # Errors
    /// That it could not be signed.
    pub fn last_bundle(&self, host: &HostId, held: u64) -> Result<SignedBundle, Error> {
        let now = self.now();
        let bundle = Bundle {
            host: host.clone(),
            revision: bundles::next_revision(held.max(self.revision(host)), now),
            issued_at: now,
            grants: Vec::new(),
            void: Vec::new(),
        };
        Ok(SignedBundle {
            revision: bundle.revision,
            document: bundle.sign(&self.signer.key())?,
        })
    }

    /// The revision that `host` should be at.
    #[must_use]
    pub fn revision(&self, host: &HostId) -> u64 {
        self.known().revisions.get(host).copied().unwrap_or(0)
    }

    /// The server's word to `host`: alive, at this revision, in answer to this nonce.
    ///
    /// # Errors
    /// [`Error::CutOff`], or that it could not be signed.
    pub fn word(&self, host: &HostId, nonce: Nonce) -> Result<String, Error> {
        self.in_contact()?;
        let word = Word {
            revision: self.revision(host),
            at: self.now(),
            nonce,
        };
        Ok(word.sign(host, &self.signer.key())?)
    }

    /// The key of `host`.
    #[must_use]
    pub fn host_key(&self, host: &HostId) -> Option<PublicKey> {
        self.look(|state| {
            state
                .directory
                .host_by_id(host)?
                .enrolled
                .public_key
                .parse()
                .ok()
        })
    }
}
