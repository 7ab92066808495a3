//! The rotations of the server's signing key that hosts may have slept through.

use std::collections::VecDeque;

use jit_grant::{NextKey, PublicKey};

use crate::event::KeyRotated;

/// The newest rotations, at most [`NextKey::MOST`]. A host that slept through more must enrol again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChain {
    rotations: VecDeque<KeyRotated>,
}

impl KeyChain {
    /// Takes in the next one.
    pub fn rotated(&mut self, rotated: KeyRotated) {
        while self.rotations.len() >= NextKey::MOST {
            self.rotations.pop_front();
        }
        self.rotations.push_back(rotated);
    }

    /// The number of the last one, 0 for none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.rotations.back().map_or(0, |rotated| rotated.seq)
    }

    /// The key that it leads to. None: there was no rotation.
    #[must_use]
    pub fn newest(&self) -> Option<PublicKey> {
        self.rotations.back().map(|rotated| rotated.next)
    }

    /// The keys that it leads from, oldest first.
    pub fn earlier(&self) -> impl Iterator<Item = PublicKey> {
        self.rotations.iter().map(|rotated| rotated.before)
    }

    /// The documents, oldest first.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        self.rotations
            .iter()
            .map(|rotated| rotated.document.as_str())
    }
}
