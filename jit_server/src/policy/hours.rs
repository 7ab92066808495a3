//! The days and hours of a role: windows of local time, and the instants at which they open and close.
//!
//! A window of a day is open from the first moment at which the clocks of its zone show its beginning until the last at which they show its
//! end. So it is never closed while they show a time within it: where an hour comes twice, both count; where one is left out, what of the
//! window falls into it is not there, and a window that is wholly in it does not open on that day.

mod written;

use std::fmt;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

pub use written::MOST_WINDOWS;
pub(super) use written::zone;

/// The next opening is looked for so many days ahead: a window opens every week, unless the clocks leave it out.
const DAYS_AHEAD: i32 = 15;

/// When a role may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// Any of these; at least one.
    pub windows: Vec<Window>,
    /// A grant may go on after its window's end. Else it is cut there.
    pub overrun: bool,
}

/// Some hours of some days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// On which it begins.
    pub days: Days,
    /// From this time on, by the clocks of the zone …
    pub from: Minute,
    /// … until just before this one; on the next day where it is not after `from`.
    pub to: Minute,
    /// Where.
    pub zone: TimeZone,
}

impl Hours {
    /// When what is open at `at` closes, where something is: windows that follow each other without a gap are one. Looks no further than
    /// it takes to reach `limit`.
    #[must_use]
    pub fn open_until(&self, at: Timestamp, limit: Timestamp) -> Option<Timestamp> {
        let mut until = self.close_of_those_open(at)?;
        while until < limit {
            match self.close_of_those_open(until) {
                Some(later) => until = later,
                None => break,
            }
        }
        Some(until)
    }

    /// Later than `at` by itself.
    fn close_of_those_open(&self, at: Timestamp) -> Option<Timestamp> {
        let spans = self.windows.iter().flat_map(|window| {
            let days = window.days_from(at, -1).take(2);
            days.filter_map(|day| window.on(day))
        });
        let open = spans.filter(|(from, to)| *from <= at && at < *to);
        open.map(|(_, to)| to).max()
    }

    /// The first instant after `at` at which a window opens.
    #[must_use]
    pub fn next_opening(&self, at: Timestamp) -> Option<Timestamp> {
        let of_each = self.windows.iter().filter_map(|window| {
            let spans = window.days_from(at, -1).filter_map(|day| window.on(day));
            spans.map(|(from, _)| from).find(|from| *from > at)
        });
        of_each.min()
    }
}

impl Window {
    /// Days one by one, beginning `ahead` days after the one that it is at `at`.
    fn days_from(&self, at: Timestamp, ahead: i32) -> impl Iterator<Item = Date> {
        let today = self.zone.to_datetime(at).date();
        (ahead..=DAYS_AHEAD).filter_map(move |days| today.checked_add(days.days()).ok())
    }

    /// From when to when it is open that begins on `day`, where it is.
    fn on(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days.include(day.weekday()) {
            return None;
        }
        let last = if self.to > self.from && self.to < Minute::LAST {
            day
        } else {
            day.tomorrow().ok()?
        };
        let from = self.instant(self.from.of(day), Which::First)?;
        let to = self.instant(self.to.of(last), Which::Last)?;
        (from < to).then_some((from, to))
    }

    /// When the clocks show `time`. A time that they leave out is the moment at which they do.
    fn instant(&self, time: DateTime, which: Which) -> Option<Timestamp> {
        match (self.zone.to_ambiguous_timestamp(time).offset(), which) {
            (AmbiguousOffset::Unambiguous { offset }, _) => offset.to_timestamp(time).ok(),
            (AmbiguousOffset::Fold { before, .. }, Which::First) => before.to_timestamp(time).ok(),
            (AmbiguousOffset::Fold { after, .. }, Which::Last) => after.to_timestamp(time).ok(),
            (AmbiguousOffset::Gap { after, .. }, _) => {
                let before_it = after.to_timestamp(time).ok()?;
                let mut changes = self.zone.following(before_it);
                let change = changes.find(|change| change.offset() == after)?;
                Some(change.timestamp())
            }
        }
    }
}

/// Of two moments at which the clocks show the same.
#[derive(Debug, Clone, Copy)]
enum Which {
    First,
    Last,
}

impl fmt::Display for Hours {
    /// Such as `mon-fri 08:00 to 18:00 Europe/Paris`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, window) in self.windows.iter().enumerate() {
            let or = if place == 0 { "" } else { " or " };
            write!(f, "{or}{window}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.days.listed().join(" ");
        write!(
            f,
            "{days} {} to {} {}",
            self.from,
            self.to,
            self.zone_name()
        )
    }
}

impl Window {
    /// The zone as the tz database calls it.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }
}

/// A minute of a day, from 00:00 to 24:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minute(u16);

impl Minute {
    /// 24:00, which no day has but as its end.
    pub const LAST: Self = Self(24 * 60);

    /// Of 24:00 it is the beginning: whoever asks names the day after.
    fn of(self, day: Date) -> DateTime {
        let minutes = i64::from(self.0 % Self::LAST.0).minutes();
        day.to_datetime(Time::midnight()).saturating_add(minutes)
    }
}

impl TryFrom<String> for Minute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = |part: &str| {
            let plain = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| part.parse::<u16>().ok()).flatten()
        };
        let parts = text.split_once(':');
        let parts = parts.and_then(|(hour, minute)| Some((digits(hour)?, digits(minute)?)));
        let minute = parts
            .filter(|(_, minute)| *minute < 60)
            .map(|(hour, minute)| Self(hour * 60 + minute))
            .filter(|minute| *minute <= Self::LAST);
        minute.ok_or_else(|| {
            let text: String = text.chars().take(80).collect();
            format!("{text:?} is not a time of day such as \"08:00\", from 00:00 to 24:00")
        })
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Days of the week.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Days([bool; 7]);

impl Days {
    /// These and those.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        let mut all = self.0;
        for (day, other) in all.iter_mut().zip(others.0) {
            *day |= other;
        }
        Self(all)
    }

    fn include(self, day: Weekday) -> bool {
        let place = usize::try_from(day.to_monday_zero_offset()).ok();
        place
            .and_then(|place| self.0.get(place))
            .is_some_and(|day| *day)
    }

    /// As policies write them: `mon-fri`, `sun`.
    #[must_use]
    pub fn listed(self) -> Vec<String> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (place, _) in self.0.iter().enumerate().filter(|(_, day)| **day) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == place => *last = place,
                _ => runs.push((place, place)),
            }
        }
        let written = runs.into_iter().map(|(first, last)| {
            if first == last {
                NAMES[first].to_owned()
            } else {
                format!("{}-{}", NAMES[first], NAMES[last])
            }
        });
        written.collect()
    }
}

impl TryFrom<String> for Days {
    type Error = String;

    /// One day, or those from one to another, over the week's end too: `mon`, `mon-fri`, `sat-mon`.
    fn try_from(text: String) -> Result<Self, String> {
        let place = |name: &str| NAMES.iter().position(|known| *known == name);
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let (Some(first), Some(last)) = (place(first), place(last)) else {
            let text: String = text.chars().take(80).collect();
            return Err(format!(
                "{text:?} is not a day such as \"mon\" or days such as \"mon-fri\"; they are {}",
                NAMES.join(", ")
            ));
        };
        let mut days = [false; 7];
        let count = (last + NAMES.len() - first) % NAMES.len();
        for place in first..=first + count {
            days[place % NAMES.len()] = true;
        }
        Ok(Self(days))
    }
}

#[cfg(test)]
mod tests;
