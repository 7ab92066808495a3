//! Asks jitd again and again whether somebody may log in, just as sshd's account phase does. jitd answers only to processes that it
//! can see, so this runs in the host's pid namespace: the bench starts itself there and talks to it over pipes.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jit_local::client;
use jit_local::message::pam::{ACCOUNT, Call, Verdict};
use jit_tests::host::Host;
use jit_tests::wait::Deadline;

/// From an answer to the next question: short against what is measured, and yet jitd is left the time to take a bundle in.
const PAUSE: Duration = Duration::from_millis(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const CHANGE_WITHIN: Duration = Duration::from_secs(20);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Allowed,
    Refused,
}

impl Login {
    fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
        }
    }
}

/// The other end of [`answer`].
pub(crate) struct Probe {
    child: Child,
    orders: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl Probe {
    pub(crate) fn start(host: &Host, login: &str) -> Result<Self> {
        let mut child = Command::new("nsenter")
            .args(["--target", &host.leader()?.to_string(), "--pid", "--"])
            .arg(std::env::current_exe()?)
            .args(["probe", "./pam.sock", login])
            // The socket is found from here, whatever the program sees of the host's files.
            .current_dir(host.outside("/run/jit")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting nsenter")?;
        let orders = child.stdin.take().context("the probe has no input")?;
        let reports = child.stdout.take().context("the probe has no output")?;
        Ok(Self {
            child,
            orders,
            reports: BufReader::new(reports),
        })
    }

    /// Comes back as soon as jitd says that.
    pub(crate) fn until(&mut self, login: Login) -> Result<()> {
        writeln!(self.orders, "{}", login.word()).context("telling the probe")?;
        let mut line = String::new();
        self.reports.read_line(&mut line)?;
        ensure!(
            line.trim_end() == login.word(),
            "the login was not {} in time",
            login.word()
        );
        Ok(())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads what to wait for, a word a line, and says the word when it has come.
pub(crate) fn answer(socket: &str, login: &str) -> Result<()> {
    let question = Call {
        service: "sshd".to_owned(),
        user: login.to_owned(),
        enforce: true,
        ..Call::default()
    };
    for line in io::stdin().lock().lines() {
        let word = line?;
        let deadline = Deadline::within(CHANGE_WITHIN);
        loop {
            let verdict: Verdict =
                client::call(Path::new(socket), ACCOUNT, &question, ANSWER_WITHIN)?;
            let now = if verdict.allow {
                Login::Allowed
            } else {
                Login::Refused
            };
            if now.word() == word {
                break;
            }
            if deadline.passed() {
                bail!("{login} is not {word} after {CHANGE_WITHIN:?}: {verdict:?}");
            }
            thread::sleep(PAUSE);
        }
        writeln!(io::stdout(), "{word}")?;
    }
    Ok(())
}
