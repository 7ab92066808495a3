//! Which events an endpoint is told of: by their names in the record, alarms also by their causes, or by the name of a set of them.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;

use super::held::{EXPIRED, STARTED};
use crate::alarm::Alarm;
use crate::event::Event;

/// Sets, each for a purpose.
const SETS: &[(&str, &[&str])] = &[
    ("request", &["requested", "denied", "withdrawn", "lapsed"]),
    ("approval", &["approved", "granted", "extended"]),
    ("start", &[STARTED]),
    ("expiry", &[EXPIRED]),
    (
        "revocation",
        &["revoked", "released", "locked", "user_removed", "restored"],
    ),
    ("alarm", &["alarm"]),
    (
        "break-glass",
        &["glass_broken", "review_overdue", "reviewed"],
    ),
    (
        "change",
        &[
            "change_proposed",
            "change_confirmed",
            "change_done",
            "change_denied",
            "change_withdrawn",
            "change_lapsed",
            "changed_alone",
            "confirmers_token",
        ],
    ),
];

/// One word of `events`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chosen(Vec<String>);

impl TryFrom<String> for Chosen {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        if let Some((_, names)) = SETS.iter().find(|(set, _)| *set == word) {
            return Ok(Self(names.iter().map(|&name| name.to_owned()).collect()));
        }
        if is_kind(&word) || is_cause(&word) || word == STARTED || word == EXPIRED {
            return Ok(Self(vec![word]));
        }
        let sets: Vec<&str> = SETS.iter().map(|(set, _)| *set).collect();
        Err(format!(
            "{word:?} is no event; there are the sets {}, the kinds that `jitctl audit list` shows of the server, and the causes of alarms",
            sets.join(", ")
        ))
    }
}

impl Chosen {
    /// All names of all words.
    pub(super) fn names(words: BTreeSet<Self>) -> BTreeSet<String> {
        words.into_iter().flat_map(|Self(names)| names).collect()
    }
}

/// True where the server's record has events of that name. Serde knows the names: it complains of an unknown one before all else.
fn is_kind(word: &str) -> bool {
    is_variant(&Event::deserialize(json!({ "kind": word })))
}

/// True where there are alarms of that cause.
fn is_cause(word: &str) -> bool {
    is_variant(&Alarm::deserialize(json!({ "cause": word })))
}

fn is_variant<T>(read: &Result<T, serde_json::Error>) -> bool {
    match read {
        Ok(_) => true,
        Err(error) => !error.to_string().starts_with("unknown variant"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(word: &str) -> Result<Vec<String>, String> {
        Chosen::try_from(word.to_owned()).map(|chosen| chosen.0)
    }

    #[test]
    fn every_set_has_events_that_there_are() {
        for (set, names) in SETS {
            assert_eq!(chosen(set).unwrap(), *names);
            assert!(!is_kind(set) || *names == [*set], "{set} would be both");
            for name in *names {
                assert_eq!(chosen(name).unwrap(), [*name]);
            }
        }
    }

    #[test]
    fn alarms_are_chosen_by_their_causes_which_are_no_kinds() {
        for cause in ["glass_broken", "review_overdue", "chain_gap", "gate_weaker"] {
            assert_eq!(chosen(cause).unwrap(), [cause]);
            assert!(!is_kind(cause), "{cause} would be both");
        }
    }

    #[test]
    fn a_kind_is_known_with_and_without_fields_and_anything_else_is_refused() {
        for kind in ["requested", "restore_confirmed", "call_refused"] {
            assert_eq!(chosen(kind).unwrap(), [kind]);
        }
        for wrong in ["", "Requested", "request ", "*", "login", "unknown variant"] {
            assert!(chosen(wrong).is_err(), "{wrong:?}");
        }
    }
}
