//! Times and text for people's eyes.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Longer text in one cell or sentence is cut.
const LONGEST: usize = 400;

/// `text` that came from elsewhere, without what could move a cursor, hide or turn around what is shown (T22): control
/// characters, bidirectional and zero-width ones. At most 400 characters of it.
pub(crate) fn clean(text: &str) -> String {
    let mut clean: String = text.chars().filter_map(shown).take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        clean.push('…');
    }
    clean
}

fn shown(c: char) -> Option<char> {
    match c {
        '\n' | '\t' | '\r' => Some(' '),
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' => None,
        '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}' => None,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' => None,
        c if c.is_control() => None,
        c => Some(c),
    }
}

/// A length of time in one or two units: `24 min`, `1 h 30 min`, `2 d 4 h`.
pub(crate) fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs().unsigned_abs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Clock and time zone for showing times.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    /// The present.
    pub(crate) now: Timestamp,
    /// Where the person is.
    pub(crate) zone: TimeZone,
}

impl Times {
    /// Local time; with the date where it is not today.
    pub(crate) fn local(&self, at: Timestamp) -> String {
        let (at, now) = (
            at.to_zoned(self.zone.clone()),
            self.now.to_zoned(self.zone.clone()),
        );
        let format = if at.date() == now.date() {
            "%H:%M:%S"
        } else {
            "%Y-%m-%d %H:%M"
        };
        at.strftime(format).to_string()
    }

    /// `text` of the server's, which knows nobody's time zone and says `2026-11-22T19:24:30Z`, with each such instant in the form
    /// of [`Times::local`].
    pub(crate) fn localized(&self, text: &str) -> String {
        let mut localized = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, at, after)) = instant(rest) {
            localized.push_str(before);
            localized.push_str(&self.local(at));
            rest = after;
        }
        localized + rest
    }

    /// What is left until `at`, or how long ago it was.
    pub(crate) fn left(&self, at: Timestamp) -> String {
        let left = at.duration_since(self.now);
        if left.is_positive() {
            format!("{} left", span(left))
        } else {
            self.ago(at)
        }
    }

    /// How long ago `at` was, or how soon it is.
    pub(crate) fn ago(&self, at: Timestamp) -> String {
        let past = self.now.duration_since(at);
        if past.is_negative() {
            format!("in {}", span(past))
        } else {
            format!("{} ago", span(past))
        }
    }
}

/// The first instant in `text` that is written out in UTC, with what stands before and after it.
fn instant(text: &str) -> Option<(&str, Timestamp, &str)> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let fits = |start: usize| {
        let bytes = text.as_bytes().get(start..)?;
        let (whole, rest) = bytes.split_at_checked(SHAPE.len())?;
        let fits = |(byte, shape): (&u8, &u8)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        };
        if !whole.iter().zip(SHAPE).all(fits) {
            return None;
        }
        let fraction = rest.strip_prefix(b".").map_or(0, |digits| {
            1 + digits
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        });
        let end = start + SHAPE.len() + fraction + 1;
        let at = text.get(start..end)?;
        let at = at.parse().ok().filter(|_| at.ends_with('Z'))?;
        Some((&text[..start], at, &text[end..]))
    };
    text.char_indices().find_map(|(start, _)| fits(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn hostile_text_can_neither_move_nor_turn_what_is_shown() {
        assert_eq!(
            clean("ok\u{1b}[2J\u{9b}1m\u{202e}evil\u{200b}\u{feff}\nline\u{7f}"),
            "ok[2J1mevil line"
        );
        assert_eq!(clean(&"x".repeat(500)).chars().count(), 401);
        assert_eq!(clean("Grüße, 日本"), "Grüße, 日本");
    }

    #[test]
    fn times_are_local_and_relative() {
        let times = Times {
            now: at("2026-11-22T19:00:00Z"),
            zone: TimeZone::fixed(jiff::tz::offset(1)),
        };
        assert_eq!(times.local(at("2026-11-22T19:24:30Z")), "20:24:30");
        assert_eq!(times.local(at("2026-11-23T19:24:30Z")), "2026-11-23 20:24");
        assert_eq!(times.left(at("2026-11-22T19:24:30Z")), "24 min left");
        assert_eq!(times.left(at("2026-11-22T18:59:20Z")), "40 s ago");
        assert_eq!(times.ago(at("2026-11-20T15:00:00Z")), "2 d 4 h ago");
        assert_eq!(span(SignedDuration::from_mins(90)), "1 h 30 min");
    }

    #[test]
    fn a_sentence_of_the_server_s_has_its_times_in_the_form_of_all_others() {
        let times = Times {
            now: at("2026-11-22T19:00:00Z"),
            zone: TimeZone::fixed(jiff::tz::offset(1)),
        };
        for (said, localized) in [
            (
                "extended g1 until 2026-11-22T19:24:30Z",
                "extended g1 until 20:24:30",
            ),
            (
                "ann is locked since 2026-11-21T08:00:00.25Z: 2026-11-22T19:24:30Z it is",
                "ann is locked since 2026-11-21 09:00: 20:24:30 it is",
            ),
            ("grünes Z, 2026-11-22T19:24Z", "grünes Z, 2026-11-22T19:24Z"),
            ("2026-11-22T19:24:30 in Z", "2026-11-22T19:24:30 in Z"),
            ("2026-99-22T19:24:30Z", "2026-99-22T19:24:30Z"),
            ("", ""),
        ] {
            assert_eq!(times.localized(said), localized);
        }
    }
}
