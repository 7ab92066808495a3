//! What README.md and docs/ tell people to type is what the program takes.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

#[path = "common/documented.rs"]
mod documented;

use clap::{CommandFactory, Parser};
use jit_server::cli::Cli;

#[test]
fn every_command_of_the_guides_is_one_that_the_program_takes() {
    let commands = documented::commands("jit-server");
    let whole = commands.iter().filter(|command| command.whole).count();
    assert!(whole >= 20, "{whole} in blocks of code");
    let mut program = Cli::command();
    program.build();
    let mut wrong = Vec::new();
    for documented::Documented {
        place,
        words,
        whole,
    } in &commands
    {
        if let Some(word) = documented::unknown(&program, words) {
            wrong.push(format!("{place}: {word}: {}", words.join(" ")));
        } else if let Some(error) = whole.then(|| Cli::try_parse_from(words).err()).flatten() {
            wrong.push(format!("{place}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
