//! Running a command inside a host: as root or as a person, with a deadline, keeping what it printed and how long it took.

use std::fmt;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::heard::Heard;
use crate::host::Host;
use crate::wait::{Deadline, Process};

/// A command that hangs is killed, and its test fails, after this time unless the test says another.
pub const USUAL_DEADLINE: Duration = Duration::from_secs(30);

/// A command to be run inside a host.
#[derive(Debug)]
pub struct Inside<'h> {
    host: &'h Host,
    words: Vec<String>,
    user: Option<String>,
    environment: Vec<String>,
    input: Option<Vec<u8>>,
    deadline: Duration,
}

impl<'h> Inside<'h> {
    pub(crate) fn new(host: &'h Host, words: &[&str]) -> Self {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Self {
            host,
            words,
            user: None,
            environment: Vec::new(),
            input: None,
            deadline: USUAL_DEADLINE,
        }
    }

    /// With these words more.
    #[must_use]
    pub fn words<'w>(mut self, words: impl IntoIterator<Item = &'w str>) -> Self {
        self.words.extend(words.into_iter().map(str::to_owned));
        self
    }

    pub(crate) fn host(&self) -> &'h Host {
        self.host
    }

    /// As this user instead of root, without any PAM service having been asked. The user's group has the user's name.
    #[must_use]
    pub fn user(mut self, login: &str) -> Self {
        self.user = Some(login.to_owned());
        self
    }

    /// With this variable in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    /// With this on its standard input; without any it reads an empty one.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// It must end within this time.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.deadline = time;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It can't be started or is still running at its deadline (then it is killed). A failing command is no error: see [`Outcome::code`].
    pub fn run(self) -> Result<Outcome> {
        let deadline = Deadline::within(self.deadline);
        self.start()?.finish(deadline)
    }

    /// Runs it to its end and gives its standard output.
    ///
    /// # Errors
    /// As [`Inside::run`], and when it fails.
    pub fn text(self) -> Result<String> {
        Ok(self.run()?.succeeded()?.stdout)
    }

    /// Starts it and comes back while it runs.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(self) -> Result<Running> {
        let cgroup = self.host.new_cgroup()?;
        let mut command = in_cgroup(&cgroup, &self.entering(&[])?);
        command.stdin(if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::spawn(command, cgroup, self.words.join(" "))?;
        if let (Some(bytes), Some(mut pipe)) = (self.input, running.child.stdin.take()) {
            // A command that does not read its input to the end closes the pipe; that is its business.
            thread::spawn(move || pipe.write_all(&bytes).ok());
        }
        Ok(running)
    }

    /// Starts it with `terminal` as its controlling terminal.
    pub(crate) fn start_on(self, terminal: &OwnedFd) -> Result<Running> {
        let cgroup = self.host.new_cgroup()?;
        let mut command = in_cgroup(&cgroup, &self.entering(&["setsid", "--ctty", "--wait"])?);
        command
            .stdin(terminal.try_clone()?)
            .stdout(terminal.try_clone()?)
            .stderr(terminal.try_clone()?);
        Running::spawn(command, cgroup, self.words.join(" "))
    }

    /// The words that enter the host, run `wrapper` there, change to the user and run the command.
    fn entering(&self, wrapper: &[&str]) -> Result<Vec<String>> {
        let mut words: Vec<String> = [
            "nsenter",
            "--target",
            &self.host.leader()?.to_string(),
            "--all",
            "--",
        ]
        .map(String::from)
        .into();
        words.extend(wrapper.iter().map(|&word| word.to_owned()));
        let home = match &self.user {
            Some(user) => {
                words.extend([
                    "setpriv".to_owned(),
                    format!("--reuid={user}"),
                    format!("--regid={user}"),
                    "--init-groups".to_owned(),
                ]);
                words.push("--".to_owned());
                format!("/home/{user}")
            }
            None => "/root".to_owned(),
        };
        words.extend(["env", "-i", "LANG=C.UTF-8", "TERM=xterm", SEARCH_PATH].map(String::from));
        words.extend([format!("--chdir={home}"), format!("HOME={home}")]);
        words.extend(self.environment.iter().chain(&self.words).cloned());
        Ok(words)
    }
}

const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Enters the cgroup named first, then becomes the rest: the end of that cgroup is then the end of all that the command started.
const ENTER_CGROUP: &str = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;

fn in_cgroup(cgroup: &Path, words: &[String]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", ENTER_CGROUP]).arg(cgroup).args(words);
    command
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command as typed.
    pub what: String,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output; on a terminal, all that was shown.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
}

impl Outcome {
    /// Itself, when its exit code is 0.
    ///
    /// # Errors
    /// It is not 0; the error has all that was printed.
    pub fn succeeded(self) -> Result<Self> {
        ensure!(self.code == Some(0), "should have succeeded, but: {self}");
        Ok(self)
    }

    /// Itself, when it failed and said all of `words`.
    ///
    /// # Errors
    /// It succeeded, or did not say one of them.
    pub fn refused_saying(self, words: &[&str]) -> Result<Self> {
        ensure!(
            self.code != Some(0),
            "should have been refused, but: {self}"
        );
        for word in words {
            ensure!(self.said(word), "should have said {word:?}, but: {self}");
        }
        Ok(self)
    }

    /// True where `text` is in what it printed.
    #[must_use]
    pub fn said(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self
            .code
            .map_or_else(|| "by a signal".to_owned(), |code| format!("with {code}"));
        write!(f, "`{}` ended {code} after {:.1?}", self.what, self.took)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n{name}: {}", text.trim())?;
            }
        }
        Ok(())
    }
}

/// A command running inside a host. Dropped, it is killed with all it started.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Child,
    process: Process,
    cgroup: PathBuf,
    began: Instant,
    stdout: Arc<Heard>,
    stderr: Arc<Heard>,
}

impl Running {
    fn spawn(mut command: Command, cgroup: PathBuf, what: String) -> Result<Self> {
        let began = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {what}"))?;
        let process = Process::open(child.id())?;
        let (stdout, stderr) = (
            Heard::new(child.stdout.take()),
            Heard::new(child.stderr.take()),
        );
        Ok(Self {
            what,
            child,
            process,
            cgroup,
            began,
            stdout,
            stderr,
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It is still running at `deadline` (then it is killed).
    pub fn finish(mut self, deadline: Deadline) -> Result<Outcome> {
        if !self.process.ended(deadline)? {
            self.kill();
            bail!(
                "`{}` was still running after {:.1?}; stdout: {}; stderr: {}",
                self.what,
                self.began.elapsed(),
                self.stdout(),
                self.stderr()
            );
        }
        let took = self.began.elapsed();
        let status = self.child.wait()?;
        // What it left running in the background may hold the pipes open for longer; what it printed itself is there at once.
        self.stdout.closed(Deadline::within(PIPES_CLOSE_WITHIN));
        self.stderr.closed(Deadline::within(PIPES_CLOSE_WITHIN));
        Ok(Outcome {
            what: self.what.clone(),
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
            took,
        })
    }

    /// True while it runs.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn alive(&self) -> Result<bool> {
        self.process.alive()
    }

    /// Waits for its end without taking what it printed: false when it still runs at `deadline`.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn ended(&self, deadline: Deadline) -> Result<bool> {
        self.process.ended(deadline)
    }

    /// Waits until its standard output has `text`.
    ///
    /// # Errors
    /// It has not at `deadline`, or the command closed it before.
    pub fn says(&self, text: &str, deadline: Deadline) -> Result<()> {
        let heard = self.stdout.contains(text, deadline);
        ensure!(
            heard,
            "`{}` did not say {text:?} in time; stdout: {}; stderr: {}",
            self.what,
            self.stdout(),
            self.stderr()
        );
        Ok(())
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// How long it has been running.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends it and all it started, at once.
    pub fn kill(&mut self) {
        // The cgroup is gone already where the host is; then there is nothing left to end.
        fs::write(self.cgroup.join("cgroup.kill"), "1").ok();
        self.child.wait().ok();
    }
}

/// How long to wait for pipes to close after their command has ended.
const PIPES_CLOSE_WITHIN: Duration = Duration::from_millis(200);

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        fs::remove_dir(&self.cgroup).ok();
    }
}
