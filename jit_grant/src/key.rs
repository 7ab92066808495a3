//! Ed25519 keys: what a server or a host signs with, and what the other side trusts.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::envelope::kid_of;
use crate::name::Nonce;

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system gave no random bytes.
    #[error("no key could be made: the system's random generator failed")]
    NotGenerated,
    /// Not an Ed25519 private key in PKCS #8.
    #[error(
        "not an Ed25519 private key in PKCS #8 (DER); the key file is damaged or of another kind: restore it from a backup"
    )]
    NotPrivate,
    /// Not an Ed25519 public key.
    #[error(
        "not an Ed25519 public key: expected 32 bytes in base64url without padding (43 characters)"
    )]
    NotPublic,
}

/// A private Ed25519 key. Its Debug form shows the public half only.
#[derive(Clone)]
pub struct SigningKey {
    /// PKCS #8 DER inside; wiped when dropped.
    private: EncodingKey,
    public: PublicKey,
}

impl SigningKey {
    /// A new key from the system's random generator.
    ///
    /// # Errors
    /// [`KeyError::NotGenerated`].
    pub fn generate() -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::NotGenerated)?;
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::NotGenerated)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// A key read back from what [`Self::pkcs8`] gave.
    ///
    /// # Errors
    /// [`KeyError::NotPrivate`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::NotPrivate)?;
        let public =
            PublicKey::from_bytes(pair.public_key().as_ref()).map_err(|_| KeyError::NotPrivate)?;
        Ok(Self {
            private: EncodingKey::from_ed_der(der),
            public,
        })
    }

    /// PKCS #8 in DER, version 1, as `openssl pkey -inform DER` reads it. Secret.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        self.private.as_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn private(&self) -> &EncodingKey {
        &self.private
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// A public Ed25519 key; as text its 32 bytes in base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From its 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::NotPublic`] for any other number of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.try_into().map(Self).map_err(|_| KeyError::NotPublic)
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What signed documents call it: the first 16 hexadecimal digits of SHA-256 over its bytes.
    #[must_use]
    pub fn kid(&self) -> String {
        digest(&SHA256, &self.0)
            .as_ref()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    pub(crate) fn verifier(self) -> DecodingKey {
        DecodingKey::from_ed_der(&self.0)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => Ok(Self(bytes)),
            _ => Err(KeyError::NotPublic),
        }
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// The server keys that a host believes, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrustedKeys(Vec<PublicKey>);

impl TrustedKeys {
    /// Exactly these.
    #[must_use]
    pub fn new(keys: Vec<PublicKey>) -> Self {
        Self(keys)
    }

    /// The key that a chain of the server's keys goes on from: the last one.
    #[must_use]
    pub fn newest(&self) -> Option<PublicKey> {
        self.0.last().copied()
    }

    /// With `next`, which the newest leads to. The oldest stays until `next` has signed something ([`Self::without_old`]): two at most.
    #[must_use]
    pub fn followed_by(&self, next: PublicKey) -> Self {
        let oldest = self.0.first().copied().filter(|oldest| *oldest != next);
        Self(oldest.into_iter().chain([next]).collect())
    }

    /// The newest alone, where there are older ones and the newest signed `document`, which must have been verified.
    #[must_use]
    pub fn without_old(&self, document: &[u8]) -> Option<Self> {
        let newest = self.newest().filter(|_| self.0.len() > 1)?;
        (kid_of(document) == newest.kid()).then(|| Self(vec![newest]))
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = PublicKey> {
        self.0.iter().copied()
    }

    /// The one that a document names.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<PublicKey> {
        self.0.iter().copied().find(|key| key.kid() == kid)
    }
}

impl Nonce {
    /// A new one: 24 bytes from the kernel's random generator. jitd makes it while callers wait, and aws-lc's own generator takes
    /// tens of milliseconds to begin.
    ///
    /// # Errors
    /// [`KeyError::NotGenerated`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; 24];
        // The kernel gives so few bytes whole or not at all (getrandom(2)).
        getrandom(&mut bytes[..], GetRandomFlags::empty()).map_err(|_| KeyError::NotGenerated)?;
        Self::try_from(URL_SAFE_NO_PAD.encode(bytes)).map_err(|_| KeyError::NotGenerated)
    }
}
