//! The end of a user's time, as people write and read it.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// The instant from which on somebody is no user any more. A date means the end of that day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Until(pub Timestamp);

/// A text is neither a date nor an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no end: write a date, such as 2026-12-31, for the end of that day in UTC, or an instant, such as 2026-12-31T18:00:00+01:00"
)]
pub struct NoEnd(String);

impl TryFrom<String> for Until {
    type Error = NoEnd;

    fn try_from(text: String) -> Result<Self, NoEnd> {
        let end = if text.contains(['T', 't', ' ']) {
            text.parse().ok()
        } else {
            text.parse().ok().and_then(end_of)
        };
        end.map(Self)
            .ok_or_else(|| NoEnd(text.chars().take(80).collect()))
    }
}

impl std::str::FromStr for Until {
    type Err = NoEnd;

    fn from_str(text: &str) -> Result<Self, NoEnd> {
        Self::try_from(text.to_owned())
    }
}

impl From<Until> for String {
    fn from(until: Until) -> Self {
        until.0.to_string()
    }
}

impl fmt::Display for Until {
    /// `the end of 2026-12-31 (UTC)`, or an instant that is no end of a day.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.0.checked_sub(1.nanosecond());
        let day = before.map(|last| last.to_zoned(TimeZone::UTC).date());
        match day {
            Ok(day) if end_of(day) == Some(self.0) => write!(f, "the end of {day} (UTC)"),
            _ => write!(f, "{:.0}", self.0),
        }
    }
}

/// Midnight after `day`.
fn end_of(day: Date) -> Option<Timestamp> {
    let midnight = day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(midnight.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Timestamp {
        text.parse::<Until>().unwrap().0
    }

    #[test]
    fn a_date_is_the_end_of_that_day_in_utc_and_is_told_as_that_day() {
        assert_eq!(end("2026-12-31").to_string(), "2027-01-01T00:00:00Z");
        assert_eq!(end("2028-02-29").to_string(), "2028-03-01T00:00:00Z");
        assert_eq!(
            Until(end("2026-12-31")).to_string(),
            "the end of 2026-12-31 (UTC)"
        );
    }

    #[test]
    fn an_instant_says_how_far_from_utc_it_is() {
        assert_eq!(
            end("2026-12-31T18:00:00+01:00").to_string(),
            "2026-12-31T17:00:00Z"
        );
        let until = Until(end("2026-12-31T18:00:00+01:00"));
        assert_eq!(until.to_string(), "2026-12-31T17:00:00Z");
        assert_eq!(String::from(until).parse(), Ok(until));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for wrong in [
            "",
            "31.12.2026",
            "2026-12-31T18:00:00",
            "2026-02-29",
            "9999-12-31",
            "forever",
            "12:00",
            "2026-12",
        ] {
            assert!(wrong.parse::<Until>().is_err(), "{wrong}");
        }
    }
}
