//! What was measured, and whether it is what was asked for.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// One figure, as it stands in figures.json.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// At most this; none for what stands beside another figure only.
    goal: Option<f64>,
    /// False where the goal is missed.
    holds: bool,
    #[serde(skip)]
    note: String,
}

impl Figure {
    /// A figure that nothing is asked of.
    pub(crate) fn beside(name: &'static str, value: f64, unit: &'static str) -> Self {
        let value = rounded(value);
        Self {
            name,
            value,
            unit,
            goal: None,
            holds: true,
            note: String::new(),
        }
    }

    /// It is to be at most so much.
    pub(crate) fn at_most(self, goal: f64) -> Self {
        let goal = rounded(goal);
        Self {
            goal: Some(goal),
            holds: self.value <= goal,
            ..self
        }
    }

    /// With a few words for the table.
    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The value that `percent` of them do not exceed (nearest rank).
pub(crate) fn percentile(values: &mut [f64], percent: usize) -> Result<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values
        .get(rank - 1)
        .copied()
        .context("nothing was measured")
}

/// Half of them are no more than this.
pub(crate) fn median(values: &mut [f64]) -> Result<f64> {
    percentile(values, 50)
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// All of them as a table for people.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut table = format!(
        "\n{:<38}{:>10} {:<5}{:>9}  {:<7}\n",
        "figure", "value", "unit", "at most", "holds"
    );
    for figure in figures {
        let goal = figure
            .goal
            .map_or_else(String::new, |goal| goal.to_string());
        let holds = match (figure.goal, figure.holds) {
            (None, _) => "",
            (_, true) => "true",
            (_, false) => "FALSE",
        };
        let Figure {
            name,
            value,
            unit,
            note,
            ..
        } = figure;
        let line = format!("{name:<38}{value:>10} {unit:<5}{goal:>9}  {holds:<7}{note}");
        // Writing to a string can't fail.
        let _ = writeln!(table, "{}", line.trim_end());
    }
    table
}

/// Writes figures.json into `folder`.
pub(crate) fn write(folder: &Path, figures: &[Figure]) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let file = folder.canonicalize()?.join("figures.json");
    let text = serde_json::to_string_pretty(figures)? + "\n";
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}
