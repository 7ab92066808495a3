//! How a host comes to trust a server over a network that neither of them trusts.
//!
//! An administrator carries an [`EnrolmentToken`] from the server to the host. Its secret lets the host in; the server's key in it
//! is what the host believes from then on, so that nobody in between, not even whoever ends TLS, can put a key of his own in its
//! place. The host shows with a [`Possession`] that it has the key that it asks to be known by.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::envelope::{DocumentRefused, Kind, NotSigned, Sealed, clean, seal};
use crate::key::{KeyError, PublicKey, SigningKey};
use crate::name::{HostName, SecretHash};
use crate::token::SERVER;

const POSSESSION: Kind = Kind {
    typ: "jit-possession+jwt",
    max_bytes: 4 * 1024,
};

/// A text is no enrolment token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an enrolment token: it looks like jit-enrol.SECRET.KEY, in one line as `jit-server host token` printed it"
)]
pub struct NotAToken;

/// What is secret in a token: 32 random bytes in base64url. Its Debug form hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret(String);

impl Secret {
    /// A new one from the kernel's random generator.
    ///
    /// # Errors
    /// [`KeyError::NotGenerated`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        // The kernel gives so few bytes whole or not at all (getrandom(2)).
        getrandom(&mut bytes[..], GetRandomFlags::empty()).map_err(|_| KeyError::NotGenerated)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// What the server keeps of it, and what a [`Possession`] names it by. With 256 random bits SHA-256 needs no salt and no rounds.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        let hash = digest(&SHA256, self.0.as_bytes());
        SecretHash::of(hash.as_ref())
    }
}

impl TryFrom<String> for Secret {
    type Error = NotAToken;

    fn try_from(text: String) -> Result<Self, NotAToken> {
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(&text, &mut bytes) {
            Ok(32) => Ok(Self(text)),
            _ => Err(NotAToken),
        }
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What an administrator carries to a host. As text `jit-enrol.SECRET.KEY`: whoever has it can enrol a host with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// Lets the host in.
    pub secret: Secret,
    /// The key that the host believes from then on.
    pub server_key: PublicKey,
}

impl EnrolmentToken {
    /// The secret text.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("jit-enrol.{}.{}", self.secret.0, self.server_key)
    }
}

impl FromStr for EnrolmentToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let rest = text.strip_prefix("jit-enrol.").ok_or(NotAToken)?;
        let (secret, key) = rest.split_once('.').ok_or(NotAToken)?;
        Ok(Self {
            secret: Secret::try_from(secret.to_owned())?,
            server_key: key.parse().map_err(|_| NotAToken)?,
        })
    }
}

/// Proof that a host has the key that it wants to be known by. It is bound to one secret and one name, so that it proves nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Possession {
    /// The name that the host wants.
    pub name: HostName,
    /// The secret that it enrols with.
    pub secret: SecretHash,
}

#[derive(Serialize, Deserialize)]
struct PossessionClaims {
    aud: String,
    name: HostName,
    secret: SecretHash,
}

impl Possession {
    /// The signed form.
    ///
    /// # Errors
    /// [`NotSigned`] where the signer fails.
    pub fn sign(&self, key: &SigningKey) -> Result<String, NotSigned> {
        let claims = PossessionClaims {
            aud: SERVER.to_owned(),
            name: self.name.clone(),
            secret: self.secret.clone(),
        };
        seal(POSSESSION, &claims, key)
    }

    /// Believes `document` only if `key` signed it for us.
    ///
    /// # Errors
    /// The first that applies, in the order size, UTF-8, JWS, algorithm and type, key, signature, audience.
    pub fn verify(document: &[u8], key: PublicKey) -> Result<Self, DocumentRefused> {
        let sealed = Sealed::parse(POSSESSION, document)?;
        if sealed.kid != key.kid() {
            return Err(DocumentRefused::UnknownKey(clean(&sealed.kid, 64)));
        }
        sealed.check_signature(key)?;
        let claims: PossessionClaims = sealed.claims()?;
        if claims.aud != SERVER {
            return Err(DocumentRefused::OtherAudience(clean(&claims.aud, 64)));
        }
        Ok(Self {
            name: claims.name,
            secret: claims.secret,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> EnrolmentToken {
        EnrolmentToken {
            secret: Secret::generate().unwrap(),
            server_key: SigningKey::generate().unwrap().public(),
        }
    }

    #[test]
    fn a_token_survives_being_carried_as_text_and_hides_in_logs() {
        let token = token();
        assert_eq!(token.reveal().parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&token.secret.0));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let whole = token().reveal();
        for text in [
            "",
            "jit-enrol.",
            "jit-enrol.a.b",
            &whole[1..],
            &whole[..whole.len() - 1],
            &format!("{whole}a"),
            &format!("{whole} "),
        ] {
            assert_eq!(text.parse::<EnrolmentToken>(), Err(NotAToken), "{text:?}");
        }
    }

    #[test]
    fn possession_is_proved_with_the_key_itself_and_nothing_else() {
        let key = SigningKey::generate().unwrap();
        let possession = Possession {
            name: "web-1".parse().unwrap(),
            secret: token().secret.hash(),
        };
        let proof = possession.sign(&key).unwrap();
        assert_eq!(
            Possession::verify(proof.as_bytes(), key.public()),
            Ok(possession.clone())
        );
        let other = SigningKey::generate().unwrap();
        assert!(Possession::verify(proof.as_bytes(), other.public()).is_err());
        let host = format!("h{}", "0".repeat(32)).parse().unwrap();
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let host_token = crate::HostToken::sign(&host, &key, now).unwrap();
        assert!(matches!(
            Possession::verify(host_token.as_bytes(), key.public()),
            Err(DocumentRefused::WrongKind(_))
        ));
    }
}
