//! Fingerprints of ssh keys, as OpenSSH writes them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "SHA256:";
/// SHA-256 in unpadded base64.
const ENCODED_DIGEST: usize = 43;
/// A public key line longer than this is refused unread. OpenSSH's largest (RSA, 16384 bits) takes about 2,800 bytes.
const LONGEST_LINE: usize = 16 * 1024;

/// An OpenSSH key fingerprint: `SHA256:` and unpadded base64 of SHA-256 over the key blob, as `ssh-keygen -l` prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

/// Why a text gives no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// Not the shape that `ssh-keygen -l` prints.
    #[error(
        "not a key fingerprint: expected SHA256: and 43 characters of base64, as ssh-keygen -l prints it"
    )]
    NotAFingerprint,
    /// Not `TYPE BASE64 [COMMENT]`.
    #[error(
        "not an ssh public key: expected one line such as \"ssh-ed25519 AAAA... comment\", as in a .pub file"
    )]
    NotAKeyLine,
    /// Longer than any key.
    #[error(
        "the ssh public key line is longer than {LONGEST_LINE} bytes; give the contents of one .pub file"
    )]
    TooLong,
    /// A certificate; what it certifies changes, its key does not.
    #[error(
        "this is an ssh certificate, not a key; give the plain public key that it was made for"
    )]
    Certificate,
    /// The line names one type and its blob another.
    #[error(
        "the ssh public key is damaged: the line says one key type, the data inside another; copy it again from the .pub file"
    )]
    TypeMismatch,
}

impl Fingerprint {
    /// The fingerprint of a public key given as in a `.pub` file, or as sshd writes it after `publickey` in `SSH_AUTH_INFO_0`:
    /// `ssh-ed25519 AAAA… comment`.
    ///
    /// # Errors
    /// Where the line is no plain public key: malformed, too long, a certificate, or of a type that its data contradicts.
    pub fn of_public_key_line(line: &str) -> Result<Self, FingerprintError> {
        if line.len() > LONGEST_LINE {
            return Err(FingerprintError::TooLong);
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(named), Some(encoded)) = (words.next(), words.next()) else {
            return Err(FingerprintError::NotAKeyLine);
        };
        let blob = STANDARD
            .decode(encoded)
            .map_err(|_| FingerprintError::NotAKeyLine)?;
        let inner = type_inside(&blob).ok_or(FingerprintError::NotAKeyLine)?;
        if is_certificate(named.as_bytes()) || is_certificate(inner) {
            return Err(FingerprintError::Certificate);
        }
        if inner != named.as_bytes() {
            return Err(FingerprintError::TypeMismatch);
        }
        Ok(Self(format!(
            "{PREFIX}{}",
            STANDARD_NO_PAD.encode(digest(&SHA256, &blob))
        )))
    }

    /// The fingerprint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first string of a key blob (RFC 4253, 6.6): its type. A blob that ends there holds no key.
fn type_inside(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (name, key) = rest.split_at_checked(length)?;
    (!name.is_empty() && !key.is_empty()).then_some(name)
}

/// OpenSSH's PROTOCOL.certkeys: every certificate type has this in its name.
fn is_certificate(key_type: &[u8]) -> bool {
    key_type.windows(6).any(|part| part == b"-cert-")
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;

    fn try_from(text: String) -> Result<Self, FingerprintError> {
        let encoded = text
            .strip_prefix(PREFIX)
            .ok_or(FingerprintError::NotAFingerprint)?;
        // Decoding settles the alphabet and that the spare bits of the last character are zero: one text a fingerprint.
        if encoded.len() != ENCODED_DIGEST || STANDARD_NO_PAD.decode(encoded).is_err() {
            return Err(FingerprintError::NotAFingerprint);
        }
        Ok(Self(text))
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        Self::try_from(text.to_owned())
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
