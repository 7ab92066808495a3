//! The trail on its way to the screen. It may be longer than what fits into memory, and what has come is of use though the rest does not.

use serde_json::Value;

use super::detail;
use super::repeats::Repeats;
use crate::command::Here;
use crate::error::Error;
use crate::server::{Event, Server};

/// Rows of one table at most: how wide its columns are is known when all of them are.
const ROWS: usize = 1_000;

/// What was printed, and what is about to be.
pub(super) struct Printed<'h> {
    here: &'h Here,
    alarms: bool,
    /// Of the table that is printed next.
    rows: Vec<Vec<String>>,
    repeats: Repeats,
    left_out: usize,
    /// Something was printed.
    begun: bool,
    /// All of the record up to this event was read.
    reached: Option<u64>,
}

impl<'h> Printed<'h> {
    pub(super) fn new(here: &'h Here, alarms: bool) -> Self {
        Self {
            here,
            alarms,
            rows: Vec::new(),
            repeats: Repeats::default(),
            left_out: 0,
            begun: false,
            reached: None,
        }
    }

    /// Takes the next event.
    pub(super) fn take(&mut self, server: &Server, event: Value) -> Result<(), Error> {
        if self.here.json {
            self.element(&event);
            return Ok(());
        }
        let event: Event = server.parse(&event)?;
        if self.repeats.is_one(&event) {
            self.left_out += 1;
            return Ok(());
        }
        self.rows.push(row(self.here, event));
        if self.rows.len() == ROWS {
            self.table();
        }
        Ok(())
    }

    /// All of the record up to event `seq` has been taken.
    pub(super) fn reached(&mut self, seq: u64) {
        self.reached = Some(seq);
    }

    /// True where nobody reads any more what is printed.
    pub(super) fn is_closed(&self) -> bool {
        self.here.screen.is_closed()
    }

    /// Prints what is left. A list in JSON is closed only where it is `whole`: nobody takes a part for all of it.
    pub(super) fn end(mut self, whole: bool) {
        let screen = &self.here.screen;
        match (self.here.json, whole) {
            (true, true) if self.begun => screen.say("]"),
            (true, true) => screen.say("[]"),
            (true, false) => {}
            (false, _) => {
                if !self.rows.is_empty() || (whole && !self.begun) {
                    self.table();
                }
                self.tell_left_out();
            }
        }
        if let (false, Some(reached)) = (whole, self.reached) {
            self.here.screen.note(format!(
                "jitctl: this goes to event {reached}; --after {reached} goes on from there."
            ));
        }
    }

    fn element(&mut self, event: &Value) {
        self.here.screen.say(if self.begun { "," } else { "[" });
        self.begun = true;
        self.here.screen.json(event);
    }

    fn table(&mut self) {
        self.begun = true;
        self.here.screen.table(
            &["NUMBER", "WHEN", "WHERE", "WHO", "WHAT", "ABOUT", "DETAIL"],
            &std::mem::take(&mut self.rows),
            if self.alarms {
                "No alarms."
            } else {
                "Nothing has happened."
            },
        );
    }

    fn tell_left_out(&self) {
        if self.left_out > 0 {
            self.here.screen.note(format!(
                "{} decisions that came out as the one just before are left out; --json has them, and every field.",
                self.left_out
            ));
        }
    }
}

fn row(here: &Here, event: Event) -> Vec<String> {
    let times = here.times();
    let detail = detail(&event, &times);
    vec![
        event.seq.to_string(),
        times.local(event.at),
        event.origin,
        event.actor.unwrap_or_default(),
        event.kind,
        event.subject.unwrap_or_default(),
        detail,
    ]
}
