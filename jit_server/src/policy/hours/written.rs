//! Windows as they are written: in the record, in calls, and on the command line.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;

use super::super::WindowDocument;
use super::{Days, Hours, Minute, Window};

/// Windows of one role or service account at most.
pub const MOST_WINDOWS: usize = 16;
/// The longest name of the tz database has 32 characters.
const LONGEST_ZONE: usize = 64;

impl Window {
    /// That of these days and times.
    ///
    /// # Errors
    /// That there is no time between them.
    pub fn new(days: Days, from: Minute, to: Minute, zone: TimeZone) -> Result<Self, String> {
        if from == to || from == Minute::LAST {
            return Err("from and to leave no time between them; a whole day is from \"00:00\" to \"24:00\"".to_owned());
        }
        Ok(Self {
            days,
            from,
            to,
            zone,
        })
    }

    fn written(days: &[String], from: &str, to: &str, zone_name: &str) -> Result<Self, String> {
        let mut all = Days::default();
        for day in days {
            all = all.and(Days::try_from(day.clone())?);
        }
        if all == Days::default() {
            return Err("a window needs days, such as \"mon-fri\"".to_owned());
        }
        let minute = |text: &str| Minute::try_from(text.to_owned());
        Self::new(all, minute(from)?, minute(to)?, zone(zone_name)?)
    }
}

/// The zone of that name in the tz database.
///
/// # Errors
/// That there is none.
pub(in crate::policy) fn zone(name: &str) -> Result<TimeZone, String> {
    // Whatever else it was, it would not be looked for as a file.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_+-/".contains(&b);
    let zone = Some(name)
        .filter(|name| name.len() <= LONGEST_ZONE && name.bytes().all(plain))
        .and_then(|name| TimeZone::get(name).ok())
        .filter(|zone| !zone.is_unknown());
    zone.ok_or_else(|| {
        let name: String = name.chars().take(80).collect();
        format!("{name:?} is not a time zone such as \"Europe/Paris\" or \"UTC\"")
    })
}

impl TryFrom<&WindowDocument> for Window {
    type Error = String;

    fn try_from(window: &WindowDocument) -> Result<Self, String> {
        Self::written(&window.days, &window.from, &window.to, &window.zone)
    }
}

impl fmt::Display for WindowDocument {
    /// Such as `mon-fri 08:00 to 18:00 Europe/Paris`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            days,
            from,
            to,
            zone,
        } = self;
        write!(f, "{} {from} to {to} {zone}", days.join(" "))
    }
}

impl FromStr for Window {
    type Err = String;

    /// As it is shown: `mon-fri 08:00 to 18:00 Europe/Paris`.
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [days @ .., from, "to", to, zone] = words.as_slice() else {
            return Err(
                "hours look like \"mon-fri 08:00 to 18:00 Europe/Paris\": days, times and zone"
                    .to_owned(),
            );
        };
        let days: Vec<String> = days.iter().map(|day| (*day).to_owned()).collect();
        Self::written(&days, from, to, zone)
    }
}

impl Hours {
    /// Those of a list of windows; None where it is empty.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn of(windows: &[WindowDocument]) -> Result<Option<Self>, String> {
        if windows.is_empty() {
            return Ok(None);
        }
        let windows = windows.iter().map(Window::try_from);
        Ok(Some(Self {
            windows: windows.collect::<Result<_, _>>()?,
            overrun: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_as_it_is_shown() {
        for text in [
            "mon-fri 08:00 to 18:00 Europe/Paris",
            "mon wed 22:00 to 24:00 UTC",
            "mon-sun 02:00 to 01:00 America/New_York",
        ] {
            let window: Window = text.parse().unwrap();
            assert_eq!(window.to_string(), text);
            let again = Window::try_from(&WindowDocument::from(&window)).unwrap();
            assert_eq!(again, window);
        }
        for wrong in [
            "",
            "08:00 to 18:00 UTC",
            "mon 08:00 18:00 UTC",
            "mon 08:00 to 08:00 UTC",
            "mon 24:00 to 08:00 UTC",
            "mon 08:00 to 25:00 UTC",
            "today 08:00 to 18:00 UTC",
            "mon 08:00 to 18:00 ../../etc/passwd",
            "mon 08:00 to 18:00",
        ] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong:?}");
        }
    }
}
