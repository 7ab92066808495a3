//! What people hand over in files, at standard input, or at a terminal.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Here;
use crate::error::Error;

/// Of a token, or of certificates, as jitd takes them.
const MOST_BYTES: u64 = 32 * 1024;

/// A small file; `-` is standard input.
pub(super) fn read_text(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(MOST_BYTES).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text))
    };
    read.map(|_| text)
        .map_err(|error| Error::file(path, "read", error))
}

/// A secret from standard input; at a terminal it is asked for by `prompt`, and not shown.
pub(super) fn read_secret(here: &Here, prompt: &str) -> Result<String, Error> {
    if !io::stdin().is_terminal() {
        return read_text(Path::new("-"));
    }
    here.screen.note(prompt);
    let unseen = || {
        let _hidden = Hidden::begin()?;
        let mut line = String::new();
        io::stdin().lock().take(MOST_BYTES).read_line(&mut line)?;
        Ok(line)
    };
    unseen().map_err(|error: io::Error| Error::file("/dev/stdin", "read", error))
}

/// Whether whoever sits at the terminal says yes. None where there is no terminal.
pub(super) fn agrees(here: &Here, question: &str) -> Result<Option<bool>, Error> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    here.screen.note(question);
    let mut line = String::new();
    let read = io::stdin().lock().take(MOST_BYTES).read_line(&mut line);
    read.map_err(|error| Error::file("/dev/stdin", "read", error))?;
    Ok(Some(line.trim() == "yes"))
}

/// Standard input's terminal shows nothing that is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Nothing is left to do where the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
