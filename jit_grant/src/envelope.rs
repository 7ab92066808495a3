//! The envelope of every signed document: a compact JWS (RFC 7515) whose `alg`, `typ` and `kid` the verifier pins.
//!
//! jsonwebtoken signs and checks signatures. What a header may say, and every claim, is checked here and not by its
//! `Validation`, whose defaults (an `exp` demanded, a minute of leeway, its own clock, `aud` as a list) suit other documents.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::key::{PublicKey, SigningKey};
use crate::protocol::{self, Versioned};

const ALGORITHM: &str = "EdDSA";
/// Another clock than ours may be ahead by so many seconds.
pub(crate) const SKEW_SECONDS: i64 = 60;

/// What kind of document: its `typ`, and how large it may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) typ: &'static str,
    pub(crate) max_bytes: usize,
}

/// Why a signed document does not count. It changes nothing; whoever refused it goes on as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentRefused {
    /// More bytes than a document of its kind may have.
    #[error("the document has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// More grants than [`Bundle::MAX_GRANTS`](crate::Bundle::MAX_GRANTS).
    #[error("the bundle has {grants} grants, more than the {limit} allowed")]
    TooManyGrants {
        /// How many it has.
        grants: usize,
        /// The most allowed.
        limit: usize,
    },
    /// Not UTF-8, not a JWS, not JSON, or not of our shape.
    #[error("the document can't be read: {0}")]
    Unparsable(String),
    /// Of another type, with another algorithm, or with a header that demands what we don't do.
    #[error("the document is not what was expected here: {0}")]
    WrongKind(String),
    /// Of a version that this program does not know.
    #[error(
        "the document is of version {found}, and this program knows up to {known}; upgrade jit here"
    )]
    NewerVersion {
        /// Its version.
        found: u64,
        /// The highest that is known here.
        known: u64,
    },
    /// Signed with a key that is not trusted here.
    #[error("the document names key {0:?}, which is not trusted here")]
    UnknownKey(String),
    /// More documents than a chain of keys may have.
    #[error("the chain of keys has {documents} documents, more than the {limit} allowed")]
    ChainTooLong {
        /// How many it has.
        documents: usize,
        /// The most allowed.
        limit: usize,
    },
    /// The server's keys have gone on from another key than ours.
    #[error(
        "the chain of the server's keys does not go on from {0}, the newest key known here; if the server's key was changed, enrol this host again with `jitctl enroll`"
    )]
    KeyNotInChain(String),
    /// The signature does not fit.
    #[error("the signature is not by the key that the document names, or the document was changed")]
    BadSignature,
    /// Meant for somebody else.
    #[error("the document is for {0:?}, not for us")]
    OtherAudience(String),
    /// Older than what we have.
    #[error("the bundle has revision {offered}, and this host has seen {seen}")]
    LowerRevision {
        /// Its revision.
        offered: u64,
        /// The highest known.
        seen: u64,
    },
    /// Dated later than our clock, by more than a minute.
    #[error("the document is dated {0}, ahead of our clock by more than {SKEW_SECONDS} s")]
    FromTheFuture(Timestamp),
    /// A host's token that is past its time, or was made to last too long.
    #[error(
        "the token is past its time, or was made to last longer than {} s",
        crate::token::HostToken::MAX_SECONDS
    )]
    Expired,
    /// What a host says of itself, from longer ago than that is believed.
    #[error("the host said it at {0}, too long ago: it was kept back, or is said again")]
    OldState(Timestamp),
    /// A word that answers another question than ours.
    #[error("the word carries another nonce than the one asked with")]
    NotOurNonce,
    /// A word that names a newer bundle than the one we hold.
    #[error("the server is at revision {server}, and this host holds {held}")]
    NewerRevision {
        /// The server's.
        server: u64,
        /// Ours.
        held: u64,
    },
}

impl DocumentRefused {
    /// The code that says so to people.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } | Self::TooManyGrants { .. } | Self::ChainTooLong { .. } => {
                Code::BundleTooLarge
            }
            Self::KeyNotInChain(_) => Code::KeyNotInChain,
            Self::Unparsable(_) => Code::Unparsable,
            Self::WrongKind(_) => Code::WrongKind,
            Self::NewerVersion { .. } => Code::NewerVersion,
            Self::UnknownKey(_) => Code::UnknownKey,
            Self::BadSignature => Code::BadSignature,
            Self::OtherAudience(_) => Code::OtherHost,
            Self::LowerRevision { .. } => Code::LowerRevision,
            Self::FromTheFuture(_) => Code::FromTheFuture,
            Self::Expired | Self::OldState(_) => Code::TokenExpired,
            Self::NotOurNonce => Code::NotOurNonce,
            Self::NewerRevision { .. } => Code::NewerRevision,
        }
    }
}

/// Why a document was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// The signer failed.
    #[error("the document could not be signed: {0}")]
    Signer(String),
    /// Every host would refuse it.
    #[error("the document was not signed, since every host would refuse it: {0}")]
    WouldBeRefused(#[from] DocumentRefused),
}

/// Signs `claims` as a document of this kind.
pub(crate) fn seal(
    kind: Kind,
    claims: &impl Serialize,
    key: &SigningKey,
) -> Result<String, NotSigned> {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(kind.typ.to_owned());
    header.kid = Some(key.public().kid());
    let document = jsonwebtoken::encode(&header, &Versioned::new(claims), key.private())
        .map_err(|error| NotSigned::Signer(error.to_string()))?;
    check_size(kind, document.len())?;
    Ok(document)
}

/// The key that a document names; empty where it names none. Of a document that was verified: the one that signed it.
pub(crate) fn kid_of(document: &[u8]) -> String {
    let header = document.split(|byte| *byte == b'.').next();
    let header = header.and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    header
        .and_then(|header| serde_json::from_slice::<SealHeader>(&header).ok())
        .and_then(|header| header.kid)
        .unwrap_or_default()
}

/// A document of the right kind, taken apart. Nothing in it is believed yet.
#[derive(Debug)]
pub(crate) struct Sealed<'a> {
    pub(crate) kid: String,
    payload: Vec<u8>,
    message: &'a str,
    signature: &'a str,
}

impl<'a> Sealed<'a> {
    /// Checks size, UTF-8, the JWS form, and that the header says what it must and demands nothing else.
    pub(crate) fn parse(kind: Kind, document: &'a [u8]) -> Result<Self, DocumentRefused> {
        check_size(kind, document.len())?;
        let text = std::str::from_utf8(document).map_err(|_| unparsable("it is not UTF-8"))?;
        let (message, signature) = text.rsplit_once('.').ok_or_else(not_a_jws)?;
        let (header, payload) = message.split_once('.').ok_or_else(not_a_jws)?;
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| not_a_jws())?;
        let header: SealHeader = serde_json::from_slice(&header)
            .map_err(|error| unparsable(&format!("header: {error}")))?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| not_a_jws())?;
        Ok(Self {
            kid: header.checked_kid(kind)?,
            payload,
            message,
            signature,
        })
    }

    /// Checks that `key` signed it.
    pub(crate) fn check_signature(&self, key: PublicKey) -> Result<(), DocumentRefused> {
        match jsonwebtoken::crypto::verify(
            self.signature,
            self.message.as_bytes(),
            &key.verifier(),
            Algorithm::EdDSA,
        ) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(DocumentRefused::BadSignature),
        }
    }

    /// What it says. To be believed only after [`Self::check_signature`].
    pub(crate) fn claims<'p, C: Deserialize<'p>>(&'p self) -> Result<C, DocumentRefused> {
        protocol::check(&self.payload)?;
        serde_json::from_slice(&self.payload)
            .map_err(|error| unparsable(&format!("claims: {error}")))
    }
}

/// Refuses what is dated later than `now` by more than the clocks of two machines may differ.
pub(crate) fn check_not_from_the_future(
    dated: Timestamp,
    now: Timestamp,
) -> Result<(), DocumentRefused> {
    // In seconds and nanoseconds, since the sum of a timestamp and a span may leave the range of timestamps.
    if dated.duration_since(now) > jiff::SignedDuration::from_secs(SKEW_SECONDS) {
        return Err(DocumentRefused::FromTheFuture(dated));
    }
    Ok(())
}

pub(crate) fn unparsable(why: &str) -> DocumentRefused {
    DocumentRefused::Unparsable(clean(why, 200))
}

/// Text from elsewhere, fit for a log line or a terminal: printable ASCII, at most `longest` characters.
pub(crate) fn clean(text: &str, longest: usize) -> String {
    text.chars()
        .take(longest)
        .map(|c| {
            if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        })
        .collect()
}

/// The header as we read it. A field that we don't know is ignored, as RFC 7515 (4) has it, and `crit` names those that
/// may not be: any is one too many for us.
#[derive(Deserialize)]
struct SealHeader {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

impl SealHeader {
    fn checked_kid(self, kind: Kind) -> Result<String, DocumentRefused> {
        let wrong = |what: &str, found: &str, wanted: &str| {
            DocumentRefused::WrongKind(format!("{what} is {:?}, not {wanted:?}", clean(found, 64)))
        };
        if self.alg != ALGORITHM {
            return Err(wrong("alg", &self.alg, ALGORITHM));
        }
        match self.typ {
            Some(typ) if typ == kind.typ => {}
            other => return Err(wrong("typ", &other.unwrap_or_default(), kind.typ)),
        }
        if self.crit.is_some() {
            return Err(DocumentRefused::WrongKind(
                "its header has crit, and no extension is known here".to_owned(),
            ));
        }
        self.kid
            .ok_or_else(|| DocumentRefused::UnknownKey(String::new()))
    }
}

fn check_size(kind: Kind, bytes: usize) -> Result<(), DocumentRefused> {
    if bytes > kind.max_bytes {
        return Err(DocumentRefused::TooLarge {
            bytes,
            limit: kind.max_bytes,
        });
    }
    Ok(())
}

fn not_a_jws() -> DocumentRefused {
    unparsable("it is not a compact JWS")
}
