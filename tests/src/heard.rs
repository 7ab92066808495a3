//! What a command says, kept as it comes, so that it can be waited for.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::wait::Deadline;

/// What came out of a pipe or terminal so far, read by a thread of its own.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    state: Mutex<HeardSoFar>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct HeardSoFar {
    bytes: Vec<u8>,
    closed: bool,
}

impl Heard {
    pub(crate) fn new(source: Option<impl Read + Send + 'static>) -> Arc<Self> {
        let heard = Arc::new(Self::default());
        match source {
            Some(source) => {
                let sink = Arc::clone(&heard);
                thread::spawn(move || sink.read_all(source));
            }
            None => heard.lock().closed = true,
        }
        heard
    }

    fn read_all(&self, mut source: impl Read) {
        let mut buffer = [0; 4096];
        // A terminal whose last process has gone answers EIO: its end of file.
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            self.lock().bytes.extend_from_slice(&buffer[..count]);
            self.more.notify_all();
        }
        self.lock().closed = true;
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, HeardSoFar> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// Waits until `text` was heard; false when it was not at the deadline, or the source closed without it.
    pub(crate) fn contains(&self, text: &str, deadline: Deadline) -> bool {
        self.contains_after(0, text, deadline).is_some()
    }

    /// As `contains`, looking only behind the first `start` bytes; gives where the text ends.
    pub(crate) fn contains_after(
        &self,
        start: usize,
        text: &str,
        deadline: Deadline,
    ) -> Option<usize> {
        let mut state = self.lock();
        loop {
            let found = state
                .bytes
                .get(start..)
                .and_then(|new| find(new, text.as_bytes()));
            if let Some(at) = found {
                return Some(start + at + text.len());
            }
            if state.closed || deadline.passed() {
                return None;
            }
            state = self
                .more
                .wait_timeout(state, deadline.left())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for the end of the source, until the deadline at most.
    pub(crate) fn closed(&self, deadline: Deadline) {
        let mut state = self.lock();
        while !state.closed && !deadline.passed() {
            state = self
                .more
                .wait_timeout(state, deadline.left())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

fn find(all: &[u8], wanted: &[u8]) -> Option<usize> {
    all.windows(wanted.len().max(1))
        .position(|window| window == wanted)
}
