//! `jitctl generate`: man pages and completions, from the same definition that parses.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::codes_page;
use crate::cli::{Cli, Generate};
use crate::error::{Error, Exit};

pub(super) fn run(what: &Generate) -> Result<Exit, Error> {
    match what {
        Generate::Man { folder } => clap_mangen::generate_to(Cli::command(), folder)
            .and_then(|()| std::fs::write(folder.join(codes_page::FILE), codes_page::page()))
            .map_err(|error| failed(folder, error))?,
        Generate::Completions { folder } => {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut Cli::command(), "jitctl", folder)
                    .map_err(|error| failed(folder, error))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn failed(folder: &Path, error: std::io::Error) -> Error {
    Error::file(folder, "write into", error)
}
