//! What sessions and the rest of jitd say to each other.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::str::FromStr;

use jiff::Timestamp;
use jit_grant::{Allowed, Code, GrantId, Idling, Principal, Query};
use serde::{Deserialize, Serialize};

use crate::peer::Peer;

/// Says whether a session may go on. A session is its query: it lives while the answer is [`Standing::Live`].
pub trait Judge: Send + Sync {
    /// How `query` stands now; `query.now` is to be ignored in favour of the clock.
    fn standing(&self, query: &Query) -> Standing;

    /// How `query`, which is about to be opened, stands now. It is `login` or a part of it, and what opens one login and lets it in is used up
    /// by `login` from now on; then `query.within` says so.
    fn open(&self, query: &mut Query, _login: &str) -> Standing {
        self.standing(query)
    }

    /// [`Judge::open`] of a login that gets the groups of its grants: `query.groups` says which.
    fn open_with_groups(&self, query: &mut Query, login: &str) -> Standing {
        self.open(query, login)
    }

    /// Writes down what was used up. Whoever was let in by it is told so only then.
    ///
    /// # Errors
    /// Those of the disk.
    fn keep_uses(&self) -> io::Result<()> {
        Ok(())
    }

    /// `login` was not let in by `grant` after all.
    fn give_back(&self, _grant: &GrantId, _login: &str) {}

    /// Every principal who may do `query.action` with `query.login` now.
    fn holders(&self, _query: &Query) -> BTreeSet<Principal> {
        BTreeSet::new()
    }

    /// False once `grant` is gone, revoked or released: then whatever else there is did not end what it held open.
    fn knows(&self, _grant: &GrantId) -> bool {
        true
    }

    /// `login` was open by `grant` when jitd started, and goes on by it though it was lost that it used it up.
    fn recall(&self, _grant: &GrantId, _login: &str) {}

    /// For how long the login of `query` may be left alone now.
    fn idling(&self, _query: &Query) -> Idling {
        Idling::default()
    }
}

/// How a query stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Allowed now.
    Live(Live),
    /// Not allowed, or no longer.
    Over {
        /// Why.
        code: Code,
        /// What to show to the person, cleaned.
        message: String,
    },
}

/// What holds a session open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The grant.
    pub grant: GrantId,
    /// Whose it is.
    pub principal: Principal,
    /// The first instant at which the answer is no by the grants alone. How fresh they are has no part in it: when they go
    /// stale, [`Sessions::reconsider`](super::Sessions::reconsider) is called.
    pub until: Timestamp,
    /// Where an elevation's access ends, its login ends too: root may have handed something to it (T17).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_login: bool,
}

impl Live {
    /// The grant, and the login that used it up, where `query` is open by what opens one login.
    pub(crate) fn used_by<'a>(&'a self, query: &'a Query) -> Option<(&'a GrantId, &'a str)> {
        Some((&self.grant, query.within.as_deref()?))
    }
}

impl From<Allowed> for Live {
    fn from(allowed: Allowed) -> Self {
        Self {
            grant: allowed.grant,
            principal: allowed.principal,
            until: allowed.until,
            ends_login: allowed.end_login_with_elevation,
        }
    }
}

/// A session or elevation to be opened.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The process that opens it: sshd's for a login, sudo or su for an elevation.
    pub peer: Peer,
    /// What was decided, and is decided again until it ends.
    pub query: Query,
    /// What holds it open. None only in monitor mode.
    pub standing: Option<Live>,
    /// For an elevation: what it was started from.
    pub parent: Option<SessionId>,
    /// True where the PAM line enforces. In monitor mode nothing is moved and nothing is ended.
    pub enforce: bool,
}

/// Why a session was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refused {
    /// The stable code.
    pub code: Code,
    /// What happened, for the record; what the person is shown comes from the code.
    pub message: String,
}

/// Why sessions can't be held on this host at all.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The registry can't be made or read.
    #[error(
        "the session registry {path} can't be used: {source}; it must be a folder that only root may enter"
    )]
    Registry {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A timer or a watch can't be made.
    #[error("{what} can't be made: {source}")]
    Kernel {
        /// What.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// jitd's name for a session or elevation: 10 characters of a-z and 2-7, 50 random bits, never used twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

impl SessionId {
    const LENGTH: usize = 10;
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id of random bytes.
    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(
            bytes
                .iter()
                .map(|byte| char::from(Self::LETTERS[usize::from(byte % 32)]))
                .collect(),
        )
    }
}

/// A text that is no session id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a session id: 10 characters of a-z and 2-7")]
pub struct NotAnId;

impl FromStr for SessionId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for SessionId {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Self, NotAnId> {
        let valid =
            text.len() == Self::LENGTH && text.bytes().all(|byte| Self::LETTERS.contains(&byte));
        if valid { Ok(Self(text)) } else { Err(NotAnId) }
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_that_is_made_reads_as_one(bytes: [u8; 10]) {
            let id = SessionId::from_bytes(bytes);
            prop_assert_eq!(id.as_str().parse::<SessionId>(), Ok(id.clone()));
        }

        #[test]
        fn no_other_text_is_an_id(text in "\\PC{0,12}") {
            let letters = |byte: u8| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte);
            prop_assert_eq!(text.parse::<SessionId>().is_ok(), text.len() == 10 && text.bytes().all(letters));
        }
    }
}
