//! Commands as README.md and docs/*.md have them.

use std::path::{Path, PathBuf};

/// What stands before a command that people type, or another program runs: prompts, and what a shell puts between commands.
const BEFORE: [&str; 9] = ["$", "#", ";", "&&", "|", "(", "--", "`", "ExecStart="];
/// What ends one for a shell.
const AFTER: [&str; 5] = [">", ">>", "|", "&&", ";"];

/// A command of a document.
#[derive(Debug)]
pub(crate) struct Documented {
    /// File and line.
    pub(crate) place: String,
    /// The program, and what is said to it.
    pub(crate) words: Vec<String>,
    /// It is in a block of code, to be typed as it is; otherwise in a sentence, where CAPITALS stand for something.
    pub(crate) whole: bool,
}

/// All commands of `program`.
pub(crate) fn commands(program: &str) -> Vec<Documented> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = std::fs::read_dir(root.join("docs")).unwrap();
    let pages = pages.map(|page| page.unwrap().path());
    let mut pages: Vec<PathBuf> = pages
        .filter(|page| page.extension().is_some_and(|end| end == "md"))
        .collect();
    pages.push(root.join("README.md"));
    pages.sort();
    pages
        .iter()
        .flat_map(|page| of_page(program, page))
        .collect()
}

fn of_page(program: &str, page: &Path) -> Vec<Documented> {
    let text = std::fs::read_to_string(page).unwrap();
    let name = page.file_name().unwrap().to_string_lossy();
    let (mut found, mut in_block, mut is_drawing) = (Vec::new(), false, false);
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("```") {
            in_block = !in_block;
            is_drawing = false;
            continue;
        }
        is_drawing |= in_block && line.contains('─');
        if is_drawing {
            continue;
        }
        found.extend(
            of_line(program, line, in_block)
                .into_iter()
                .map(|(words, whole)| Documented {
                    place: format!("{name}:{number}"),
                    words,
                    whole,
                }),
        );
    }
    found
}

fn of_line(program: &str, line: &str, in_block: bool) -> Vec<(Vec<String>, bool)> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices(program) {
        let (before, rest) = (line[..at].trim_end(), &line[at..]);
        let is_quoted = before.ends_with('`');
        // In a sentence, as in a comment beside a command, only what is marked as one is a command.
        let begins = is_quoted
            || !before.contains(" #")
                && (before.is_empty() || BEFORE.iter().any(|end| before.ends_with(end)));
        if !rest[program.len()..].starts_with(' ') || !begins || !(in_block || is_quoted) {
            continue;
        }
        // In a block what follows after a gap says what the command does.
        let end = if is_quoted { "`" } else { "   " };
        let text = rest.split(end).next().unwrap_or_default();
        found.push((words(text), in_block && !is_quoted));
    }
    found
}

/// As a shell would have them, up to the end of this command; what may be left out is there.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in shlex::Shlex::new(text) {
        if AFTER.contains(&word.as_str()) {
            break;
        }
        let bare = word.trim_end_matches([';', ')']);
        found.push(bare.trim_matches(['[', ']']).to_owned());
        if bare.len() < word.len() {
            break;
        }
    }
    found
}

/// The first word that names a command or an option which `program` doesn't have.
pub(crate) fn unknown<'a>(program: &clap::Command, words: &'a [String]) -> Option<&'a str> {
    let mut at = program;
    for word in words.iter().skip(1) {
        if let Some(option) = word.strip_prefix("--") {
            let name = option.split('=').next();
            if at.get_arguments().all(|known| known.get_long() != name) {
                return Some(word);
            }
        } else if let Some(next) = at.find_subcommand(word) {
            at = next;
        } else if at.has_subcommands() {
            return Some(word);
        }
    }
    None
}
