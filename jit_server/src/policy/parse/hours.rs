//! A role's `hours`.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use toml::de::DeTable;

use super::super::hours::{Days, Hours, Minute, Window};
use super::super::reader::{Reader, Value};

/// Windows of one role at most.
const MOST_WINDOWS: usize = 16;
/// The longest name of the tz database has 32 characters.
const LONGEST_ZONE: usize = 64;

impl Reader<'_> {
    /// `Some(None)` where the role has no hours, None where what is said of them is wrong.
    pub(super) fn hours(&mut self, table: &DeTable<'_>, path: &str) -> Option<Option<Hours>> {
        let windows = self.optional(table, path, "hours", Self::windows);
        let overrun = self.optional(table, path, "overrun", Self::flag);
        if let (None, Some(value)) = (&windows, table.get("overrun")) {
            let problem = "says nothing without hours, past whose end grants may go on";
            self.mistake(&value.span(), &format!("{path}.overrun"), problem);
        }
        let overrun = overrun.unwrap_or(Some(false))?;
        let Some(windows) = windows else {
            return Some(None);
        };
        Some(Some(Hours {
            windows: windows?,
            overrun,
        }))
    }

    /// One table or a list of them.
    fn windows(&mut self, value: &Value<'_>, path: &str) -> Option<Vec<Window>> {
        let Some(list) = value.get_ref().as_array() else {
            return self.window(value, path).map(|window| vec![window]);
        };
        if list.is_empty() || list.len() > MOST_WINDOWS {
            let problem = format!("must be a table, or a list of 1 to {MOST_WINDOWS} tables");
            self.mistake(&value.span(), path, problem);
            return None;
        }
        let read: Vec<Option<Window>> = list.iter().map(|one| self.window(one, path)).collect();
        read.into_iter().collect()
    }

    fn window(&mut self, value: &Value<'_>, path: &str) -> Option<Window> {
        let table = self.table(value, path)?;
        let at = value.span();
        self.refuse_unknown(table, path, &["days", "from", "to", "zone"]);
        let days = self.required(table, &at, path, "days", Self::days);
        let from = self.required(table, &at, path, "from", Self::parsed::<Minute>);
        let to = self.required(table, &at, path, "to", Self::parsed::<Minute>);
        let zone = self.required(table, &at, path, "zone", Self::zone);
        let (days, from, to, zone) = (days?, from?, to?, zone?);
        if from == to || from == Minute::LAST {
            let problem = "from and to leave no time between them; a whole day is from \"00:00\" to \"24:00\"";
            self.mistake(&at, path, problem);
            return None;
        }
        Some(Window {
            days,
            from,
            to,
            zone,
        })
    }

    fn days(&mut self, value: &Value<'_>, path: &str) -> Option<Days> {
        let listed: BTreeSet<Days> = self.filled(value, path)?;
        Some(listed.into_iter().fold(Days::default(), Days::and))
    }

    fn zone(&mut self, value: &Value<'_>, path: &str) -> Option<TimeZone> {
        let name = self.text(value, path)?;
        // Whatever else it was, it would not be looked for as a file.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_+-/".contains(&b);
        let zone = Some(name)
            .filter(|name| name.len() <= LONGEST_ZONE && name.bytes().all(plain))
            .and_then(|name| TimeZone::get(name).ok())
            .filter(|zone| !zone.is_unknown());
        if zone.is_none() {
            let name: String = name.chars().take(80).collect();
            let problem =
                format!("{name:?} is not a time zone such as \"Europe/Paris\" or \"UTC\"");
            self.mistake(&value.span(), path, problem);
        }
        zone
    }
}
