//! What README.md and docs/ tell people to type is what jitctl takes.

#[path = "../../jit_server/tests/common/documented.rs"]
#[allow(clippy::unwrap_used, reason = "a part of tests, also of jit-server's")]
mod commands;

use clap::{CommandFactory, Parser};

use crate::cli::Cli;

#[test]
fn every_command_of_the_guides_is_one_that_jitctl_takes() {
    let documented = commands::commands("jitctl");
    let whole = documented.iter().filter(|command| command.whole).count();
    assert!(whole >= 20, "{whole} in blocks of code");
    let mut program = Cli::command();
    program.build();
    let mut wrong = Vec::new();
    for commands::Documented {
        place,
        words,
        whole,
    } in &documented
    {
        if let Some(word) = commands::unknown(&program, words) {
            wrong.push(format!("{place}: {word}: {}", words.join(" ")));
        } else if let Some(error) = whole.then(|| Cli::try_parse_from(words).err()).flatten() {
            wrong.push(format!("{place}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
