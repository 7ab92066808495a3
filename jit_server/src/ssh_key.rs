//! A person's public ssh key.

use std::fmt;

use jit_grant::{Fingerprint, FingerprintError};
use serde::{Deserialize, Serialize};

/// A public key, given as a line of a `.pub` file and kept without its comment: `ssh-ed25519 AAAA…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshKey {
    line: String,
    fingerprint: Fingerprint,
}

impl SshKey {
    /// Its fingerprint, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl TryFrom<String> for SshKey {
    type Error = FingerprintError;

    fn try_from(line: String) -> Result<Self, FingerprintError> {
        let fingerprint = Fingerprint::of_public_key_line(&line)?;
        let line = line
            .split_ascii_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ");
        Ok(Self { line, fingerprint })
    }
}

impl From<SshKey> for String {
    fn from(key: SshKey) -> String {
        key.line
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.line)
    }
}
