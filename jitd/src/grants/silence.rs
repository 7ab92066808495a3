//! Since when the server was not heard, in words.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Characters of the server's address in a message of few lines.
const MOST_OF_ADDRESS: usize = 60;

/// What is silent, since when, and for how long, at `now`: `nothing heard from https://jit.example:7443 since 14:02 UTC (1 h 12 min ago)`.
pub(super) fn silence(server: &str, now: Timestamp, silent: Duration) -> String {
    let silent = SignedDuration::try_from(silent).unwrap_or(SignedDuration::MAX);
    let since = now.checked_sub(silent).unwrap_or(Timestamp::MIN);
    let today = since.strftime("%Y-%m-%d").to_string() == now.strftime("%Y-%m-%d").to_string();
    let format = if today { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    let server: String = server.chars().take(MOST_OF_ADDRESS).collect();
    format!(
        "nothing heard from {server} since {} UTC ({} ago)",
        since.strftime(format),
        span(silent.as_secs().unsigned_abs())
    )
}

fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_silent_since_when_and_for_how_long_in_few_words() {
        let now: Timestamp = "2026-11-22T15:14:30Z".parse().unwrap();
        let said = |seconds| {
            silence(
                "https://jit.example:7443",
                now,
                Duration::from_secs(seconds),
            )
        };
        let from = "nothing heard from https://jit.example:7443 since";
        assert_eq!(said(4_320), format!("{from} 14:02 UTC (1 h 12 min ago)"));
        assert_eq!(said(5), format!("{from} 15:14 UTC (5 s ago)"));
        assert_eq!(
            said(86_400 + 7_200),
            format!("{from} 2026-11-21 13:14 UTC (1 d 2 h ago)")
        );
        let long = format!("https://{}", "a".repeat(2_000));
        let longest = silence(&long, now, Duration::from_secs(9_999 * 86_400));
        assert!(
            longest.len() <= 150 && longest.ends_with("ago)"),
            "{longest}"
        );
        silence("", now, Duration::MAX);
    }
}
