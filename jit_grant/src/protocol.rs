//! Which version of its kind a document is: its claim `protocol`. Absent, as before there was one, it is 1.
//!
//! A field that may be absent makes no new version, and one that a reader does not know is ignored. A version is for what a reader that
//! does not know it would get wrong, so it refuses that.

use serde::{Deserialize, Serialize};

use crate::envelope::{DocumentRefused, unparsable};

/// The version of all documents that are written, and the highest that is read.
const PROTOCOL: u64 = 1;

/// Claims, and their version beside them.
#[derive(Serialize)]
pub(crate) struct Versioned<'a, C> {
    protocol: u64,
    #[serde(flatten)]
    claims: &'a C,
}

impl<'a, C> Versioned<'a, C> {
    pub(crate) fn new(claims: &'a C) -> Self {
        Self {
            protocol: PROTOCOL,
            claims,
        }
    }
}

/// Refuses claims of a version that came after this program.
pub(crate) fn check(claims: &[u8]) -> Result<(), DocumentRefused> {
    #[derive(Deserialize)]
    struct Found {
        protocol: Option<u64>,
    }
    let found: Found =
        serde_json::from_slice(claims).map_err(|error| unparsable(&format!("claims: {error}")))?;
    match found.protocol.unwrap_or(PROTOCOL) {
        1..=PROTOCOL => Ok(()),
        found => Err(DocumentRefused::NewerVersion {
            found,
            known: PROTOCOL,
        }),
    }
}
