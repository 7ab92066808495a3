//! Hosts in words.

use std::collections::BTreeMap;

/// Hosts by `names` and patterns of them, `*` alone for any name, that have `labels`.
pub(super) fn places_in_words(names: &[String], labels: &BTreeMap<String, Vec<String>>) -> String {
    let labels = labels.iter();
    let labels = labels.map(|(key, values)| format!("{key}={}", values.join(" or ")));
    let labels = labels.collect::<Vec<_>>().join(", ");
    match (names, labels.as_str()) {
        ([any], "") if any == "*" => "every host, those enrolled later too".to_owned(),
        ([any], labels) if any == "*" => format!("those with {labels}, also enrolled later"),
        (names, "") => names.join(", "),
        (names, labels) => format!("of {}: those with {labels}", names.join(", ")),
    }
}
