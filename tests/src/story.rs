//! A story told step by step: the real command, what should come of it, what came of it, and how long it took.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// A step that takes longer than this says that it is still at work.
const SILENCE: Duration = Duration::from_secs(2);

/// A story being told on standard output.
#[derive(Debug)]
pub struct Story {
    steps: usize,
    differed: Vec<String>,
    colour: bool,
}

impl Default for Story {
    fn default() -> Self {
        Self::new()
    }
}

impl Story {
    /// An untold story.
    #[must_use]
    pub fn new() -> Self {
        Self {
            steps: 0,
            differed: Vec::new(),
            colour: io::stdout().is_terminal(),
        }
    }

    /// A heading.
    pub fn chapter(&self, title: &str) {
        self.line(&format!("\n{}", self.paint("1", title)));
    }

    /// One step: `act` does it and gives what happened in words, or an error saying what differed from what was `expected`.
    /// `command` is what a person would type.
    pub fn step(
        &mut self,
        title: &str,
        command: &str,
        expected: &str,
        act: impl FnOnce() -> Result<String>,
    ) {
        self.steps += 1;
        self.line(&format!("\n{:>2}  {}", self.steps, self.paint("1", title)));
        self.line(&format!("    {} {command}", self.paint("36", "$")));
        self.line(&format!("    expected  {expected}"));
        let began = Instant::now();
        let outcome = with_progress(began, act);
        let took = began.elapsed();
        let (mark, text) = match &outcome {
            Ok(happened) => (self.paint("32", "as expected"), happened.clone()),
            Err(error) => (self.paint("31", "DIFFERS"), format!("{error:#}")),
        };
        for (number, line) in text.trim().lines().enumerate() {
            self.line(&format!(
                "    {}{}",
                if number == 0 {
                    "happened  "
                } else {
                    "          "
                },
                line.trim_end()
            ));
        }
        self.line(&format!(
            "    {mark}, {}",
            self.paint("2", &format!("{took:.1?}"))
        ));
        if outcome.is_err() {
            self.differed.push(title.to_owned());
        }
    }

    /// Tells how it ended; true when every step went as expected.
    #[must_use]
    pub fn end(self) -> bool {
        let count = self.steps;
        if self.differed.is_empty() {
            self.line(&format!(
                "\n{}",
                self.paint("32", &format!("All {count} steps went as expected."))
            ));
            return true;
        }
        self.line(&format!(
            "\n{}",
            self.paint(
                "31",
                &format!("{} of {count} steps differ:", self.differed.len())
            )
        ));
        self.differed
            .iter()
            .for_each(|title| self.line(&format!("  {title}")));
        false
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn line(&self, text: &str) {
        // Nobody listening is no reason to stop.
        writeln!(io::stdout(), "{text}").ok();
    }
}

/// Runs `act`, saying every so often that it is still at work.
fn with_progress<T>(began: Instant, act: impl FnOnce() -> T) -> T {
    let (done, waiting) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while waiting.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                writeln!(io::stdout(), "    … {:.0?}", began.elapsed()).ok();
            }
        });
        let result = act();
        drop(done);
        result
    })
}
