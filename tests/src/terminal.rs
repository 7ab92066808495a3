//! A person at a terminal inside a host: sees what a program shows, types answers.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nix::libc::O_NOCTTY;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use crate::heard::Heard;
use crate::run::{Inside, Outcome, Running};
use crate::wait::Deadline;

/// bash asks the terminal to mark what is pasted when it begins to read a line, and to stop when it has read one. What is
/// typed before that may be thrown away.
const BASH_IS_READY: &str = "\x1b[?2004h";
const BASH_TOOK_IT: &str = "\x1b[?2004l";

/// A program running on a terminal of its host's own. Dropped, it is killed with all it started.
#[derive(Debug)]
pub struct Terminal {
    running: Running,
    keyboard: File,
    screen: Arc<Heard>,
    read: usize,
}

impl Terminal {
    /// Starts `command` on a new terminal, which is its controlling one.
    ///
    /// # Errors
    /// No terminal, or it can't be started.
    pub fn start(command: Inside<'_>) -> Result<Self> {
        let path = command.host().outside("/dev/pts/ptmx")?;
        let keyboard = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NOCTTY)
            .open(&path);
        let keyboard = keyboard.with_context(|| format!("opening {}", path.display()))?;
        unlockpt(&keyboard).context("unlocking the terminal")?;
        let terminal = ioctl_tiocgptpeer(
            &keyboard,
            OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
        )?;
        let running = command.start_on(&terminal)?;
        let screen = Heard::new(Some(keyboard.try_clone()?));
        Ok(Self {
            running,
            keyboard,
            screen,
            read: 0,
        })
    }

    /// Waits until the program shows `text`, behind what was waited for before.
    ///
    /// # Errors
    /// It does not before `deadline`; the error has what it showed instead.
    pub fn sees(&mut self, text: &str, deadline: Deadline) -> Result<()> {
        let end = self.screen.contains_after(self.read, text, deadline);
        self.read = end.with_context(|| {
            format!(
                "waited for {text:?} on the terminal, saw: {}",
                self.screen.text()
            )
        })?;
        Ok(())
    }

    /// Types a line and presses return.
    ///
    /// # Errors
    /// The terminal is closed.
    pub fn types(&mut self, line: &str) -> Result<()> {
        self.keyboard
            .write_all(format!("{line}\r").as_bytes())
            .context("typing at the terminal")
    }

    /// One more keyboard, for somebody else who types at it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn keyboard(&self) -> Result<File> {
        self.keyboard.try_clone().context("one more keyboard")
    }

    /// Waits for a prompt, then answers it.
    ///
    /// # Errors
    /// As [`Terminal::sees`] and [`Terminal::types`].
    pub fn answers(&mut self, prompt: &str, line: &str, deadline: Deadline) -> Result<()> {
        self.sees(prompt, deadline)?;
        self.types(line)
    }

    /// Types a command to bash once it is ready for one, and comes back when bash has taken it.
    ///
    /// # Errors
    /// bash is not ready before `deadline`.
    pub fn enters(&mut self, command: &str, deadline: Deadline) -> Result<()> {
        self.sees(BASH_IS_READY, deadline)?;
        self.types(command)?;
        self.sees(BASH_TOOK_IT, deadline)
    }

    /// Has bash run a command to its end; gives what it showed.
    ///
    /// # Errors
    /// bash is not ready for it, or does not come back, before `deadline`.
    pub fn shell(&mut self, command: &str, deadline: Deadline) -> Result<String> {
        self.enters(command, deadline)?;
        let start = self.read;
        // Not waited for with `sees`: the next command waits for the same sign.
        let end = self.screen.contains_after(start, BASH_IS_READY, deadline);
        let end = end.with_context(|| {
            format!("`{command}` did not come back, saw: {}", self.screen.text())
        })?;
        Ok(self
            .screen
            .text()
            .get(start..end)
            .unwrap_or_default()
            .replace(BASH_IS_READY, ""))
    }

    /// All that was shown so far.
    #[must_use]
    pub fn screen(&self) -> String {
        self.screen.text()
    }

    /// The program itself.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Waits for its end; all that was shown counts as its standard output.
    ///
    /// # Errors
    /// It still runs at `deadline`; it is killed then.
    pub fn finish(self, deadline: Deadline) -> Result<Outcome> {
        let ended = self.running.ended(deadline)?;
        ensure!(
            ended,
            "still running at its deadline; on the terminal: {}",
            self.screen.text()
        );
        let outcome = self.running.finish(deadline)?;
        self.screen.closed(Deadline::seconds(1));
        Ok(Outcome {
            stdout: self.screen.text(),
            ..outcome
        })
    }
}
