//! Text that people write and other people's terminals show: reasons, comments, tickets.
//!
//! Parsed once into types that hold only text which cannot move a cursor, reverse its order or hide a character (T22).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Fewer characters than it needs.
    #[error("the {what} is too short: it needs at least {least} characters")]
    TooShort {
        /// Which text.
        what: &'static str,
        /// Characters it needs.
        least: usize,
    },
    /// More characters than it may have.
    #[error("the {what} is too long: it may have at most {most} characters")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// Characters it may have.
        most: usize,
    },
    /// A character that a terminal obeys instead of showing, or that nobody sees.
    #[error(
        "the {what} has the character U+{code:04X}, which does not show as itself: write it without"
    )]
    Hidden {
        /// Which text.
        what: &'static str,
        /// The character.
        code: u32,
    },
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $least:literal, $most:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                one_line(&text, $what, $least, $most).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> String {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text_type! {
    /// Why somebody asks, denies or revokes.
    Reason, "reason", 3, 500
}
impl Reason {
    /// One of the server's own, which need no look at what is in them.
    pub(crate) fn ours(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

text_type! {
    /// What an approver adds.
    Comment, "comment", 1, 500
}
text_type! {
    /// Why a policy lets something happen that nobody approves.
    Grounds, "because", 10, 500
}
text_type! {
    /// What an attribute of a user says.
    AttributeText, "attribute", 1, 64
}
text_type! {
    /// A ticket's number or address.
    Ticket, "ticket", 1, 200
}

/// `text` on one line: runs of white space become one space; then it must be of the right length and hold nothing hidden.
fn one_line(
    text: &str,
    what: &'static str,
    least: usize,
    most: usize,
) -> Result<String, TextError> {
    // Four bytes a character at most; refuse before looking at all of it.
    if text.len() > most.saturating_mul(8) {
        return Err(TextError::TooLong { what, most });
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(hidden) = line.chars().find(|c| is_hidden(*c)) {
        return Err(TextError::Hidden {
            what,
            code: u32::from(hidden),
        });
    }
    match line.chars().count() {
        short if short < least => Err(TextError::TooShort { what, least }),
        long if long > most => Err(TextError::TooLong { what, most }),
        _ => Ok(line),
    }
}

/// Text of a file that others wrote, for a terminal: 500 characters at most, with U+FFFD in the place of hidden ones.
pub(crate) fn shown(text: &str) -> String {
    let shown = text.chars().take(500);
    shown
        .map(|c| if is_hidden(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Text that others wrote, for a terminal: all its lines, with U+FFFD in the place of hidden characters.
pub(crate) fn visible(text: &str) -> String {
    let plain = |c: char| c == '\n' || !is_hidden(c);
    let shown = text.chars();
    shown
        .map(|c| if plain(c) { c } else { '\u{fffd}' })
        .collect()
}

/// The same for the record, which is kept for ever: 200 characters at most.
pub(crate) fn brief(text: &str) -> String {
    shown(text).chars().take(200).collect()
}

/// Controls (C0, C1), bidirectional controls, characters of no width, fillers, tags and non-characters.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0x00AD | 0x034F | 0x061C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
            | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0xFFFE | 0xFFFF
            | 0x1_BCA0..=0x1_BCA3 | 0x1_D173..=0x1_D17A | 0xE_0000..=0xE_0FFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_folded_into_one_line() {
        assert_eq!(
            Reason::try_from("  disk\n\tfull ".to_owned())
                .unwrap()
                .as_str(),
            "disk full"
        );
    }

    #[test]
    fn what_a_terminal_obeys_or_hides_is_refused() {
        for hostile in [
            "red \u{1b}[31m",
            "a\u{202e}b c",
            "zero\u{200b}width",
            "c1 \u{9b}31m",
            "tag\u{e0041}s",
            "bell\u{7}",
        ] {
            assert!(
                matches!(
                    Reason::try_from(hostile.to_owned()),
                    Err(TextError::Hidden { .. })
                ),
                "{hostile:?}"
            );
        }
    }

    #[test]
    fn a_reason_has_3_to_500_characters() {
        assert!(Reason::try_from("ab".to_owned()).is_err());
        assert!(Reason::try_from("ä".repeat(500)).is_ok());
        assert!(Reason::try_from("ä".repeat(501)).is_err());
        assert!(Reason::try_from("x".repeat(1 << 20)).is_err());
    }
}
