//! Checking a host's event chain: every line holds SHA-256 of the line before it, and a checkpoint signed by jitd stands over it.
//!
//! jitd writes `{"event":{"seq":…},"prev":"…"}` into segments named after their first number (`jitd/src/record`).

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use jit_grant::{Checkpoint, HostId, PublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// No line of the chain is as long as this.
const LONGEST_LINE: u64 = 64 * 1024;
/// After so many problems the rest says nothing new.
const MOST_PROBLEMS: usize = 20;
/// What the first line of all has for the line before it.
const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a walk over the chain found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    /// Number of the first event there is.
    pub(crate) first: u64,
    /// Number of the last.
    pub(crate) last: u64,
    /// How many there are.
    pub(crate) events: u64,
    /// Number of the event that the stored checkpoint is about.
    pub(crate) checkpoint: Option<u64>,
    /// True where the checkpoint's signature is good.
    pub(crate) signature_checked: bool,
    /// What is wrong.
    pub(crate) problems: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    event: Numbered,
    prev: String,
}

#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

#[derive(Deserialize)]
struct StoredCheckpoint {
    seq: u64,
    head: String,
    token: String,
}

/// Walks the chain in `folder`. `host` is who must have signed the checkpoint.
pub(crate) fn verify(folder: &Path, host: Option<(&HostId, PublicKey)>) -> Result<Findings, Error> {
    // Read before the chain, which may grow meanwhile: what it covers is there then.
    let checkpoint = stored_checkpoint(folder)?;
    let mut walk = Walk {
        findings: Findings::default(),
        head: NO_LINE.to_owned(),
        sought: checkpoint.as_ref().map(|checkpoint| checkpoint.seq),
        found: None,
    };
    let segments = segments(folder)?;
    for (index, (first, path)) in segments.iter().enumerate() {
        walk.segment(*first, path, index + 1 == segments.len())
            .map_err(|error| Error::file(path, "read", error))?;
    }
    if let Some(checkpoint) = checkpoint {
        walk.compare(&checkpoint, host);
    }
    Ok(walk.findings)
}

struct Walk {
    findings: Findings,
    /// SHA-256 of the last line.
    head: String,
    /// The number that the checkpoint is about …
    sought: Option<u64>,
    /// … and the SHA-256 of that line.
    found: Option<String>,
}

impl Walk {
    fn segment(&mut self, first: u64, path: &Path, is_last: bool) -> io::Result<()> {
        let mut reader = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        let mut begun = false;
        loop {
            line.clear();
            (&mut reader)
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line)?;
            match line.strip_suffix(b"\n") {
                // jitd may be writing it this moment.
                None if is_last => return Ok(()),
                None if line.is_empty() => return Ok(()),
                None => {
                    self.problem(format!("{} ends in the middle of a line", path.display()));
                    return Ok(());
                }
                Some(body) => {
                    if !begun && self.number(body) != Some(first) {
                        self.problem(format!(
                            "{} does not begin with the event it is named after",
                            path.display()
                        ));
                    }
                    begun = true;
                    self.line(body);
                }
            }
        }
    }

    fn number(&self, body: &[u8]) -> Option<u64> {
        serde_json::from_slice::<Line>(body)
            .ok()
            .map(|line| line.event.seq)
    }

    fn line(&mut self, body: &[u8]) {
        let hash: String = Sha256::digest(body)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let last = self.findings.last;
        match serde_json::from_slice::<Line>(body) {
            Err(error) => self.problem(format!(
                "the line after event {last} is none of jitd's: {error}"
            )),
            Ok(line) => {
                let seq = line.event.seq;
                let is_first = self.findings.events == 0;
                // Where the oldest segments were dropped, the line before the first is gone and can't be compared.
                if (!is_first || seq == 1) && line.prev != self.head {
                    self.problem(format!("event {seq} does not follow from the line before it: one of them was changed or taken out"));
                }
                if !is_first && seq != last + 1 {
                    self.problem(format!("event {seq} stands after event {last}"));
                }
                if is_first {
                    self.findings.first = seq;
                }
                self.findings.last = seq;
                self.findings.events += 1;
                if self.sought == Some(seq) {
                    self.found = Some(hash.clone());
                }
            }
        }
        self.head = hash;
    }

    fn compare(&mut self, checkpoint: &StoredCheckpoint, host: Option<(&HostId, PublicKey)>) {
        let seq = checkpoint.seq;
        self.findings.checkpoint = Some(seq);
        match &self.found {
            None => self.problem(format!(
                "the host signed {seq} events, and the chain ends at {}: the end was taken off",
                self.findings.last
            )),
            Some(hash) if *hash != checkpoint.head => {
                self.problem(format!("event {seq} is not the one that the host signed"))
            }
            Some(_) => {}
        }
        let Some((host, key)) = host else { return };
        match Checkpoint::verify(checkpoint.token.as_bytes(), host, key) {
            Ok(signed) if signed.seq == seq && signed.head.as_str() == checkpoint.head => {
                self.findings.signature_checked = true
            }
            Ok(_) => self.problem(
                "the signed checkpoint is about another event than it is filed under".to_owned(),
            ),
            Err(error) => self.problem(format!(
                "the checkpoint's signature is not this host's: {error}"
            )),
        }
    }

    fn problem(&mut self, problem: String) {
        if self.findings.problems.len() < MOST_PROBLEMS {
            self.findings.problems.push(problem);
        }
    }
}

/// The segments with the numbers of their first lines, rising.
fn segments(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| Error::file(folder, "read", error))?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| Error::file(folder, "read", error))?
            .path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(first) = name
            .and_then(|name| name.strip_suffix(".jsonl"))
            .and_then(|number| number.parse().ok())
        {
            segments.push((first, path));
        }
    }
    segments.sort();
    Ok(segments)
}

fn stored_checkpoint(folder: &Path) -> Result<Option<StoredCheckpoint>, Error> {
    let path = folder.join("checkpoint.json");
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| Error::file(&path, "read", error))?,
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| Error::file(&path, "understand", error))
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
