//! The stock ssh client, run inside a host by one of its people.

use std::time::Duration;

use anyhow::Result;

use crate::host::Host;
use crate::people;
use crate::run::{Inside, Outcome, Running, USUAL_DEADLINE};
use crate::terminal::Terminal;
use crate::wait::Deadline;

/// How a person proves to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The key in the person's home.
    Key,
    /// The login's password, asked for by ssh's password method.
    Password,
    /// The same, asked for by PAM.
    KeyboardInteractive,
}

impl Proof {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Key, Self::Password, Self::KeyboardInteractive];

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Key => &["-oPreferredAuthentications=publickey", "-oBatchMode=yes"],
            Self::Password => &[
                "-oPreferredAuthentications=password",
                "-oPubkeyAuthentication=no",
            ],
            Self::KeyboardInteractive => &[
                "-oPreferredAuthentications=keyboard-interactive",
                "-oPubkeyAuthentication=no",
            ],
        }
    }
}

/// A connection that somebody is about to make.
#[derive(Debug, Clone)]
pub struct Ssh<'h> {
    host: &'h Host,
    person: String,
    login: String,
    to: String,
    proof: Proof,
    options: Vec<String>,
}

impl<'h> Ssh<'h> {
    /// `person`, sitting on `host`, to the login of the same name on the same host, with the person's key.
    #[must_use]
    pub fn new(host: &'h Host, person: &str) -> Self {
        let (person, login) = (person.to_owned(), person.to_owned());
        Self {
            host,
            person,
            login,
            to: "localhost".to_owned(),
            proof: Proof::Key,
            options: Vec::new(),
        }
    }

    /// To another login.
    #[must_use]
    pub fn login(mut self, login: &str) -> Self {
        self.login = login.to_owned();
        self
    }

    /// To another host.
    #[must_use]
    pub fn to(mut self, host: &str) -> Self {
        self.to = host.to_owned();
        self
    }

    /// Proving it another way than by key.
    #[must_use]
    pub fn by(mut self, proof: Proof) -> Self {
        self.proof = proof;
        self
    }

    /// With one more option of ssh(1).
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Runs `command` over it, to its end.
    ///
    /// # Errors
    /// The client hangs, or a password was not asked for. A refusal is no error: ssh ends with 255 then.
    pub fn run(self, command: &str) -> Result<Outcome> {
        match self.proof {
            Proof::Key => self.client("ssh", &[command]).run(),
            Proof::Password | Proof::KeyboardInteractive => {
                self.open(command)?.finish(Deadline::within(USUAL_DEADLINE))
            }
        }
    }

    /// Starts `command` over it and comes back. For keys.
    ///
    /// # Errors
    /// The client can't be started.
    pub fn start(self, command: &str) -> Result<Running> {
        self.client(
            "ssh",
            if command.is_empty() {
                &[]
            } else {
                std::slice::from_ref(&command)
            },
        )
        .start()
    }

    /// Starts `command` (none: the login shell) over it on a terminal, and gives the password where one is asked for.
    ///
    /// # Errors
    /// The client can't be started, or a password was not asked for.
    pub fn open(self, command: &str) -> Result<Terminal> {
        let on_terminal = self.clone().option("-tt");
        let mut terminal = Terminal::start(on_terminal.client(
            "ssh",
            if command.is_empty() {
                &[]
            } else {
                std::slice::from_ref(&command)
            },
        ))?;
        if self.proof != Proof::Key {
            terminal.answers(
                "assword:",
                &people::password(&self.login),
                Deadline::within(USUAL_DEADLINE),
            )?;
        }
        Ok(terminal)
    }

    /// Runs an sftp batch over it. For keys.
    ///
    /// # Errors
    /// The client hangs.
    pub fn sftp(self, batch: &str) -> Result<Outcome> {
        let destination = self.destination();
        let mut words = vec!["sftp", "-b", "-"];
        words.extend(
            self.options
                .iter()
                .map(String::as_str)
                .chain([destination.as_str()]),
        );
        self.host
            .command(&words)
            .user(&self.person)
            .input(batch)
            .run()
    }

    /// Copies a local file over it. For keys.
    ///
    /// # Errors
    /// The client hangs.
    pub fn scp(self, file: &str, path: &str) -> Result<Outcome> {
        let destination = format!("{}:{path}", self.destination());
        let mut words = vec!["scp", "-B"];
        words.extend(
            self.options
                .iter()
                .map(String::as_str)
                .chain([file, destination.as_str()]),
        );
        self.host.command(&words).user(&self.person).run()
    }

    fn destination(&self) -> String {
        format!("{}@{}", self.login, self.to)
    }

    fn client(&self, program: &str, command: &[&str]) -> Inside<'h> {
        let destination = self.destination();
        let mut words = vec![program];
        words.extend(self.proof.options());
        words.extend(self.options.iter().map(String::as_str));
        words.push(&destination);
        words.extend(command);
        self.host
            .command(&words)
            .user(&self.person)
            .within(Duration::from_secs(60))
    }
}
