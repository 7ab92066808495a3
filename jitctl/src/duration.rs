//! Durations as people write them: 30m, 1h30m, 1d.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// Longer than this is a slip of the finger.
const LONGEST_SECONDS: i64 = 366 * 24 * 3600;

/// Reads a duration of whole seconds, more than none. A day has 24 hours.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    const RULE: &str = "write it such as 30m, 1h30m or 1d";
    let span: Span = text.parse().map_err(|_| RULE.to_owned())?;
    let exact = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| RULE.to_owned())?;
    let seconds = exact.as_secs();
    if exact.is_negative() || exact.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    if exact.subsec_nanos() != 0 {
        return Err("whole seconds only".to_owned());
    }
    if seconds > LONGEST_SECONDS {
        return Err("at most 366 days".to_owned());
    }
    Ok(Duration::from_secs(seconds.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn people_s_ways_of_writing_are_read() {
        for (text, seconds) in [
            ("30m", 1800),
            ("1h30m", 5400),
            ("1d", 86_400),
            ("90s", 90),
            ("2h", 7200),
            ("1w", 604_800),
            ("1h 30m", 5400),
        ] {
            assert_eq!(parse(text).map(|d| d.as_secs()), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn nothing_negative_zero_fractional_or_unclear_is_taken() {
        for text in [
            "",
            "0m",
            "0s",
            "-30m",
            "30m ago",
            "30",
            "m",
            "1.5",
            "500ms",
            "1mo",
            "1y",
            "9999d",
            "1d1d",
            "ten minutes",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
