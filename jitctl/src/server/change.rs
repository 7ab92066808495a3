//! What the server tells of a change that others confirm.

use jiff::Timestamp;
use serde::Deserialize;

use super::Ending;

/// A change of an administrator's that others confirm.
#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) by: String,
    pub(crate) at: Timestamp,
    pub(crate) lapses_at: Timestamp,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// What it came to when it was proposed, a line each.
    #[serde(default)]
    pub(crate) summary: Vec<String>,
    #[serde(default)]
    pub(crate) confirmed: Vec<Confirmed>,
    /// How many people have to confirm it.
    pub(crate) needs: u32,
    /// Who may.
    #[serde(default)]
    pub(crate) able: Vec<String>,
    #[serde(default)]
    pub(crate) ended: Option<Ending>,
    #[serde(default)]
    pub(crate) now: Option<ComesTo>,
    /// Of one that has ended how the policy of then was to become another.
    #[serde(default)]
    pub(crate) policy_diff: Option<String>,
}

/// A confirmation.
#[derive(Debug, Deserialize)]
pub(crate) struct Confirmed {
    pub(crate) by: String,
    pub(crate) at: Timestamp,
    #[serde(default)]
    pub(crate) comment: Option<String>,
    /// False where it counts no more.
    #[serde(default)]
    pub(crate) counts: Option<bool>,
}

/// What a change comes to now.
#[derive(Debug, Deserialize)]
pub(crate) struct ComesTo {
    /// None: it can't be made now.
    #[serde(default)]
    pub(crate) digest: Option<String>,
    /// Why not.
    #[serde(default)]
    pub(crate) refused: Option<String>,
    #[serde(default)]
    pub(crate) changes: Vec<Line>,
    #[serde(default)]
    pub(crate) lost: Option<Lost>,
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
    #[serde(default)]
    pub(crate) policy_diff: Option<String>,
}

/// One thing that is different.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) sign: String,
    pub(crate) thing: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) details: Vec<String>,
}

/// What people lose by it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Lost {
    #[serde(default)]
    pub(crate) grants: Vec<LostGrant>,
}

/// A grant that ends with it.
#[derive(Debug, Deserialize)]
pub(crate) struct LostGrant {
    pub(crate) id: String,
    pub(crate) principal: String,
    pub(crate) host: String,
}
