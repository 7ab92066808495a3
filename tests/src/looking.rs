//! Looking at a site: what runs, what is open, what was written down.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::site::Site;
use crate::wait::{self, Deadline};

impl Site {
    /// What `jitctl list` shows root of these.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn listed(&self, what: &[&str]) -> Result<Vec<Value>> {
        let listed: Value =
            serde_json::from_str(&self.admin(&[&["--json", "list"], what].concat())?.stdout)?;
        let list = listed
            .as_array()
            .or_else(|| listed.as_object()?.values().find_map(Value::as_array));
        Ok(list.cloned().unwrap_or_default())
    }

    /// The sessions and elevations that jitd holds open.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn sessions(&self) -> Result<Vec<Value>> {
        self.listed(&["sessions"])
    }

    /// The events of the server and its hosts, oldest first.
    ///
    /// # Errors
    /// jitctl fails.
    pub fn audit(&self) -> Result<Vec<Value>> {
        let events: Value =
            serde_json::from_str(&self.admin(&["--json", "audit", "list"])?.stdout)?;
        let list = events
            .as_array()
            .or_else(|| events.get("events")?.as_array());
        Ok(list.cloned().unwrap_or_default())
    }

    /// True while a process whose whole command line fits this pattern runs on the host. (The ssh client that asked for it runs there
    /// too, and has it in its own command line.)
    ///
    /// # Errors
    /// pgrep fails.
    pub fn runs(&self, pattern: &str) -> Result<bool> {
        Ok(self
            .host
            .run(&["pgrep", "--full", "--exact", "--", pattern])?
            .code
            == Some(0))
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
