//! From one key of the server's to the next: a document that the current key signs names the one after it.
//!
//! Such documents form a chain, so that a host that slept through several rotations walks from the key that it has to the newest.
//! Whoever steals a key that a host has left behind can't lead that host anywhere: the walk begins at the newest key that it has.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::envelope::{DocumentRefused, Kind, NotSigned, Sealed, clean, seal};
use crate::key::{PublicKey, SigningKey};

const NEXT_KEY: Kind = Kind {
    typ: "jit-next-key+jwt",
    max_bytes: 1024,
};

/// The server's next key, as the one before it names it. It is for every host of the server, so it has no audience.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextKey {
    /// The number of the rotation, from 1.
    pub seq: u64,
    /// When it was made. Evidence: a host's clock may be far behind while it has nobody's word, so it is held against none.
    pub at: Timestamp,
    /// The key.
    pub next: PublicKey,
}

impl NextKey {
    /// Documents of one chain at most. A host that slept through more rotations must enrol again.
    pub const MOST: usize = 32;

    /// The form signed by the `current` key.
    ///
    /// # Errors
    /// [`NotSigned`] where the signer fails.
    pub fn sign(&self, current: &SigningKey) -> Result<String, NotSigned> {
        seal(NEXT_KEY, self, current)
    }

    /// The newest key that a chain leads to from the key `from`: `from` itself where the chain ends with it. `chain` is oldest first.
    ///
    /// # Errors
    /// [`DocumentRefused::ChainTooLong`]; [`DocumentRefused::KeyNotInChain`] where no document goes on from `from`; else what is
    /// wrong with the first document that can't be read or, from there on, was not signed by the key before it, has not the number
    /// after the one before it, or leads back. Then none of them counts.
    pub fn newest(chain: &[String], from: PublicKey) -> Result<PublicKey, DocumentRefused> {
        if chain.len() > Self::MOST {
            return Err(DocumentRefused::ChainTooLong {
                documents: chain.len(),
                limit: Self::MOST,
            });
        }
        let documents = chain.iter().map(String::as_bytes);
        let sealed = documents.map(|document| Sealed::parse(NEXT_KEY, document));
        let sealed: Vec<Sealed<'_>> = sealed.collect::<Result<_, _>>()?;
        let Some(first) = sealed.iter().position(|one| one.kid == from.kid()) else {
            let last = sealed.last().map(Sealed::claims::<Self>).transpose()?;
            return match last {
                Some(last) if last.next == from => Ok(from),
                _ => Err(DocumentRefused::KeyNotInChain(from.kid())),
            };
        };
        let (mut passed, mut newest, mut seq) = (vec![from], from, None);
        for document in &sealed[first..] {
            if document.kid != newest.kid() {
                return Err(DocumentRefused::UnknownKey(clean(&document.kid, 64)));
            }
            document.check_signature(newest)?;
            let claims: Self = document.claims()?;
            let follows = seq.is_none_or(|seq: u64| seq.checked_add(1) == Some(claims.seq));
            if !follows || passed.contains(&claims.next) {
                return Err(DocumentRefused::WrongKind(format!(
                    "rotation {} does not follow the one before it",
                    claims.seq
                )));
            }
            (newest, seq) = (claims.next, Some(claims.seq));
            passed.push(newest);
        }
        Ok(newest)
    }
}
