//! A TOML document read key by key: each mistake is told with its line and key, and reading goes on.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::duration;
use crate::text::shown;

const LONGEST: u32 = 30 * super::parse::ONE_DAY;
/// Mistakes of one file that are told; where there are so many, it is no file of ours.
const MOST_MISTAKES: usize = 100;

/// One thing that is wrong in a file, or unwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// The file's name, as given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Where in the document, such as `roles.web-admin.longest`.
    pub key: String,
    /// What is wrong, and what would be right or better.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// Reads values; what is wrong is noted in `mistakes`, and the value is None.
pub(crate) struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            file,
            text,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn mistake(&mut self, span: &Range<usize>, key: &str, problem: impl fmt::Display) {
        if self.mistakes.len() < MOST_MISTAKES {
            let mistake = self.note(span, key, problem);
            self.mistakes.push(mistake);
        }
    }

    /// Tells of what may be so and better were not.
    pub(crate) fn warning(&mut self, span: &Range<usize>, key: &str, problem: impl fmt::Display) {
        if self.warnings.len() < MOST_MISTAKES {
            let warning = self.note(span, key, problem);
            self.warnings.push(warning);
        }
    }

    /// The warnings so far, in the order of their lines.
    pub(crate) fn take_warnings(&mut self) -> Vec<Mistake> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort_by_key(|warning| warning.line);
        warnings
    }

    /// The line where `span` begins, from 1.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.bytes().take(span.start);
        1 + before.filter(|byte| *byte == b'\n').count()
    }

    fn note(&self, span: &Range<usize>, key: &str, problem: impl fmt::Display) -> Mistake {
        Mistake {
            file: self.file.to_owned(),
            line: self.line(span),
            key: shown(key),
            problem: shown(&problem.to_string()),
        }
    }

    /// What was read, where nothing of it is wrong.
    ///
    /// # Errors
    /// Every mistake, in the order of their lines.
    pub(crate) fn end<T>(mut self, read: T) -> Result<T, Vec<Mistake>> {
        if self.mistakes.is_empty() {
            return Ok(read);
        }
        self.mistakes.sort_by_key(|mistake| mistake.line);
        Err(self.mistakes)
    }

    pub(crate) fn refuse_unknown(&mut self, table: &DeTable<'_>, path: &str, known: &[&str]) {
        for key in table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
        {
            let problem = format!("unknown key; known here: {}", known.join(", "));
            self.mistake(&key.span(), &format!("{path}.{}", key.get_ref()), problem);
        }
    }

    pub(crate) fn required<T>(
        &mut self,
        table: &DeTable<'_>,
        at: &Range<usize>,
        path: &str,
        key: &str,
        read: fn(&mut Self, &Value<'_>, &str) -> Option<T>,
    ) -> Option<T> {
        let found = self.optional(table, path, key, read);
        if found.is_none() {
            self.mistake(at, &format!("{path}.{key}"), "missing");
        }
        found.flatten()
    }

    /// `None` where the key is not there, `Some(None)` where it is wrong.
    pub(crate) fn optional<T>(
        &mut self,
        table: &DeTable<'_>,
        path: &str,
        key: &str,
        read: fn(&mut Self, &Value<'_>, &str) -> Option<T>,
    ) -> Option<Option<T>> {
        let value = table.get(key)?;
        Some(read(self, value, &format!("{path}.{key}")))
    }

    pub(crate) fn table<'v, 'i>(
        &mut self,
        value: &'v Value<'i>,
        path: &str,
    ) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        self.of_type(table, value, path, "a table")
    }

    pub(crate) fn text<'v>(&mut self, value: &'v Value<'_>, path: &str) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        self.of_type(text, value, path, "a string")
    }

    pub(crate) fn text_owned(&mut self, value: &Value<'_>, path: &str) -> Option<String> {
        self.text(value, path).map(str::to_owned)
    }

    pub(crate) fn flag(&mut self, value: &Value<'_>, path: &str) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        self.of_type(flag, value, path, "true or false")
    }

    pub(crate) fn of_type<T>(
        &mut self,
        found: Option<T>,
        value: &Value<'_>,
        path: &str,
        wanted: &str,
    ) -> Option<T> {
        if found.is_none() {
            let found = value.get_ref().type_str();
            self.mistake(
                &value.span(),
                path,
                format!("must be {wanted}, not {found}"),
            );
        }
        found
    }

    /// A string that `T` takes.
    pub(crate) fn parsed<T: TryFrom<String, Error: fmt::Display>>(
        &mut self,
        value: &Value<'_>,
        path: &str,
    ) -> Option<T> {
        let text = self.text(value, path)?.to_owned();
        T::try_from(text)
            .map_err(|error| self.mistake(&value.span(), path, error))
            .ok()
    }

    /// A list of strings, each of which `T` takes.
    pub(crate) fn list<T: Ord + TryFrom<String, Error: fmt::Display>>(
        &mut self,
        value: &Value<'_>,
        path: &str,
    ) -> Option<BTreeSet<T>> {
        let array = value.get_ref().as_array();
        let array = self.of_type(array, value, path, "a list")?;
        let before = self.mistakes.len();
        let mut items = BTreeSet::new();
        for item in array.iter() {
            items.extend(self.parsed::<T>(item, path));
        }
        (self.mistakes.len() == before).then_some(items)
    }

    /// A list in which nothing is twice.
    pub(crate) fn distinct<T: Ord + TryFrom<String, Error: fmt::Display>>(
        &mut self,
        value: &Value<'_>,
        path: &str,
    ) -> Option<BTreeSet<T>> {
        let items = self.list(value, path)?;
        let listed = value.get_ref().as_array().map_or(0, |array| array.len());
        if items.len() < listed {
            self.mistake(&value.span(), path, "has something twice");
            return None;
        }
        Some(items)
    }

    /// A list with something in it.
    pub(crate) fn filled<T: Ord + TryFrom<String, Error: fmt::Display>>(
        &mut self,
        value: &Value<'_>,
        path: &str,
    ) -> Option<BTreeSet<T>> {
        let items = self.list(value, path)?;
        if items.is_empty() {
            self.mistake(&value.span(), path, "is empty, so it could never be used");
            return None;
        }
        Some(items)
    }

    /// Seconds, from a text such as `4h`, `90m`, `1d` or `1h 30m`.
    pub(crate) fn duration(&mut self, value: &Value<'_>, path: &str) -> Option<u32> {
        let text = self.text(value, path)?;
        let seconds = duration::seconds(text).ok();
        let seconds = seconds.filter(|seconds| *seconds <= LONGEST);
        if seconds.is_none() {
            self.mistake(
                &value.span(),
                path,
                format!("{text:?} is not a time such as \"30m\", \"4h\" or \"1d\", from 1s to 30d"),
            );
        }
        seconds
    }

    /// A whole number from 1 to `most`.
    pub(crate) fn number(&mut self, value: &Value<'_>, path: &str, most: u32) -> Option<u32> {
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok())
            .filter(|n| (1..=most).contains(n));
        if number.is_none() {
            self.mistake(
                &value.span(),
                path,
                format!("must be a whole number from 1 to {most}"),
            );
        }
        number
    }
}
