//! Labels of hosts, such as `site=berlin`.

mod choice;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use choice::{Labelled, NoChoice};

/// Labels of one host at most.
pub const MOST_LABELS: usize = 16;

/// Why a text is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a label: it is KEY=VALUE, each 1 to 63 of a-z A-Z 0-9 . _ -, beginning with a letter or digit"
)]
pub struct NotALabel(String);

macro_rules! label_part {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl TryFrom<String> for $name {
            type Error = NotALabel;

            fn try_from(text: String) -> Result<Self, NotALabel> {
                if is_part(&text) { Ok(Self(text)) } else { Err(NotALabel::new(&text)) }
            }
        }

        impl From<$name> for String {
            fn from(part: $name) -> Self {
                part.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

label_part! {
    /// What a label is about.
    LabelKey
}
label_part! {
    /// What it says.
    LabelValue
}

/// A label as people type it: `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(pub LabelKey, pub LabelValue);

impl FromStr for Label {
    type Err = NotALabel;

    fn from_str(text: &str) -> Result<Self, NotALabel> {
        let parts = text.split_once('=');
        let (key, value) = parts.ok_or_else(|| NotALabel::new(text))?;
        Ok(Self(
            key.to_owned().try_into()?,
            value.to_owned().try_into()?,
        ))
    }
}

impl NotALabel {
    fn new(text: &str) -> Self {
        Self(text.chars().take(80).collect())
    }
}

fn is_part(text: &str) -> bool {
    text.len() <= 63
        && text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_key_and_a_value() {
        let Label(key, value) = "site=berlin-2".parse().unwrap();
        assert_eq!(
            (key.to_string(), value.to_string()),
            ("site".to_owned(), "berlin-2".to_owned())
        );
        for wrong in [
            "",
            "site",
            "=x",
            "site=",
            "a b=c",
            "a=b=c",
            "a=\u{202e}",
            &format!("a={}", "b".repeat(64)),
        ] {
            assert!(wrong.parse::<Label>().is_err(), "{wrong:?}");
        }
    }
}
