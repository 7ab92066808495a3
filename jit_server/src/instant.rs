//! Moments as people write them: `2026-11-30T09:00:00+01:00`, `2026-11-30T09:00[Europe/Paris]`.

use jiff::{Timestamp, Zoned};

/// A moment, with how far its zone is from UTC or with the zone itself.
///
/// # Errors
/// How to write it.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    let zoned = || text.parse::<Zoned>().map(|zoned| zoned.timestamp());
    text.parse().or_else(|_| zoned()).map_err(|_| {
        "write it such as 2026-11-30T09:00:00Z or 2026-11-30T09:00[Europe/Paris]".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_moment_has_a_zone_or_says_how_far_from_utc_it_is() {
        for text in [
            "2026-11-30T08:00:00Z",
            "2026-11-30T09:00:00+01:00",
            "2026-11-30T09:00[Europe/Paris]",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), "2026-11-30T08:00:00Z");
        }
        for wrong in [
            "",
            "2026-11-30",
            "2026-11-30T09:00:00",
            "09:00",
            "2026-13-30T09:00:00Z",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
