//! Attributes in files: `{ on_call = true, team = "payments" }`.

use std::collections::BTreeMap;

use super::{Attribute, AttributeName, AttributeValue, Attributes, NotAnAttribute};
use crate::policy::{Reader, Value};

impl Reader<'_> {
    /// A table of names with one value each.
    pub(crate) fn attributes(&mut self, value: &Value<'_>, path: &str) -> Option<Attributes> {
        let mut all = BTreeMap::new();
        let mut are_right = true;
        for (name, value) in self.table(value, path)?.iter() {
            let path = format!("{path}.{}", name.get_ref());
            let parsed = AttributeName::try_from(name.get_ref().to_string());
            let parsed = parsed.map_err(|error| self.mistake(&name.span(), &path, error));
            match (parsed, self.attribute(value, &path)) {
                (Ok(name), Some(value)) => _ = all.insert(name, value),
                _ => are_right = false,
            }
        }
        let all = Attributes::try_from(all).map_err(|error| {
            self.mistake(&value.span(), path, error);
        });
        all.ok().filter(|_| are_right)
    }

    fn attribute(&mut self, value: &Value<'_>, path: &str) -> Option<Attribute> {
        let said = value.get_ref();
        let flag = said.as_bool().map(AttributeValue::Flag);
        let text = || Some(AttributeValue::Text(said.as_str()?.to_owned()));
        let Some(said) = flag.or_else(text) else {
            let found = said.type_str();
            let problem = format!("must be true, false or a string, not {found}");
            self.mistake(&value.span(), path, problem);
            return None;
        };
        let read = Attribute::try_from(said);
        read.map_err(|error: NotAnAttribute| self.mistake(&value.span(), path, error))
            .ok()
    }
}
