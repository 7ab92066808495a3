//! The command line of jitd; the daemon itself is in the library.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use caps::{CapSet, Capability, CapsHashSet};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jitd::config::{DEFAULT_PATH, Settings};
use jitd::daemon::{self, LEFT_BEHIND, Sockets};
use jitd::priority;

/// Decides who may enter this host, and ends what is over.
///
/// jitd is started by systemd, which passes it its three sockets. It verifies bundles of grants that the server signed, answers
/// the PAM modules in sshd, sudo and su, holds sessions to their end and records all of it. It never talks to a network.
#[derive(Debug, Parser)]
#[command(name = "jitd", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Settings file; one that does not exist means the defaults
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Check the settings, name file, line and key of every mistake, and start nothing; exit code 2 where there are any
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write man page or completions into a folder, for packages
    #[command(hide = true)]
    Generate { what: Generated, folder: PathBuf },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Generated {
    Man,
    Completions,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::Generate { what, folder }) => report(generate(*what, folder)),
        None if arguments.check => check(&arguments.config),
        None => report(run(&arguments.config)),
    }
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("jitd: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn check(config: &Path) -> ExitCode {
    match Settings::read(config) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(2)
        }
    }
}

/// Standard error may be gone; that is no reason to panic.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn run(config: &Path) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        // Where standard error has gone (a log daemon that stopped) it would say so there, and panic: in the middle of an end, say.
        .log_internal_errors(false)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    let sockets = Sockets::from_systemd()?;
    if let Err(error) = priority::raise() {
        tracing::info!(%error, "jitd has no precedence over others on a busy processor");
    }
    keep_only_needed().context("capabilities could not be given up")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(32)
        .build()?;
    let result = runtime.block_on(daemon::run(config, sockets));
    runtime.shutdown_timeout(LEFT_BEHIND);
    Ok(result?)
}

/// To signal any process, and to read any folder and any process's descriptors, for what elevations leave there.
const NEEDED: [Capability; 3] = [
    Capability::CAP_KILL,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_SYS_PTRACE,
];

/// Gives up every other capability, also where no unit has done so. Before there is a second thread, since each thread has its own.
fn keep_only_needed() -> Result<(), caps::errors::CapsError> {
    let kept: CapsHashSet = caps::read(None, CapSet::Permitted)?
        .into_iter()
        .filter(|held| NEEDED.contains(held))
        .collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

fn generate(what: Generated, folder: &Path) -> anyhow::Result<()> {
    let mut command = Arguments::command();
    match what {
        Generated::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .title("jitd")
                .section("8")
                .render(&mut page)?;
            std::fs::write(folder.join("jitd.8"), page)?;
        }
        Generated::Completions => {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut command, "jitd", folder)?;
            }
        }
    }
    Ok(())
}
