//! The event chain on disk: JSON lines in segments, each line holding SHA-256 of the line before it.
//!
//! A segment is named after its first number and is preallocated, and one spare segment lies ready, so that a disk that others
//! have filled still takes records for a while (T23). Every line is written at a known offset with one call; what a crash or a
//! full disk left half-written is cut off again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{FallocateFlags, fallocate};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A segment takes no further line once it is as long as this.
pub(super) const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Of more segments than this the oldest goes.
const SEGMENTS: usize = 64;

const SPARE: &str = "spare";

/// `prev` of the very first line.
pub(super) const NO_LINE: [u8; 32] = [0; 32];

/// The chain, open for appending.
#[derive(Debug)]
pub(super) struct Chain {
    directory: PathBuf,
    file: Arc<File>,
    length: u64,
    /// Number of the last line, 0 before the first.
    pub(super) seq: u64,
    /// SHA-256 of the last line without its newline.
    pub(super) head: [u8; 32],
}

/// What opening found amiss.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// Bytes at the end that were no whole line, and were cut off.
    pub(super) torn_bytes: u64,
}

impl Chain {
    /// Opens the chain in `directory`, making both where they are missing.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Damage)> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let mut damage = Damage::default();
        let mut last: Option<(u64, File)> = None;
        for first in segments(directory)?.into_iter().rev() {
            let file = open_segment(&segment_path(directory, first))?;
            let tail = Tail::read(&file)?;
            damage.torn_bytes += tail.torn_bytes;
            // Where that fails, a line that is appended overwrites it, or can't be appended.
            if tail.torn_bytes > 0
                && let Err(error) = file.set_len(tail.length)
            {
                tracing::warn!("a torn line of the event chain stays: {error}");
            }
            if let Some((seq, head)) = tail.last {
                // A later segment that holds nothing (rotated just before a crash) is used on, since its name fits.
                let (file, length) = match last {
                    Some((empty, file)) if empty == seq + 1 => (file, 0),
                    _ => (file, tail.length),
                };
                preallocate(&file);
                let chain = Self {
                    directory: directory.to_owned(),
                    file: Arc::new(file),
                    length,
                    seq,
                    head,
                };
                chain.make_spare();
                return Ok((chain, damage));
            }
            last = Some((first, file));
        }
        let chain = Self::begin(directory)?;
        Ok((chain, damage))
    }

    fn begin(directory: &Path) -> io::Result<Self> {
        let file = open_segment(&segment_path(directory, 1))?;
        preallocate(&file);
        let chain = Self {
            directory: directory.to_owned(),
            file: Arc::new(file),
            length: 0,
            seq: 0,
            head: NO_LINE,
        };
        chain.make_spare();
        Ok(chain)
    }

    /// Writes `line`, which carries number `seq` and ends with a newline. Not yet synced.
    pub(super) fn append(&mut self, seq: u64, line: &[u8]) -> io::Result<()> {
        if self.length >= SEGMENT_BYTES {
            self.rotate(seq)?;
        }
        if let Err(error) = self.file.write_all_at(line, self.length) {
            // Part of it may be there. It is overwritten next time; readers stop at the last newline before `length`.
            let _ = self.file.set_len(self.length);
            preallocate(&self.file);
            return Err(error);
        }
        self.length += line.len() as u64;
        self.seq = seq;
        self.head = hash(line.strip_suffix(b"\n").unwrap_or(line));
        Ok(())
    }

    /// The segment being written, to be synced elsewhere.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    fn rotate(&mut self, first: u64) -> io::Result<()> {
        self.file.sync_data()?;
        let path = segment_path(&self.directory, first);
        match fs::rename(self.directory.join(SPARE), &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.file = Arc::new(open_segment(&path)?);
        self.length = 0;
        File::open(&self.directory)?.sync_all()?;
        self.make_spare();
        self.drop_oldest();
        Ok(())
    }

    /// Without a spare the chain goes on all the same: it only makes a full disk bite sooner.
    fn make_spare(&self) {
        match open_segment(&self.directory.join(SPARE)) {
            Ok(file) => preallocate(&file),
            Err(error) => tracing::warn!("no spare segment for the event chain: {error}"),
        }
    }

    fn drop_oldest(&self) {
        let Ok(all) = segments(&self.directory) else {
            return;
        };
        for first in all.iter().take(all.len().saturating_sub(SEGMENTS)) {
            if let Err(error) = fs::remove_file(segment_path(&self.directory, *first)) {
                tracing::warn!("the oldest segment of the event chain stays: {error}");
            }
        }
    }
}

/// Numbers of the first lines of all segments, rising.
pub(super) fn segments(directory: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        firsts.extend(
            name.to_str()
                .and_then(|name| name.strip_suffix(".jsonl"))
                .and_then(|number| number.parse::<u64>().ok()),
        );
    }
    firsts.sort_unstable();
    Ok(firsts)
}

pub(super) fn segment_path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}.jsonl"))
}

pub(super) fn hash(line: &[u8]) -> [u8; 32] {
    Sha256::digest(line).into()
}

/// Where the file system is read-only the segment opens all the same and takes nothing: the chain goes on from it at the next start
/// that finds it writable, and until then the system's log is the only record (T23).
fn open_segment(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_NOFOLLOW);
    let opened = options
        .clone()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match opened {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => options.open(path),
        opened => opened,
    }
}

/// Sets room aside without changing the length. Some filesystems can't; there a full disk bites at once.
fn preallocate(file: &File) {
    // A segment's last line begins before its end and may reach beyond it.
    let length = i64::try_from(SEGMENT_BYTES + super::LINE_BYTES as u64).unwrap_or(i64::MAX);
    if let Err(error) = fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
        tracing::debug!("no room set aside for the event chain: {error}");
    }
}

/// How a segment ends.
struct Tail {
    /// Up to and with the newline of the last whole line.
    length: u64,
    torn_bytes: u64,
    last: Option<(u64, [u8; 32])>,
}

impl Tail {
    /// Looks for the last line that is whole. Reads at most one segment and one line into memory, as no segment is longer.
    fn read(file: &File) -> io::Result<Self> {
        let mut text = Vec::new();
        file.take(2 * SEGMENT_BYTES).read_to_end(&mut text)?;
        let mut end = text.len();
        while end > 0 {
            let begin = text[..end - 1]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |newline| newline + 1);
            let line = &text[begin..end];
            if let Some(body) = line.strip_suffix(b"\n")
                && let Some(seq) = number_of(body)
            {
                return Ok(Self {
                    length: end as u64,
                    torn_bytes: (text.len() - end) as u64,
                    last: Some((seq, hash(body))),
                });
            }
            end = begin;
        }
        Ok(Self {
            length: 0,
            torn_bytes: text.len() as u64,
            last: None,
        })
    }
}

/// The number of a whole line, or None where it is none.
pub(super) fn number_of(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Line {
        event: Event,
    }
    #[derive(Deserialize)]
    struct Event {
        seq: u64,
    }
    serde_json::from_slice::<Line>(line)
        .ok()
        .map(|line| line.event.seq)
}
