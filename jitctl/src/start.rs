//! When something is to begin, as people say it: `18:00`, `2026-11-30 09:00`, `+2h`, or with a zone.

use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::duration;
use crate::words::Times;

/// A moment to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// It is the same everywhere.
    At(Timestamp),
    /// By the clock of whoever says it.
    Local(DateTime),
    /// The next time that this clock shows it.
    Next(Time),
    /// So long from now.
    In(SignedDuration),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(length) = text.strip_prefix('+') {
            let length = duration::parse(length)?;
            return SignedDuration::try_from(length)
                .map(Self::In)
                .map_err(|error| error.to_string());
        }
        let absolute = text.parse::<Timestamp>().ok();
        let absolute = absolute.or_else(|| Some(text.parse::<Zoned>().ok()?.timestamp()));
        // A day without a time of day would be read as its midnight, and a day alone as a time by none.
        let local = || text.contains(':').then(|| text.parse().ok()).flatten();
        let next = || text.contains(':').then(|| text.parse().ok()).flatten();
        absolute
            .map(Self::At)
            .or_else(|| {
                next()
                    .filter(|_| !text.contains(['-', ' ']))
                    .map(Self::Next)
            })
            .or_else(|| local().map(Self::Local))
            .ok_or_else(|| {
                "write it such as 18:00, \"2026-11-30 09:00\", +2h or 2026-11-30T08:00:00Z"
                    .to_owned()
            })
    }
}

impl Start {
    /// Which moment that is.
    ///
    /// # Errors
    /// Where the clocks change, and show that time twice or never.
    pub(crate) fn resolve(&self, times: &Times) -> Result<Timestamp, String> {
        let now = times.now.to_zoned(times.zone.clone()).datetime();
        let local = |at: DateTime| {
            let moment = times.zone.to_ambiguous_timestamp(at).unambiguous();
            moment.map_err(|_| {
                format!("the clocks change, and show {at} twice or never; say it in UTC, such as 2026-11-30T08:00:00Z")
            })
        };
        match self {
            Self::At(at) => Ok(*at),
            Self::In(length) => times
                .now
                .checked_add(*length)
                .map_err(|error| error.to_string()),
            Self::Local(at) => local(*at),
            Self::Next(time) => {
                // By what the clock shows: that today's has been is known even where it has been twice or never.
                let day = match now.date() {
                    today if *time > now.time() => Ok(today),
                    today => today.tomorrow(),
                };
                let day = day.map_err(|error| error.to_string())?;
                local(day.to_datetime(*time))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn resolved(text: &str, now: &str) -> Result<String, String> {
        let times = Times {
            now: now.parse().unwrap(),
            zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
        };
        let start: Start = text.parse()?;
        start.resolve(&times).map(|at| at.to_string())
    }

    #[test]
    fn people_s_ways_of_saying_when_are_read_by_their_own_clock() {
        let now = "2026-11-27T12:00:00Z";
        for (text, at) in [
            ("18:00", "2026-11-27T17:00:00Z"),
            ("09:00", "2026-11-28T08:00:00Z"),
            ("13:00", "2026-11-28T12:00:00Z"),
            ("2026-11-30 09:00", "2026-11-30T08:00:00Z"),
            ("2026-11-30T09:00", "2026-11-30T08:00:00Z"),
            ("2026-06-30 09:00", "2026-06-30T07:00:00Z"),
            ("2026-11-30T09:00:00Z", "2026-11-30T09:00:00Z"),
            ("2026-11-30T09:00:00+05:00", "2026-11-30T04:00:00Z"),
            ("+2h", "2026-11-27T14:00:00Z"),
            ("+1d", "2026-11-28T12:00:00Z"),
        ] {
            assert_eq!(resolved(text, now), Ok(at.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_that_has_been_is_tomorrow_s_on_the_day_of_a_change_of_clocks_too() {
        for (now, at) in [
            ("2026-10-25T12:00:00Z", "2026-10-26T01:30:00Z"),
            ("2026-03-29T12:00:00Z", "2026-03-30T00:30:00Z"),
        ] {
            assert_eq!(resolved("02:30", now), Ok(at.to_owned()), "{now}");
        }
        // It is still to come, twice or never.
        for now in ["2026-10-24T23:00:00Z", "2026-03-29T00:30:00Z"] {
            assert!(resolved("02:30", now).is_err(), "{now}");
        }
    }

    #[test]
    fn what_names_no_moment_or_two_is_refused() {
        let now = "2026-11-27T12:00:00Z";
        for text in [
            "",
            "18",
            "1800",
            "+",
            "+0s",
            "-2h",
            "tomorrow",
            "2026-11-30",
            "25:00",
            "2026-13-01 09:00",
            // The clocks leave it out, and show it twice.
            "2026-03-29 02:30",
            "2026-10-25 02:30",
        ] {
            assert!(resolved(text, now).is_err(), "{text}");
        }
    }
}
