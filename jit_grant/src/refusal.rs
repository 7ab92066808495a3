//! A refusal, and what it says to the person at the terminal.

use jiff::Timestamp;

use crate::bundle::Action;
use crate::code::Code;
use crate::envelope::clean;
use crate::name::{HostName, RoleName};

/// A no, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// What was asked for, where that is known.
    pub action: Option<Action>,
    /// The instant that the reason is about: when a grant expired, or will start.
    pub at: Option<Timestamp>,
    /// The role to ask for again, where a grant of it came close.
    pub role: Option<RoleName>,
    /// What exactly, in a few words, where the code leaves that open.
    pub detail: Option<String>,
}

impl Refusal {
    /// A refusal with nothing but its code.
    #[must_use]
    pub fn because(code: Code) -> Self {
        Self {
            code,
            action: None,
            at: None,
            role: None,
            detail: None,
        }
    }

    /// Says what was asked for.
    #[must_use]
    pub fn to(self, action: Action) -> Self {
        Self {
            action: Some(action),
            ..self
        }
    }

    /// Says when.
    #[must_use]
    pub fn at(self, at: Timestamp) -> Self {
        Self {
            at: Some(at),
            ..self
        }
    }

    /// Says which role to ask for.
    #[must_use]
    pub fn of_role(self, role: &RoleName) -> Self {
        Self {
            role: Some(role.clone()),
            ..self
        }
    }

    /// Says what exactly. The text may come from elsewhere: it is cleaned and cut.
    #[must_use]
    pub fn with_detail(self, detail: &str) -> Self {
        Self {
            detail: Some(clean(detail, 160)),
            ..self
        }
    }

    /// What to show: three lines of printable ASCII, saying what was refused, why (with the code), and what to do next.
    ///
    /// `server` is where people ask, such as its URL; `login` and `server` may be any text.
    #[must_use]
    pub fn message(&self, host: &HostName, login: &str, server: Option<&str>) -> String {
        let refused = match self.action {
            Some(Action::Ssh) => "may not log in to",
            Some(Action::Sudo) => "may not use sudo on",
            Some(Action::Su) => "may not use su on",
            Some(Action::Jobs) => "may not have jobs run on",
            None => "may not go on with this on",
        };
        let login = clean(login, 64);
        let why = self.why();
        let next = self.what_next(host, server);
        format!("jit: {login} {refused} {host}.\n{why}\n{next}")
    }

    fn why(&self) -> String {
        let title = self.code.title();
        let when = match self.at.map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC")) {
            Some(start) if self.code == Code::NotYetStarted => format!("; it starts at {start}"),
            Some(at) => format!(" at {at}"),
            None => String::new(),
        };
        let what = self
            .detail
            .as_ref()
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        format!("{title}{when}{what} ({}).", self.code)
    }

    fn what_next(&self, host: &HostName, server: Option<&str>) -> String {
        if !self.code.calls_for_a_request() {
            return self.code.remedy().to_owned();
        }
        let role = self.role.as_ref().map_or("ROLE", RoleName::as_str);
        let place = server
            .map(|server| format!(" at {}", clean(server, 200)))
            .unwrap_or_default();
        format!("Ask{place}: jitctl request {role} --host {host} --for 30m --reason \"WHY\"")
    }
}
