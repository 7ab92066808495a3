//! `jitctl doctor`: what is wrong or open on this host, each with what to do about it. Reads only, changes nothing.
//!
//! It knows the ways round that `SECURITY.md` names as far as they can be seen in settings; what it does not look at, it does not
//! call fine.

mod doors;
mod host;
pub(crate) mod module;
mod pam;
mod sshd;
mod sudo;

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::command::Here;
use crate::error::{Error, Exit};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// A promise does not hold: something is broken, or a way round is open.
    Error,
    /// It may become one, or holds only as long as nobody tries.
    Warning,
    /// Worth knowing; nothing is wrong.
    Note,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    severity: Severity,
    /// What it is about: `pam`, `jitd`, `sshd`, `sudo`, `doors`.
    about: &'static str,
    what: String,
    remedy: String,
}

impl Finding {
    fn new(
        severity: Severity,
        about: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            about,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    fn error(about: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Error, about, what, remedy)
    }

    fn warning(about: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warning, about, what, remedy)
    }

    fn note(about: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Note, about, what, remedy)
    }
}

/// Looks, and says what it found. Exit 1 where something is wrong.
pub(crate) fn run(here: &Here) -> Result<Exit, Error> {
    here.require_root("looking into this host's settings")?;
    let services = here.gate().survey()?;
    let mut findings = pam::findings(here, &services);
    findings.extend(host::findings(here));
    if here.root() == Path::new("/") {
        findings.extend(sshd::findings());
        findings.extend(sudo::findings(&services));
    }
    findings.extend(doors::findings(here, &services));
    findings.sort_by_key(|finding| finding.severity);

    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    if here.json {
        here.screen.json(&findings);
    } else {
        let rows: Vec<_> = findings
            .iter()
            .map(|finding| {
                vec![
                    finding.severity.word().to_owned(),
                    finding.about.to_owned(),
                    finding.what.clone(),
                    finding.remedy.clone(),
                ]
            })
            .collect();
        here.screen.table(
            &["SEVERITY", "ABOUT", "WHAT", "WHAT TO DO"],
            &rows,
            "Nothing to say.",
        );
        here.screen.say(if errors == 0 {
            "Nothing is wrong.".to_owned()
        } else {
            format!("{errors} to put right.")
        });
    }
    Ok(if errors == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// What a program of this system prints; Err says why it could not be asked, None that it is not there.
fn ask(program: &str, arguments: &[&str]) -> Option<Result<String, String>> {
    if !Path::new(program).exists() {
        return None;
    }
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output();
    Some(match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr)
            .lines()
            .next()
            .unwrap_or("it failed")
            .to_owned()),
        Err(error) => Err(error.to_string()),
    })
}
