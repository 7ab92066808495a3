//! Names that come from people, files and the wire, parsed once into types that hold only valid ones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not the name it was offered as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {kind}: {rule}")]
pub struct NameError {
    text: String,
    kind: &'static str,
    rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) {
                    Ok(Self(text))
                } else {
                    let text = text.chars().take(80).collect();
                    Err(NameError { text, kind: $kind, rule: $rule })
                }
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

/// True for 1 to `longest` bytes, the first accepted by `first`, the others by `rest`.
fn shaped(text: &str, longest: usize, first: fn(u8) -> bool, rest: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= longest
        && bytes.first().is_some_and(|b| first(*b))
        && bytes[1..].iter().all(|b| rest(*b))
}

fn lower_or_digit(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn lower_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

fn base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

fn service_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"._@-".contains(&b)
}

fn numbered(text: &str, letter: char) -> bool {
    text.strip_prefix(letter).is_some_and(|digits| {
        (1..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

name_type! {
    /// A person or a machine identity, as the server knows it.
    Principal, "principal", "1 to 64 of a-z 0-9 . _ @ -, beginning with a letter or digit",
    |t| shaped(t, 64, lower_or_digit, |b| lower_or_digit(b) || b"._@-".contains(&b))
}
name_type! {
    /// A Unix account that may be granted. `root` is not one.
    Login, "login", "1 to 32 of a-z 0-9 _ . -, beginning with a letter or _, and not root",
    |t| t != "root" && shaped(t, 32, |b| b.is_ascii_lowercase() || b == b'_', |b| lower_or_digit(b) || b"_.-".contains(&b))
}
name_type! {
    /// A host's name, as people type it.
    HostName, "host name", "a DNS name in lower case, at most 253 bytes",
    |t| t.len() <= 253 && t.split('.').all(|label| {
        shaped(label, 63, lower_or_digit, |b| lower_or_digit(b) || b == b'-') && !label.ends_with('-')
    })
}
name_type! {
    /// A host's identity, given by the server at enrolment: the audience of what is signed for it.
    HostId, "host id", "h and 32 hexadecimal digits",
    |t| t.strip_prefix('h').is_some_and(|hex| hex.len() == 32 && hex.bytes().all(lower_hex))
}
name_type! {
    /// A PAM service: the name of a file in /etc/pam.d.
    Service, "PAM service", "1 to 64 of a-z A-Z 0-9 . _ @ -, not beginning with .",
    |t| shaped(t, 64, |b| b != b'.' && service_byte(b), service_byte)
}
name_type! {
    /// What may be asked for.
    RoleName, "role", "1 to 64 of a-z 0-9 _ . -, beginning with a letter or digit",
    |t| shaped(t, 64, lower_or_digit, |b| lower_or_digit(b) || b"_.-".contains(&b))
}
name_type! {
    /// One request.
    RequestId, "request id", "r and a number, such as r17",
    |t| numbered(t, 'r')
}
name_type! {
    /// One grant: one principal, one host.
    GrantId, "grant id", "g and a number, such as g17",
    |t| numbered(t, 'g')
}
name_type! {
    /// What jitd made up for one heartbeat, so that an old one can't be played back.
    Nonce, "nonce", "22 to 64 characters of base64url",
    |t| t.len() >= 22 && shaped(t, 64, base64url, base64url)
}
name_type! {
    /// The head of an event chain: SHA-256 in hexadecimal.
    ChainHead, "chain head", "64 hexadecimal digits in lower case",
    |t| t.len() == 64 && shaped(t, 64, lower_hex, lower_hex)
}
name_type! {
    /// One enrolment token, as people name it; it is no secret.
    TokenId, "token id", "e and a number, such as e17",
    |t| numbered(t, 'e')
}
name_type! {
    /// One token of a user, as people name it; it is no secret.
    UserTokenId, "user token id", "u and a number, such as u17",
    |t| numbered(t, 'u')
}
name_type! {
    /// One change of an administrator's that others have to confirm.
    ChangeId, "change id", "c and a number, such as c17",
    |t| numbered(t, 'c')
}
name_type! {
    /// A Unix group that may be granted. `root` is not one.
    GroupName, "Unix group", "1 to 32 of a-z 0-9 _ . -, beginning with a letter or _, and not root",
    |t| t != "root" && shaped(t, 32, |b| b.is_ascii_lowercase() || b == b'_', |b| lower_or_digit(b) || b"_.-".contains(&b))
}
name_type! {
    /// SHA-256 of a token's secret, in hexadecimal.
    SecretHash, "hash", "64 hexadecimal digits in lower case",
    |t| t.len() == 64 && shaped(t, 64, lower_hex, lower_hex)
}

impl SecretHash {
    /// From the bytes of the hash, of which there are 32.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
