//! What the PAM lines say: watch, or enforce, or enforce until a moment of this boot.

use std::fmt;
use std::str::FromStr;

/// The identity of one boot, from `/proc/sys/kernel/random/boot_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootId(String);

/// A text is no boot's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a boot id: 36 of 0-9 a-f -")]
pub struct NotABootId;

impl FromStr for BootId {
    type Err = NotABootId;

    fn from_str(text: &str) -> Result<Self, NotABootId> {
        let valid = text.len() == 36
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotABootId)
        }
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a gated service treats a refusal. The PAM line itself is the mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes and is recorded, also with jitd dead or the module gone.
    Monitor,
    /// What jitd does not allow is refused.
    Enforce,
    /// Enforced until a moment of one boot; past it, or in another boot, pam_jit acts as in monitor mode.
    Provisional {
        /// Seconds of CLOCK_BOOTTIME.
        until: u64,
        /// The boot that these seconds count in.
        boot: BootId,
    },
}

impl Mode {
    /// Asks and authenticates nobody (T4): through it the groups of a login's grants are set. Never `requisite`, so that it refuses nobody.
    pub(crate) fn auth_line(&self) -> String {
        format!("auth optional pam_jit.so {}", self.words())
    }

    pub(crate) fn account_line(&self) -> String {
        format!("account {} pam_jit.so {}", self.control(), self.words())
    }

    pub(crate) fn before_line(&self) -> String {
        format!(
            "session {} pam_jit.so {} before",
            self.control(),
            self.words()
        )
    }

    pub(crate) fn after_line(&self) -> String {
        format!(
            "session {} pam_jit.so {} after",
            self.control(),
            self.words()
        )
    }

    /// The mode that `line` says, where it is one that we write, to the letter.
    pub(crate) fn in_line(line: &str) -> Option<Mode> {
        let mode = Self::from_words(line.split_once(" pam_jit.so ")?.1)?;
        let ours = [
            mode.account_line(),
            mode.before_line(),
            mode.after_line(),
            mode.auth_line(),
        ];
        ours.iter().any(|ours| ours == line).then_some(mode)
    }

    /// One word for lists: `monitor`, `enforce` or `provisional`.
    pub fn word(&self) -> &'static str {
        match self {
            Mode::Monitor => "monitor",
            Mode::Enforce => "enforce",
            Mode::Provisional { .. } => "provisional",
        }
    }

    /// `optional` passes when the module is missing, `requisite` ends the stack at the first refusal (T9).
    fn control(&self) -> &'static str {
        match self {
            Mode::Monitor => "optional",
            Mode::Enforce | Mode::Provisional { .. } => "requisite",
        }
    }

    fn words(&self) -> String {
        match self {
            Mode::Monitor => "monitor".to_owned(),
            Mode::Enforce => "enforce".to_owned(),
            Mode::Provisional { until, boot } => format!("enforce until={until} boot={boot}"),
        }
    }

    fn from_words(words: &str) -> Option<Mode> {
        let words = words
            .strip_suffix(" before")
            .or_else(|| words.strip_suffix(" after"))
            .unwrap_or(words);
        match words {
            "monitor" => return Some(Mode::Monitor),
            "enforce" => return Some(Mode::Enforce),
            _ => {}
        }
        let (until, boot) = words.strip_prefix("enforce until=")?.split_once(" boot=")?;
        Some(Mode::Provisional {
            until: until.parse().ok()?,
            boot: boot.parse().ok()?,
        })
    }
}
