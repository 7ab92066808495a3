//! The small signed documents: the server's word, a host's token, a host's checkpoint of its event chain.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::envelope::{
    DocumentRefused, Kind, NotSigned, Sealed, check_not_from_the_future, clean, seal,
};
use crate::key::{PublicKey, SigningKey, TrustedKeys};
use crate::name::{ChainHead, HostId, Nonce};

const SMALL: usize = 4 * 1024;
const WORD: Kind = Kind {
    typ: "jit-word+jwt",
    max_bytes: SMALL,
};
const HOST_TOKEN: Kind = Kind {
    typ: "jit-host+jwt",
    max_bytes: SMALL,
};
const CHECKPOINT: Kind = Kind {
    typ: "jit-events+jwt",
    max_bytes: SMALL,
};
/// The audience of what a host signs to speak for itself.
pub(crate) const SERVER: &str = "jit-server";

/// The server's word to one host: alive at this time, at this revision. Bound to a nonce of jitd's, so that it can't be old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The host's revision at the server.
    pub revision: u64,
    /// The server's time.
    pub at: Timestamp,
    /// The nonce that jitd asked with.
    pub nonce: Nonce,
}

#[derive(Serialize, Deserialize)]
struct WordClaims {
    aud: String,
    revision: u64,
    at: Timestamp,
    nonce: Nonce,
}

impl Word {
    /// The signed form, for `host`.
    ///
    /// # Errors
    /// [`NotSigned`] where the signer fails.
    pub fn sign(&self, host: &HostId, key: &SigningKey) -> Result<String, NotSigned> {
        let claims = WordClaims {
            aud: host.as_str().to_owned(),
            revision: self.revision,
            at: self.at,
            nonce: self.nonce.clone(),
        };
        seal(WORD, &claims, key)
    }

    /// Believes `document` only if a trusted key signed it for `host`. Whether it answers the right question is
    /// [`Self::answers`]. Its time is not held against our clock: it is what our clock is corrected by.
    ///
    /// # Errors
    /// The first that applies, in the order size, UTF-8, JWS, algorithm and type, key, signature, host.
    pub fn verify(
        document: &[u8],
        trusted: &TrustedKeys,
        host: &HostId,
    ) -> Result<Self, DocumentRefused> {
        let sealed = Sealed::parse(WORD, document)?;
        let key = trusted
            .find(&sealed.kid)
            .ok_or_else(|| DocumentRefused::UnknownKey(clean(&sealed.kid, 64)))?;
        sealed.check_signature(key)?;
        let claims: WordClaims = sealed.claims()?;
        check_audience(&claims.aud, host.as_str())?;
        Ok(Self {
            revision: claims.revision,
            at: claims.at,
            nonce: claims.nonce,
        })
    }

    /// Checks that it answers `nonce`, and that the bundle held is the newest there is.
    ///
    /// # Errors
    /// [`DocumentRefused::NotOurNonce`], [`DocumentRefused::NewerRevision`].
    pub fn answers(&self, nonce: &Nonce, held_revision: u64) -> Result<(), DocumentRefused> {
        if self.nonce != *nonce {
            return Err(DocumentRefused::NotOurNonce);
        }
        if self.revision > held_revision {
            return Err(DocumentRefused::NewerRevision {
                server: self.revision,
                held: held_revision,
            });
        }
        Ok(())
    }
}

/// What jitd-sync shows to the server to speak for a host. Good for [`HostToken::MAX_SECONDS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostToken {
    /// The host that it speaks for.
    pub host: HostId,
    /// When it was made, to the second.
    pub issued_at: Timestamp,
    /// Until when it counts, to the second.
    pub expires: Timestamp,
}

/// RFC 7519 (4.1) has `iat` and `exp` in seconds since 1970.
#[derive(Serialize, Deserialize)]
struct HostTokenClaims {
    iss: HostId,
    aud: String,
    iat: i64,
    exp: i64,
}

impl HostToken {
    /// So long does a token count.
    pub const MAX_SECONDS: i64 = 300;

    /// A signed token for `host`, made `now`.
    ///
    /// # Errors
    /// [`NotSigned`] where the signer fails.
    pub fn sign(host: &HostId, key: &SigningKey, now: Timestamp) -> Result<String, NotSigned> {
        let iat = now.as_second();
        let claims = HostTokenClaims {
            iss: host.clone(),
            aud: SERVER.to_owned(),
            iat,
            exp: iat + Self::MAX_SECONDS,
        };
        seal(HOST_TOKEN, &claims, key)
    }

    /// Believes `document` only if the key that `key_of` knows for its host signed it, and `now` lies in its time.
    ///
    /// # Errors
    /// The first that applies, in the order size, UTF-8, JWS, algorithm and type, key, signature, audience, time.
    pub fn verify(
        document: &[u8],
        now: Timestamp,
        key_of: impl FnOnce(&HostId) -> Option<PublicKey>,
    ) -> Result<Self, DocumentRefused> {
        let token = Self::verify_of_any_age(document, now, key_of)?;
        if now >= token.expires {
            return Err(DocumentRefused::Expired);
        }
        Ok(token)
    }

    /// As [`Self::verify`], however long the token has been over. That is enough to be told the time and for nothing else: a host
    /// whose time is behind the server's can make no better one before it was told.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_of_any_age(
        document: &[u8],
        now: Timestamp,
        key_of: impl FnOnce(&HostId) -> Option<PublicKey>,
    ) -> Result<Self, DocumentRefused> {
        let sealed = Sealed::parse(HOST_TOKEN, document)?;
        let claims: HostTokenClaims = sealed.claims()?;
        check_host_signature(&sealed, key_of(&claims.iss))?;
        check_audience(&claims.aud, SERVER)?;
        let issued_at = time(claims.iat)?;
        let expires = time(claims.exp)?;
        check_not_from_the_future(issued_at, now)?;
        let lasts = expires.as_second() - issued_at.as_second();
        if !(1..=Self::MAX_SECONDS).contains(&lasts) {
            return Err(DocumentRefused::Expired);
        }
        Ok(Self {
            host: claims.iss,
            issued_at,
            expires,
        })
    }
}

/// A host's signature over its event chain up to an event: none of them can be changed unseen any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The host whose chain it is.
    #[serde(rename = "iss")]
    pub host: HostId,
    /// Number of the last event covered.
    pub seq: u64,
    /// SHA-256 of the chain up to it.
    pub head: ChainHead,
    /// When it was made, by the host's clock.
    pub at: Timestamp,
}

impl Checkpoint {
    /// Bytes that one event of the chain has at most, as a line. No host writes a longer one, and no server takes one.
    pub const LINE_BYTES: usize = 8 * 1024;

    /// The signed form.
    ///
    /// # Errors
    /// [`NotSigned`] where the signer fails.
    pub fn sign(&self, key: &SigningKey) -> Result<String, NotSigned> {
        seal(CHECKPOINT, self, key)
    }

    /// Believes `document` only if it is about `host`'s chain and signed with `key`, that host's.
    ///
    /// # Errors
    /// The first that applies, in the order size, UTF-8, JWS, algorithm and type, key, signature, host.
    pub fn verify(document: &[u8], host: &HostId, key: PublicKey) -> Result<Self, DocumentRefused> {
        let sealed = Sealed::parse(CHECKPOINT, document)?;
        check_host_signature(&sealed, Some(key))?;
        let checkpoint: Self = sealed.claims()?;
        check_audience(checkpoint.host.as_str(), host.as_str())?;
        Ok(checkpoint)
    }
}

fn check_host_signature(
    sealed: &Sealed<'_>,
    key: Option<PublicKey>,
) -> Result<(), DocumentRefused> {
    match key {
        Some(key) if key.kid() == sealed.kid => sealed.check_signature(key),
        _ => Err(DocumentRefused::UnknownKey(clean(&sealed.kid, 64))),
    }
}

fn check_audience(found: &str, ours: &str) -> Result<(), DocumentRefused> {
    if found == ours {
        Ok(())
    } else {
        Err(DocumentRefused::OtherAudience(clean(found, 64)))
    }
}

fn time(seconds: i64) -> Result<Timestamp, DocumentRefused> {
    Timestamp::from_second(seconds)
        .map_err(|error| crate::envelope::unparsable(&format!("claims: {error}")))
}
