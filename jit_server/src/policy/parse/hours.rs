//! A role's `hours`, and a service account's.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use toml::de::DeTable;

use super::super::hours::{Days, Hours, MOST_WINDOWS, Minute, Window, zone};
use super::super::reader::{Reader, Value};

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
    pub(crate) fn windows(&mut self, value: &Value<'_>, path: &str) -> Option<Vec<Window>> {
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
        Window::new(days, from, to, zone)
            .map_err(|problem| self.mistake(&at, path, problem))
            .ok()
    }

    fn days(&mut self, value: &Value<'_>, path: &str) -> Option<Days> {
        let listed: BTreeSet<Days> = self.filled(value, path)?;
        Some(listed.into_iter().fold(Days::default(), Days::and))
    }

    fn zone(&mut self, value: &Value<'_>, path: &str) -> Option<TimeZone> {
        let name = self.text(value, path)?;
        zone(name)
            .map_err(|problem| self.mistake(&value.span(), path, problem))
            .ok()
    }
}
