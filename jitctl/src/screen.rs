//! Where output goes: tables for people, JSON for programs, a spinner while something takes its time.

use std::cell::OnceCell;
use std::future::Future;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::rc::Rc;
use std::time::Duration;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::words::clean;

/// Waits longer than this show that something goes on.
const PATIENCE: Duration = Duration::from_secs(2);

/// A terminal of fewer columns is one that does not say how wide it is (`ssh -tt` from a program says 0).
const NARROWEST: u16 = 60;

/// The person's terminal, or whatever standard output is.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    colour: bool,
    progress: bool,
    /// Why what was said could not be written, at first.
    trouble: Rc<OnceCell<io::Error>>,
}

/// What a word stands for, to be coloured where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Waiting,
    Bad,
    Plain,
}

impl Mood {
    /// Of a state's or mode's name.
    pub(crate) fn of(state: &str) -> Self {
        match state {
            "active" | "approved" | "enforce" | "ok" => Self::Good,
            "pending" | "scheduled" | "provisional" | "monitor" | "warning" => Self::Waiting,
            "denied" | "revoked" | "lapsed" | "damaged" | "error" => Self::Bad,
            _ => Self::Plain,
        }
    }

    fn colour(self) -> Option<Color> {
        match self {
            Self::Good => Some(Color::Green),
            Self::Waiting => Some(Color::Yellow),
            Self::Bad => Some(Color::Red),
            Self::Plain => None,
        }
    }
}

impl Screen {
    /// Colour only on a terminal and without NO_COLOR (no-color.org).
    pub(crate) fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: io::stdout().is_terminal() && !plain,
            progress: io::stderr().is_terminal() && !plain,
            trouble: Rc::default(),
        }
    }

    /// One line. Nothing more is said after one that could not be written.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        if self.is_closed() {
            return;
        }
        let said = writeln!(io::stdout().lock(), "{}", line.as_ref());
        if let Err(error) = said {
            let _ = self.trouble.set(error);
        }
    }

    /// True where nobody has any more what is said.
    pub(crate) fn is_closed(&self) -> bool {
        self.trouble.get().is_some()
    }

    /// Why something that was said is lost, such as a full disk. Who closed the other end of a pipe does not want it.
    pub(crate) fn lost(&self) -> Option<&io::Error> {
        let trouble = self.trouble.get();
        trouble.filter(|error| error.kind() != ErrorKind::BrokenPipe)
    }

    /// One line that is not the result: to standard error.
    pub(crate) fn note(&self, line: impl AsRef<str>) {
        let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
    }

    /// `value` as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string_pretty(value) {
            self.say(text);
        }
    }

    /// A table, or `empty` where there are no rows. Cells are cleaned here; the column `state` is coloured.
    pub(crate) fn table(&self, header: &[&str], rows: &[Vec<String>], empty: &str) {
        if rows.is_empty() {
            return self.say(empty);
        }
        let mut table = bare_table();
        table.set_header(header.iter().map(|title| self.bold(Cell::new(title))));
        for row in rows {
            table.add_row(row.iter().zip(header).map(|(text, title)| {
                let mood = if ["STATE", "MODE", "SEVERITY"].contains(title) {
                    Mood::of(text)
                } else {
                    Mood::Plain
                };
                self.coloured(Cell::new(clean(text)), mood)
            }));
        }
        self.say(trimmed(table));
    }

    /// Names and values below each other; values that are empty are left out.
    pub(crate) fn pairs(&self, pairs: &[(&str, String)]) {
        let mut table = bare_table();
        for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            let mood = if *name == "State" {
                Mood::of(value)
            } else {
                Mood::Plain
            };
            table.add_row([
                self.bold(Cell::new(name)),
                self.coloured(Cell::new(clean(value)), mood),
            ]);
        }
        self.say(trimmed(table));
    }

    /// Waits for `work`; after two seconds something on the terminal moves and says `what` is waited for.
    pub(crate) async fn wait<T>(&self, what: String, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(PATIENCE) => {}
        }
        if !self.progress {
            return work.await;
        }
        let spinner = ProgressBar::new_spinner().with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(120));
        let done = work.await;
        spinner.finish_and_clear();
        done
    }

    fn bold(&self, cell: Cell) -> Cell {
        if self.colour {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    }

    fn coloured(&self, cell: Cell, mood: Mood) -> Cell {
        match mood.colour() {
            Some(colour) if self.colour => cell.fg(colour),
            _ => cell,
        }
    }
}

/// As wide as the terminal; on one without a width, or too narrow to break lines sensibly, as wide as it takes.
fn bare_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if table.width().is_some_and(|columns| columns >= NARROWEST) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// Without the padding at both ends of lines, which nobody sees and everybody copies.
fn trimmed(mut table: Table) -> String {
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}
