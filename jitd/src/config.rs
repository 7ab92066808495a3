//! Settings: /etc/jit/jitd.toml, parsed once into valid types. A mistake stops jitd and names file, line and key.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use jit_grant::Action;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::atomic;
use crate::session::LONGEST_GRACE;

/// Where the settings are, unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/jit/jitd.toml";

const LARGEST_FILE: u64 = 64 * 1024;

/// What an administrator may set. A file that is missing, or says nothing, means the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What each gated PAM service stands for.
    pub services: BTreeMap<String, Action>,
    /// Without word from the server for longer than this, grants don't count.
    pub max_staleness: Duration,
    /// What a session that ends is given between SIGTERM and its death; no more than PID 1 gives it.
    pub grace: Duration,
    /// People are warned so long before the end of what they have open. Empty: not at all.
    pub warn_before: Vec<Duration>,
    /// Accounts with a lower uid are services': their jobs and user managers need no grant.
    pub people_from_uid: u32,
    /// How long jitd may take for a decision; less than what PAM modules wait for it.
    pub decision_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let services = [
            ("sshd", Action::Ssh),
            ("sudo", Action::Sudo),
            ("sudo-i", Action::Sudo),
            ("polkit-1", Action::Sudo),
            ("su", Action::Su),
            ("su-l", Action::Su),
            ("systemd-user", Action::Ssh),
            ("cron", Action::Jobs),
            ("crond", Action::Jobs),
            ("atd", Action::Jobs),
        ];
        Self {
            services: services
                .into_iter()
                .map(|(service, action)| (service.to_owned(), action))
                .collect(),
            max_staleness: Duration::from_secs(3600),
            grace: Duration::from_secs(2),
            people_from_uid: 1000,
            warn_before: vec![5 * MINUTE, MINUTE],
            decision_deadline: Duration::from_millis(2500),
        }
    }
}

/// A mistake in the settings: where it is and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// The key, where there is one.
    pub key: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: can't be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has mistakes.
    #[error("{}", lines(path, mistakes))]
    Mistaken {
        /// The file.
        path: PathBuf,
        /// All that were found, in the order of their lines.
        mistakes: Vec<Mistake>,
    },
}

fn lines(path: &Path, mistakes: &[Mistake]) -> String {
    let line = |mistake: &Mistake| match &mistake.key {
        Some(key) => format!(
            "{}:{}: {key}: {}",
            path.display(),
            mistake.line,
            mistake.why
        ),
        None => format!("{}:{}: {}", path.display(), mistake.line, mistake.why),
    };
    mistakes.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Settings {
    /// Reads `path`. A file that does not exist means the defaults.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = match atomic::read(path, LARGEST_FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(ConfigError::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
            let mistake = Mistake {
                line,
                key: None,
                why: "not UTF-8".to_owned(),
            };
            ConfigError::Mistaken {
                path: path.to_owned(),
                mistakes: vec![mistake],
            }
        })?;
        Self::parse(&text).map_err(|mistakes| ConfigError::Mistaken {
            path: path.to_owned(),
            mistakes,
        })
    }

    /// Parses the text of a settings file.
    ///
    /// # Errors
    /// Every mistake found, in the order of their lines.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reading = Reading {
            text,
            mistakes: Vec::new(),
        };
        for error in &errors {
            reading.mistake(error.span().unwrap_or_default(), None, error.message());
        }
        let mut settings = Self::default();
        for (key, value) in table.get_ref() {
            match key.get_ref().as_ref() {
                "max_staleness" => {
                    reading.time(key, value, &mut settings.max_staleness, MINUTE..=DAY)
                }
                "grace" => reading.time(
                    key,
                    value,
                    &mut settings.grace,
                    Duration::ZERO..=LONGEST_GRACE,
                ),
                "decision_deadline" => reading.time(
                    key,
                    value,
                    &mut settings.decision_deadline,
                    100 * MILLISECOND..=10 * SECOND,
                ),
                "warn_before" => reading.times(key, value, &mut settings.warn_before, SECOND..=DAY),
                "people_from_uid" => reading.uid(key, value, &mut settings.people_from_uid),
                "services" => reading.services(key, value, &mut settings.services),
                _ => reading.mistake(
                    key.span(),
                    Some(key.get_ref()),
                    &format!("unknown key; known are {}", KEYS.join(", ")),
                ),
            }
        }
        let mut mistakes = reading.mistakes;
        mistakes.sort_by_key(|mistake| mistake.line);
        if mistakes.is_empty() {
            Ok(settings)
        } else {
            Err(mistakes)
        }
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Of a list of times.
const MOST_TIMES: usize = 8;
const DAY: Duration = Duration::from_secs(24 * 3600);

const KEYS: [&str; 6] = [
    "decision_deadline",
    "grace",
    "max_staleness",
    "people_from_uid",
    "services",
    "warn_before",
];

type Key<'a> = Spanned<DeString<'a>>;
type Value<'a> = Spanned<DeValue<'a>>;

/// Collects mistakes, so that one run of `--check` shows all of them.
struct Reading<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    fn mistake(&mut self, span: Range<usize>, key: Option<&str>, why: &str) {
        let before = self
            .text
            .as_bytes()
            .get(..span.start)
            .unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        self.mistakes.push(Mistake {
            line,
            key: key.map(str::to_owned),
            why: why.to_owned(),
        });
    }

    fn time(
        &mut self,
        key: &Key<'_>,
        value: &Value<'_>,
        setting: &mut Duration,
        range: RangeInclusive<Duration>,
    ) {
        match duration(value.get_ref()) {
            Ok(time) if range.contains(&time) => *setting = time,
            Ok(_) => {
                let why = format!("must lie between {:?} and {:?}", range.start(), range.end());
                self.mistake(value.span(), Some(key.get_ref()), &why);
            }
            Err(why) => self.mistake(value.span(), Some(key.get_ref()), &why),
        }
    }

    fn times(
        &mut self,
        key: &Key<'_>,
        value: &Value<'_>,
        setting: &mut Vec<Duration>,
        range: RangeInclusive<Duration>,
    ) {
        let list = match value.get_ref() {
            DeValue::Array(list) if list.len() <= MOST_TIMES => list,
            _ => {
                let why = format!("must be a list of at most {MOST_TIMES} times");
                return self.mistake(value.span(), Some(key.get_ref()), &why);
            }
        };
        setting.clear();
        for value in list {
            let mut time = Duration::ZERO;
            self.time(key, value, &mut time, range.clone());
            setting.push(time);
        }
    }

    fn uid(&mut self, key: &Key<'_>, value: &Value<'_>, setting: &mut u32) {
        let number = value
            .get_ref()
            .as_integer()
            .map(|number| number.to_string());
        match number.and_then(|number| number.parse().ok()) {
            Some(uid) if uid >= 1 => *setting = uid,
            _ => self.mistake(
                value.span(),
                Some(key.get_ref()),
                "must be a uid above 0: people's accounts begin there",
            ),
        }
    }

    /// What is given is added to the defaults, or takes the place of one.
    fn services(
        &mut self,
        key: &Key<'_>,
        value: &Value<'_>,
        services: &mut BTreeMap<String, Action>,
    ) {
        let DeValue::Table(table) = value.get_ref() else {
            return self.mistake(
                value.span(),
                Some(key.get_ref()),
                "must be a table: PAM services and the action that each stands for",
            );
        };
        for (service, action) in table {
            let name = format!("services.{}", service.get_ref());
            if !is_service(service.get_ref()) {
                self.mistake(
                    service.span(),
                    Some(&name),
                    "not the name of a file in /etc/pam.d",
                );
                continue;
            }
            match action.get_ref().as_str() {
                Some("ssh") => drop(services.insert(service.get_ref().to_string(), Action::Ssh)),
                Some("sudo") => drop(services.insert(service.get_ref().to_string(), Action::Sudo)),
                Some("su") => drop(services.insert(service.get_ref().to_string(), Action::Su)),
                Some("jobs") => drop(services.insert(service.get_ref().to_string(), Action::Jobs)),
                _ => self.mistake(
                    action.span(),
                    Some(&name),
                    "must be \"ssh\", \"sudo\", \"su\" or \"jobs\"",
                ),
            }
        }
    }
}

fn is_service(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(valid)
}

fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    const SHAPE: &str = "must be a time such as \"90m\", \"1h\" or \"2s\"";
    let text = value.as_str().ok_or(SHAPE)?;
    let span: Span = text.parse().map_err(|_| SHAPE)?;
    let signed = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| SHAPE)?;
    Duration::try_from(signed).map_err(|_| "must not be negative".to_owned())
}

#[cfg(test)]
mod tests;
