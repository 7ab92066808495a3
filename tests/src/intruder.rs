//! Somebody on a host who speaks to its sockets directly, without the programs that are meant to.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::host::Host;

/// Somebody's uid and gid.
#[derive(Debug)]
pub struct Intruder<'h> {
    host: &'h Host,
    program: TempDir,
    uid: u32,
    gid: u32,
}

impl<'h> Intruder<'h> {
    /// A user of the host. `peer` is the program of that name of these tests.
    ///
    /// # Errors
    /// There is no such user.
    pub fn user(host: &'h Host, peer: &str, login: &str) -> Result<Self> {
        let uid = host.command(&["id", "-u", login]).text()?.trim().parse()?;
        let gid = host.command(&["id", "-g", login]).text()?.trim().parse()?;
        Self::new(host, peer, uid, gid)
    }

    /// Whoever jitd-sync is: no user in particular, in group jit-sync.
    ///
    /// # Errors
    /// There is no such group.
    pub fn courier(host: &'h Host, peer: &str) -> Result<Self> {
        let group = host.command(&["getent", "group", "jit-sync"]).text()?;
        let gid = group
            .split(':')
            .nth(2)
            .context("jit-sync has no number")?
            .parse()?;
        Self::new(host, peer, 61_234, gid)
    }

    /// The build folder may be closed to that uid, so the program is copied to where anyone may run it.
    fn new(host: &'h Host, peer: &str, uid: u32, gid: u32) -> Result<Self> {
        let program = tempfile::tempdir()?;
        fs::set_permissions(program.path(), Permissions::from_mode(0o755))?;
        fs::copy(peer, program.path().join("peer")).context("copying peer")?;
        Ok(Self {
            host,
            program,
            uid,
            gid,
        })
    }

    /// Calls a method; gives the answer, or what went wrong as its standard error.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn calls(&self, socket: &str, method: &str, parameters: &str) -> Result<Output> {
        let mut command = self.command(socket, &["call"])?;
        command.args([method, parameters]).stdin(Stdio::null());
        command.output().context("starting peer")
    }

    /// Offers bytes as a bundle.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn offers(&self, socket: &str, bundle: &[u8]) -> Result<Output> {
        let mut command = self.command(socket, &["offer"])?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .context("peer has no input")?
            .write_all(bundle)?;
        child.wait_with_output().context("waiting for peer")
    }

    /// Opens so many connections at once, each with `text` sent, and holds them.
    ///
    /// # Errors
    /// The program can't be started, or not one connection opens.
    pub fn crowds(&self, socket: &str, count: usize, text: &str) -> Result<Crowd> {
        let mut command = self.command(socket, &["crowd"])?;
        command
            .args([&count.to_string(), text])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut crowd = Crowd(command.spawn().context("starting peer")?);
        let mut line = String::new();
        BufReader::new(crowd.0.stdout.take().context("peer has no output")?)
            .read_line(&mut line)?;
        ensure!(line.contains("connected"), "the crowd did not get in");
        Ok(crowd)
    }

    /// The program, started outside the host's files, so that it need not run on its release, but with the host's process numbers, which
    /// is what the other side sees. The socket is found from the working folder, which is entered before the uid changes.
    fn command(&self, socket: &str, words: &[&str]) -> Result<Command> {
        let path = Path::new(socket);
        let folder = path
            .parent()
            .and_then(Path::to_str)
            .context("a socket without a folder")?;
        let file = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("a socket without a name")?;
        let mut command = Command::new("nsenter");
        command.current_dir(self.host.outside(folder)?);
        command.args([
            "--target",
            &self.host.leader()?.to_string(),
            "--pid",
            "--net",
            "--",
        ]);
        command.args([
            "setpriv",
            &format!("--reuid={}", self.uid),
            &format!("--regid={}", self.gid),
            "--clear-groups",
            "--",
        ]);
        command
            .arg(self.program.path().join("peer"))
            .args(words)
            .arg(format!("./{file}"));
        Ok(command)
    }
}

/// Connections held open. Dropped, they close.
#[derive(Debug)]
pub struct Crowd(Child);

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}
