//! Looking at a site: what runs, what is open, what was written down.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::site::{Site, list};
use crate::wait::{self, Deadline};

impl Site {
    /// The sessions and elevations that jitd holds open.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn sessions(&self) -> Result<Vec<Value>> {
        let answer = self
            .host
            .command(&["jitctl", "list", "sessions", "--json"])
            .text()?;
        Ok(list(&serde_json::from_str(&answer)?, "sessions"))
    }

    /// The events of the server and its hosts, oldest first.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn audit(&self) -> Result<Vec<Value>> {
        let answer = self
            .host
            .command(&["jitctl", "audit", "list", "--json"])
            .text()?;
        Ok(list(&serde_json::from_str(&answer)?, "events"))
    }

    /// True while a process whose command line has this in it runs on the host.
    ///
    /// # Errors
    /// pgrep fails.
    pub fn runs(&self, pattern: &str) -> Result<bool> {
        Ok(self.host.run(&["pgrep", "--full", pattern])?.code == Some(0))
    }

    /// Waits until such a process runs.
    ///
    /// # Errors
    /// None does at the deadline.
    pub fn wait_until_runs(&self, pattern: &str, deadline: Deadline) -> Result<()> {
        wait::eventually(&format!("{pattern} to run"), deadline, || {
            Ok(self.runs(pattern)?.then_some(()))
        })
    }

    /// Waits until no such process runs any more.
    ///
    /// # Errors
    /// One still does at the deadline.
    pub fn wait_until_gone(&self, pattern: &str, deadline: Deadline) -> Result<()> {
        wait::eventually(&format!("{pattern} to end"), deadline, || {
            Ok((!self.runs(pattern)?).then_some(()))
        })
    }

    /// The process number of sshd's listener inside the host.
    ///
    /// # Errors
    /// systemctl fails.
    pub fn listener(&self) -> Result<String> {
        self.host
            .sh("systemctl show --property=MainPID --value ssh.service")
    }

    /// Waits until jitd holds nothing open.
    ///
    /// # Errors
    /// It still does at the deadline.
    pub fn wait_until_empty(&self, deadline: Deadline) -> Result<()> {
        wait::eventually("the last session to end", deadline, || {
            Ok(self.sessions()?.is_empty().then_some(()))
        })
    }

    /// The text of the system log since a mark made with [`Site::mark`].
    ///
    /// # Errors
    /// journalctl fails.
    pub fn log_since(&self, mark: &str) -> Result<String> {
        self.host.sh("journalctl --sync")?;
        self.host
            .command(&[
                "journalctl",
                "--quiet",
                "--no-pager",
                "--after-cursor",
                mark,
            ])
            .text()
    }

    /// A place in the system log: now.
    ///
    /// # Errors
    /// journalctl fails.
    pub fn mark(&self) -> Result<String> {
        let shown = self
            .host
            .sh("journalctl --sync; journalctl --quiet --lines=1 --show-cursor --no-pager")?;
        let cursor = shown
            .lines()
            .find_map(|line| line.strip_prefix("-- cursor: "));
        Ok(cursor.context("the journal has no cursor")?.to_owned())
    }
}
