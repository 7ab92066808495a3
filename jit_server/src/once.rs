//! Calls that are done once however often they are sent: each has a key that the caller chose.
//!
//! Of a caller, his key and what he asks for the record has SHA-256 only, in the first event that the call made: it is kept together
//! with what was done, so neither is ever there without the other.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::event::Actor;

/// Characters of a key at most.
pub const LONGEST_KEY: usize = 64;

/// What a caller calls a call of his. Its quotes, which RFC 9651 has around a string, are none of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

/// A text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Idempotency-Key is 1 to 64 printable characters without spaces, quotes and backslashes, such as a UUID, and is sent once"
)]
pub struct NotAKey;

impl Key {
    /// The key in a header's value.
    ///
    /// # Errors
    /// [`NotAKey`].
    pub fn parse(value: &[u8]) -> Result<Self, NotAKey> {
        let quoted = value.strip_prefix(b"\"");
        let quoted = quoted.map(|rest| rest.strip_suffix(b"\"").ok_or(NotAKey));
        let key = quoted.unwrap_or(Ok(value))?;
        let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\".contains(byte);
        if !(1..=LONGEST_KEY).contains(&key.len()) || !key.iter().all(plain) {
            return Err(NotAKey);
        }
        String::from_utf8(key.to_vec())
            .map(Self)
            .map_err(|_| NotAKey)
    }
}

/// SHA-256. As text 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these parts, each with its length before it, so that no other parts have the same.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "a digest is 64 hexadecimal digits in lower case";
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(wrong),
        };
        let digits = text.bytes().map(|byte| digit(&byte));
        let digits = digits.collect::<Result<Vec<u8>, _>>()?;
        let (pairs, rest) = digits.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        match bytes.try_into() {
            Ok(bytes) if rest.is_empty() => Ok(Self(bytes)),
            _ => Err(wrong),
        }
    }
}

/// A call that is done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// Of the caller and his key: another's same key is another.
    pub key: Digest,
    /// Of what is called, and with what.
    pub call: Digest,
}

impl Once {
    /// A call of `caller`: his key, the method, the path with what follows it, and the body.
    #[must_use]
    pub fn of(caller: &Actor, key: &Key, method: &str, path: &str, body: &[u8]) -> Self {
        let caller = caller.to_string();
        Self {
            key: Digest::of(&[caller.as_bytes(), key.0.as_bytes()]),
            call: Digest::of(&[method.as_bytes(), path.as_bytes(), body]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_short_word_with_its_quotes_or_without() {
        let longest = "x".repeat(64);
        for (value, key) in [
            ("8e03978e-40d5", "8e03978e-40d5"),
            ("\"8e03978e-40d5\"", "8e03978e-40d5"),
            (longest.as_str(), longest.as_str()),
            ("!~", "!~"),
        ] {
            assert_eq!(Key::parse(value.as_bytes()), Ok(Key(key.to_owned())));
        }
        let too_long = "x".repeat(65);
        for wrong in [
            "",
            "\"\"",
            "\"",
            "\"a",
            "a\"",
            "a b",
            "a\\b",
            "\"a\\\"b\"",
            "a\u{e9}",
            "a\u{7f}",
            &too_long,
        ] {
            assert_eq!(Key::parse(wrong.as_bytes()), Err(NotAKey), "{wrong}");
        }
    }

    #[test]
    fn another_caller_another_key_and_another_call_are_others() {
        let (alice, key) = (actor("alice"), Key("k1".to_owned()));
        let of = |caller: &Actor, key: &Key, path: &str, body: &str| {
            Once::of(caller, key, "POST", path, body.as_bytes())
        };
        let first = of(&alice, &key, "/v1/requests", "{}");
        assert_eq!(of(&alice, &key, "/v1/requests", "{}"), first);
        assert_ne!(of(&actor("bob"), &key, "/v1/requests", "{}").key, first.key);
        // No part runs into the next.
        assert_ne!(
            of(&actor("alicek"), &Key("1".to_owned()), "", "").key,
            first.key
        );
        assert_ne!(of(&alice, &key, "/v1/requests{", "}").call, first.call);
        assert_ne!(of(&alice, &key, "/v1/requests", "{ }").call, first.call);
    }

    fn actor(name: &str) -> Actor {
        Actor::Principal(name.parse().unwrap())
    }

    #[test]
    fn a_digest_is_read_back_from_its_text_and_nothing_else_is() {
        let digest = Digest::of(&[b"a"]);
        let text = digest.to_string();
        assert_eq!(Digest::try_from(text.clone()), Ok(digest));
        for wrong in [
            "",
            &text[1..],
            &format!("{text}00"),
            &text.replace('0', "g"),
            &text.to_uppercase(),
        ] {
            assert!(Digest::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
