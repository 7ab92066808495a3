//! Who confirms changes.

use toml::de::DeTable;

use super::super::changes::{Confirmers, MOST_CONFIRMATIONS};
use super::super::reader::{Reader, Value};

/// Its key, beside the roles.
pub(super) const KEY: &str = "changes_need";

impl Reader<'_> {
    /// None where it is not there, or wrong.
    pub(super) fn changes_need(&mut self, table: &DeTable<'_>) -> Option<Confirmers> {
        let value = table.get(KEY)?;
        let body = self.table(value, KEY)?;
        self.refuse_unknown(body, KEY, &["users", "groups", "attributes", "count"]);
        let count = self.optional(body, KEY, "count", |reader, value, path| {
            reader.number(value, path, MOST_CONFIRMATIONS)
        });
        let people = self.named_people(value, body, KEY)?;
        let count = count.unwrap_or(Some(1))?;
        let confirmers = Confirmers { people, count };
        self.judge(&confirmers, value);
        Some(confirmers)
    }

    /// Of people that come by group nothing is said: who is in one changes.
    fn judge(&mut self, confirmers: &Confirmers, value: &Value<'_>) {
        let Confirmers { people, count } = confirmers;
        let named = people.all_named().map(|named| named.len());
        let named = named.map(|named| u32::try_from(named).unwrap_or(u32::MAX));
        let Some(named) = named.filter(|named| named <= count) else {
            return;
        };
        if named < *count {
            let problem = format!(
                "{count} must confirm but only {named} may, so nothing could ever be changed"
            );
            self.mistake(&value.span(), KEY, problem);
        } else if named == 1 {
            let problem = "one person alone could ever confirm a change; when that one is away or gone, root has to change things alone, which alarms everybody; name more";
            self.warning(&value.span(), KEY, problem);
        } else {
            let problem = format!(
                "all {named} named must confirm each change; when one of them is away or gone, root has to change things alone, which alarms everybody; name more"
            );
            self.warning(&value.span(), KEY, problem);
        }
    }
}
