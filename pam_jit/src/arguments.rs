//! The words after `pam_jit.so` on a PAM line. The line is the mode: nothing else says whether this service enforces.
//!
//! ```text
//! account    monitor|enforce [until=SECONDS boot=BOOTID] [socket=PATH]
//! session    monitor|enforce [until=SECONDS boot=BOOTID] [socket=PATH] before|after
//! ```
//!
//! Whatever else stands there denies, unless the line says nothing but `monitor` about its mode: a slip in a file that
//! guards the way in must not open it, and one in a file that only watches must not close it.

use std::ffi::CStr;
use std::path::{Path, PathBuf};

use jit_local::limits::PAM_SOCKET;

/// A PAM line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whether it enforces.
    pub mode: Mode,
    /// Which of the two session lines it is; none on an account line.
    pub place: Option<Place>,
    /// Where jitd listens, where the line says another place than the usual one.
    pub socket: Option<PathBuf>,
}

/// What the line does with a no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Notes it and lets everybody pass.
    Monitor,
    /// Refuses.
    Enforce,
    /// Refuses in that boot up to that time; notes it afterwards.
    Provisional(Provisional),
}

/// How long a provisional enforcement lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisional {
    /// Seconds of CLOCK_BOOTTIME.
    pub until: u64,
    /// The boot that they are counted in.
    pub boot: BootId,
}

/// The kernel's id of a boot, with or without its hyphens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootId(String);

/// Where a session line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before pam_systemd.
    Before,
    /// After it.
    After,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// Not one of the words that a line may have, or not a value that the word may have.
    #[error("cannot understand {0:?}; jitctl gate writes the line anew")]
    Unknown(String),
    /// A word, or another of its kind, stands there twice.
    #[error("more than one of {0}; jitctl gate writes the line anew")]
    Doubled(&'static str),
    /// Words that don't go together, or that lack another.
    #[error("{0}; jitctl gate writes the line anew")]
    Contradictory(&'static str),
}

impl Line {
    /// Reads the words of an account line.
    ///
    /// # Errors
    /// [`ArgumentError`] for anything but exactly what such a line may have.
    pub fn account(words: &[&CStr]) -> Result<Self, ArgumentError> {
        match Self::parse(words)? {
            Self { place: Some(_), .. } => Err(ArgumentError::Contradictory(
                "before and after belong to session lines",
            )),
            line => Ok(line),
        }
    }

    /// Reads the words of a session line; its place is there.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub fn session(words: &[&CStr]) -> Result<(Self, Place), ArgumentError> {
        let line = Self::parse(words)?;
        let missing = ArgumentError::Contradictory("a session line says before or after");
        let place = line.place.ok_or(missing)?;
        Ok((line, place))
    }

    fn parse(words: &[&CStr]) -> Result<Self, ArgumentError> {
        let mut found = Found::default();
        for word in words {
            found.take(&word.to_string_lossy())?;
        }
        Ok(Self {
            mode: found.mode()?,
            place: found.place,
            socket: found.socket,
        })
    }
}

/// True for a line that says `monitor` and not `enforce`, whatever else is wrong with it.
pub fn only_monitors(words: &[&CStr]) -> bool {
    words.contains(&c"monitor") && !words.contains(&c"enforce")
}

#[derive(Default)]
struct Found {
    enforce: Option<bool>,
    until: Option<u64>,
    boot: Option<BootId>,
    place: Option<Place>,
    socket: Option<PathBuf>,
}

impl Found {
    fn take(&mut self, word: &str) -> Result<(), ArgumentError> {
        let unknown = || ArgumentError::Unknown(word.chars().take(80).collect());
        match word.split_once('=') {
            None => match word {
                "monitor" => set(&mut self.enforce, false, "monitor and enforce"),
                "enforce" => set(&mut self.enforce, true, "monitor and enforce"),
                "before" => set(&mut self.place, Place::Before, "before and after"),
                "after" => set(&mut self.place, Place::After, "before and after"),
                _ => Err(unknown()),
            },
            Some(("until", seconds)) => set(
                &mut self.until,
                parse_seconds(seconds).ok_or_else(unknown)?,
                "until=",
            ),
            Some(("boot", id)) => set(
                &mut self.boot,
                BootId::parse(id).ok_or_else(unknown)?,
                "boot=",
            ),
            Some(("socket", path)) if path.starts_with('/') => {
                set(&mut self.socket, PathBuf::from(path), "socket=")
            }
            Some(_) => Err(unknown()),
        }
    }

    fn mode(&mut self) -> Result<Mode, ArgumentError> {
        match (self.enforce, self.until.take(), self.boot.take()) {
            (None, ..) => Err(ArgumentError::Contradictory("neither monitor nor enforce")),
            (Some(false), None, None) => Ok(Mode::Monitor),
            (Some(false), ..) => Err(ArgumentError::Contradictory(
                "until= and boot= belong to enforce",
            )),
            (Some(true), None, None) => Ok(Mode::Enforce),
            (Some(true), Some(until), Some(boot)) => {
                Ok(Mode::Provisional(Provisional { until, boot }))
            }
            (Some(true), ..) => Err(ArgumentError::Contradictory(
                "until= and boot= belong together",
            )),
        }
    }
}

fn set<T>(slot: &mut Option<T>, value: T, name: &'static str) -> Result<(), ArgumentError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ArgumentError::Doubled(name)),
    }
}

fn parse_seconds(text: &str) -> Option<u64> {
    // u64's own parser takes a sign as well.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

impl BootId {
    /// Reads an id as /proc/sys/kernel/random/boot_id or systemd write it.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.replace('-', "");
        let valid = digits.len() == 32
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        valid.then_some(Self(digits))
    }
}

impl Line {
    /// Where to ask.
    pub fn socket(&self) -> &Path {
        self.socket.as_deref().unwrap_or(Path::new(PAM_SOCKET))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    const BOOT: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    fn words(text: &str) -> Vec<CString> {
        text.split_whitespace()
            .map(|word| CString::new(word).unwrap())
            .collect()
    }

    fn with<T>(text: &str, read: impl Fn(&[&CStr]) -> T) -> T {
        let words = words(text);
        read(&words.iter().map(CString::as_c_str).collect::<Vec<_>>())
    }

    #[test]
    fn the_lines_that_jitctl_writes_are_understood() {
        let plain = |mode| Line {
            mode,
            place: None,
            socket: None,
        };
        assert_eq!(with("monitor", Line::account), Ok(plain(Mode::Monitor)));
        assert_eq!(with("enforce", Line::account), Ok(plain(Mode::Enforce)));
        let provisional = Provisional {
            until: 4711,
            boot: BootId::parse(BOOT).unwrap(),
        };
        assert_eq!(
            with(&format!("enforce until=4711 boot={BOOT}"), Line::account),
            Ok(plain(Mode::Provisional(provisional)))
        );
        for (text, expected) in [
            ("monitor before", Place::Before),
            ("enforce after", Place::After),
        ] {
            assert_eq!(with(text, Line::session).unwrap().1, expected);
        }
        let line = with("enforce socket=/run/x.sock", Line::account).unwrap();
        assert_eq!(line.socket(), Path::new("/run/x.sock"));
    }

    #[test]
    fn everything_else_is_an_error() {
        let boot = format!("boot={BOOT}");
        let lines = [
            "",
            "permissive",
            "Enforce",
            "enforce=1",
            "enforce enforce",
            "monitor monitor",
            "monitor enforce",
            "enforce debug",
            "enforce socket=relative",
            "enforce socket=",
            "enforce socket=/a socket=/b",
            "enforce until=5",
            &format!("enforce {boot}"),
            &format!("monitor until=5 {boot}"),
            &format!("enforce until= {boot}"),
            &format!("enforce until=+5 {boot}"),
            &format!("enforce until=-5 {boot}"),
            &format!("enforce until=5.5 {boot}"),
            &format!("enforce until=5 until=6 {boot}"),
            &format!("enforce until=99999999999999999999 {boot}"),
            "enforce until=5 boot=",
            "enforce until=5 boot=x",
            &format!("enforce until=5 {}", boot.to_uppercase()),
            &format!("until=5 {boot}"),
            "before",
            "timeout=5 enforce",
        ];
        for text in lines {
            assert!(with(text, Line::account).is_err(), "{text}");
            assert!(
                with(&format!("{text} before"), Line::session).is_err(),
                "{text} before"
            );
        }
        assert!(with("enforce before", Line::account).is_err());
        assert!(with("enforce", Line::session).is_err());
        assert!(with("enforce before after", Line::session).is_err());
        assert!(with("enforce before before", Line::session).is_err());
        assert!(Line::account(&[c"enforce", c"\xff"]).is_err());
    }

    #[test]
    fn only_a_line_that_says_monitor_and_not_enforce_watches_when_it_is_wrong() {
        assert!(with("monitor bogus", only_monitors));
        for text in [
            "",
            "bogus",
            "enforce bogus",
            "monitor enforce",
            "monitor=1",
            "Monitor",
        ] {
            assert!(!with(text, only_monitors), "{text}");
        }
    }

    #[test]
    fn a_boot_id_is_the_same_with_and_without_hyphens() {
        assert_eq!(BootId::parse(BOOT), BootId::parse(&BOOT.replace('-', "")));
    }
}
