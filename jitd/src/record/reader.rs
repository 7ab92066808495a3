//! Reading the chain back in bounded pieces, for jitd-sync.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::LINE_BYTES;
use super::chain::{number_of, segment_path, segments};

/// Where the last reading stopped, so that a reader who keeps up costs one read of the file's end.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// Number of the line before `offset`.
    seq: u64,
    segment: u64,
    offset: u64,
}

const PIECE_BYTES: usize = 32 * 1024;

impl Position {
    /// True where the last reading stopped just there, in a segment that has not been dropped since.
    pub(super) fn follows(&self, directory: &Path, after: u64) -> bool {
        self.segment != 0 && self.seq == after && segment_path(directory, self.segment).exists()
    }

    /// Lines `after` < number ≤ `last` with their numbers, together at most `most_bytes`.
    pub(super) fn read(
        &mut self,
        directory: &Path,
        last: u64,
        after: u64,
        most_bytes: usize,
    ) -> io::Result<Vec<(u64, String)>> {
        let mut lines = Vec::new();
        if after >= last {
            return Ok(lines);
        }
        if !self.follows(directory, after) {
            self.seek(directory, after)?;
        }
        let mut left = most_bytes;
        while left > 0 && self.seq < last {
            let piece = self.piece(directory)?;
            let mut whole = 0;
            for line in piece
                .split_inclusive(|byte| *byte == b'\n')
                .filter(|line| line.ends_with(b"\n"))
            {
                let body = &line[..line.len() - 1];
                let number = number_of(body).ok_or_else(|| {
                    io::Error::other("the event chain was changed by someone else")
                })?;
                if number > last {
                    return Ok(lines);
                }
                whole += line.len();
                if number > after {
                    if body.len() > left {
                        return Ok(lines);
                    }
                    left -= body.len();
                    lines.push((number, String::from_utf8_lossy(body).into_owned()));
                }
                self.offset += line.len() as u64;
                self.seq = number;
            }
            if whole == 0 && !self.next_segment(directory)? {
                break;
            }
        }
        Ok(lines)
    }

    fn piece(&self, directory: &Path) -> io::Result<Vec<u8>> {
        const { assert!(PIECE_BYTES > LINE_BYTES) };
        let file = File::open(segment_path(directory, self.segment))?;
        let mut piece = vec![0; PIECE_BYTES];
        let length = file.read_at(&mut piece, self.offset)?;
        piece.truncate(length);
        Ok(piece)
    }

    /// To the beginning of the last segment that begins at or before the line after `after`, or of the first there is.
    fn seek(&mut self, directory: &Path, after: u64) -> io::Result<()> {
        let all = segments(directory)?;
        let segment = all
            .iter()
            .rev()
            .find(|first| **first <= after + 1)
            .or(all.first());
        *self = Self {
            seq: 0,
            segment: segment.copied().unwrap_or_default(),
            offset: 0,
        };
        Ok(())
    }

    fn next_segment(&mut self, directory: &Path) -> io::Result<bool> {
        let next = segments(directory)?
            .into_iter()
            .find(|first| *first > self.segment);
        if let Some(segment) = next {
            (self.segment, self.offset) = (segment, 0);
        }
        Ok(next.is_some())
    }
}
