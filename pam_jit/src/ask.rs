//! The rules: which question a phase asks, and what becomes of the answer. Tested without PAM.
//!
//! Enforcing, only an "allow" of jitd passes; whatever else happens is a refusal (promise 1). Watching, everything
//! passes, nothing is shown, and what would have been refused is logged.

use std::ffi::CStr;
use std::path::Path;
use std::time::Duration;

use jit_local::client::ClientError;
use jit_local::limits::{DECISION_TIME, WATCHED_TIME};
use jit_local::message::pam::{ACCOUNT, CLOSE, Call, OPEN_AFTER, OPEN_BEFORE, Verdict};
use pam::constants::PamResultCode;
use syslog::Severity;

use crate::arguments::{ArgumentError, BootId, Line, Mode, Place, only_monitors};
use crate::failure::Failure;
use crate::guard::guarded;
use crate::text::{clean, clean_line};

/// What PAM wants of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// pam_acct_mgmt(3): may this go on?
    Account,
    /// pam_open_session(3).
    Open,
    /// pam_close_session(3).
    Close,
}

/// What PAM hears of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// jitd allows it, or there is nothing to allow.
    Allowed,
    /// Refused, by jitd or for want of an answer.
    Refused,
    /// The line only watches.
    Ignored,
}

/// What comes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For PAM.
    pub outcome: Outcome,
    /// Groups that the login is to be in; none unless it is allowed by a line that enforces.
    pub gids: Vec<u32>,
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        let gids = Vec::new();
        Self { outcome, gids }
    }
}

impl Outcome {
    /// The code for PAM. A refusal is PAM_PERM_DENIED in every phase: sudo goes on after PAM_SESSION_ERR (T6).
    pub fn code(self) -> PamResultCode {
        match self {
            Self::Allowed => PamResultCode::PAM_SUCCESS,
            Self::Refused => PamResultCode::PAM_PERM_DENIED,
            Self::Ignored => PamResultCode::PAM_IGNORE,
        }
    }
}

/// The running boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Its id.
    pub id: BootId,
    /// CLOCK_BOOTTIME, in seconds.
    pub seconds: u64,
}

/// The program that we are in, and the machine that it is on.
pub trait Host {
    /// What the PAM transaction knows.
    ///
    /// # Errors
    /// [`Failure::Item`].
    fn facts(&self) -> Result<Call, Failure>;
    /// The running boot; None when the kernel does not say.
    fn boot(&self) -> Option<Boot>;
    /// Uid of the owner of what is at `path`; None when nothing is.
    fn owner(&self, path: &Path) -> Option<u32>;
    /// Asks jitd.
    ///
    /// # Errors
    /// [`ClientError`], after `time` at the latest.
    fn call(
        &self,
        socket: &Path,
        method: &str,
        call: &Call,
        time: Duration,
    ) -> Result<Verdict, ClientError>;
    /// Shows text to the person.
    fn show(&self, text: &str);
    /// Writes a line to the host's log.
    fn log(&self, severity: Severity, text: &str);
}

/// Why something may not go on.
enum No {
    Refused {
        code: Option<String>,
        message: Option<String>,
    },
    Failed(Failure),
}

/// Does what `phase` asks, under the PAM line's `words`.
pub fn answer(host: &impl Host, phase: Phase, words: &[&CStr]) -> Answer {
    let line = Question::read(phase, words);
    // Known before anything else may fail, so that even a panic keeps to the mode.
    let enforcing = match &line {
        Ok(question) => enforces(&question.line.mode, host),
        Err(_) => !only_monitors(words),
    };
    let judged = guarded(|| judge(host, line, enforcing));
    let no = match judged.unwrap_or_else(|panicked| Err(No::Failed(panicked.into()))) {
        Ok(gids) if enforcing => {
            let outcome = Outcome::Allowed;
            return Answer { outcome, gids };
        }
        Ok(_) => return Outcome::Ignored.into(),
        Err(no) => no,
    };
    // Telling may fail in its turn; the outcome must not depend on it.
    let _ = guarded(|| tell(host, phase, enforcing, &no));
    let outcome = match phase {
        _ if !enforcing => Outcome::Ignored,
        Phase::Account | Phase::Open => Outcome::Refused,
        // Nobody gets in by closing, and other modules must get to clean up after themselves.
        Phase::Close => Outcome::Allowed,
    };
    outcome.into()
}

/// A line, and the method that it stands for in this phase.
struct Question {
    line: Line,
    method: Option<&'static str>,
}

impl Question {
    fn read(phase: Phase, words: &[&CStr]) -> Result<Self, ArgumentError> {
        if phase == Phase::Account {
            return Ok(Self {
                line: Line::account(words)?,
                method: Some(ACCOUNT),
            });
        }
        let (line, place) = Line::session(words)?;
        let method = match (phase, place) {
            (Phase::Open, Place::Before) => Some(OPEN_BEFORE),
            (Phase::Open, Place::After) => Some(OPEN_AFTER),
            // Said once, by the last line, when the others have closed.
            (_, Place::After) => Some(CLOSE),
            (_, Place::Before) => None,
        };
        Ok(Self { line, method })
    }
}

/// Whether a no is a refusal now. A boot that the kernel does not name is taken for the line's: doubt denies.
fn enforces(mode: &Mode, host: &impl Host) -> bool {
    enforces_now(mode, || host.boot())
}

/// The same, where `boot` tells the running one.
pub(crate) fn enforces_now(mode: &Mode, boot: impl FnOnce() -> Option<Boot>) -> bool {
    match mode {
        Mode::Monitor => false,
        Mode::Enforce => true,
        Mode::Provisional(provisional) => match boot() {
            Some(boot) => boot.id == provisional.boot && boot.seconds < provisional.until,
            None => true,
        },
    }
}

fn judge(
    host: &impl Host,
    question: Result<Question, ArgumentError>,
    enforce: bool,
) -> Result<Vec<u32>, No> {
    let verdict = ask(host, question, enforce).map_err(No::Failed)?;
    match verdict {
        None => Ok(Vec::new()),
        Some(Verdict {
            allow: true, gids, ..
        }) => Ok(gids),
        Some(Verdict { code, message, .. }) => Err(No::Refused { code, message }),
    }
}

fn ask(
    host: &impl Host,
    question: Result<Question, ArgumentError>,
    enforce: bool,
) -> Result<Option<Verdict>, Failure> {
    let Question { line, method } = question?;
    let Some(method) = method else {
        return Ok(None);
    };
    // Whoever owns the socket decides who gets in.
    if let Some(socket) = &line.socket
        && host.owner(socket).is_some_and(|uid| uid != 0)
    {
        let error = ArgumentError::Contradictory("socket= names what does not belong to root");
        return Err(error.into());
    }
    let call = Call {
        enforce,
        ..host.facts()?
    };
    let time = if enforce { DECISION_TIME } else { WATCHED_TIME };
    Ok(Some(host.call(line.socket(), method, &call, time)?))
}

fn tell(host: &impl Host, phase: Phase, enforcing: bool, no: &No) {
    let about = match host.facts() {
        Ok(call) => format!("{} for {}", call.service, call.user),
        Err(error) => error.to_string(),
    };
    if let No::Failed(failure) = no {
        let text = format!("{about}: {} {failure}", failure.code());
        host.log(Severity::LOG_ERR, &clean_line(&text));
    }
    if !enforcing {
        let text = format!("monitor: would have refused {about}: {}", no.code());
        host.log(Severity::LOG_NOTICE, &clean_line(&text));
    } else if phase != Phase::Close {
        host.show(&no.text());
    }
}

impl No {
    fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code.as_deref().unwrap_or("no code"),
            Self::Failed(failure) => failure.code(),
        }
    }

    /// What the person sees; never empty.
    fn text(&self) -> String {
        let text = match self {
            Self::Refused { message, .. } => clean(message.as_deref().unwrap_or_default()),
            Self::Failed(failure) => clean(&failure.message()),
        };
        match self {
            _ if !text.is_empty() => text,
            Self::Refused { code: Some(code), .. } => {
                let code = clean_line(code);
                format!("Refused ({code}). To read why: jitctl explain {code}")
            }
            _ => "Refused, and jitd gave no reason. Tell an administrator of this host: jitctl doctor"
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
