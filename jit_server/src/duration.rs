//! Times as people write them: `4h`, `90m`, `1d`, `1h30m`.

use jiff::{Span, SpanRelativeTo};

/// Whole seconds, at least one. A day has 24 hours.
///
/// # Errors
/// How to write it.
pub fn seconds(text: &str) -> Result<u32, String> {
    let span = text.parse::<Span>().ok();
    let exact = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let whole = exact.filter(|exact| exact.subsec_nanos() == 0);
    let seconds = whole.and_then(|exact| u32::try_from(exact.as_secs()).ok());
    let seconds = seconds.filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| "write it such as 30m, 4h or 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_whole_seconds_and_never_negative() {
        assert_eq!(seconds("1d"), Ok(86_400));
        assert_eq!(seconds("90m"), Ok(5_400));
        assert_eq!(seconds("1h30m"), Ok(5_400));
        for wrong in [
            "-1h",
            "1h ago",
            "500ms",
            "",
            "4",
            "0s",
            "1mo",
            "99999999999h",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
