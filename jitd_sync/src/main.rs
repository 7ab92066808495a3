//! The program: arguments, log, signs of life for systemd. The work is in the library.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::future::pending;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jit_local::limits::SYNC_SOCKET;
use jitd_sync::courier::{self, Pace};
use sd_notify::NotifyState;

/// Carry signed bundles from jit-server to jitd, and recorded events back
///
/// systemd runs it on every host. It needs no arguments: jitd tells it where the server is. Its one setting is a proxy, HTTPS_PROXY in
/// the environment of its unit. It grants nothing: jitd believes signatures only.
#[derive(Parser)]
#[command(name = "jitd-sync", version, disable_help_subcommand = true)]
struct Arguments {
    /// Where jitd listens for it
    #[arg(long, value_name = "PATH", default_value = SYNC_SOCKET)]
    socket: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Write man pages or completions, for packages
    #[command(hide = true)]
    Generate {
        /// Which
        what: Generated,
        /// The folder to write into
        folder: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Generated {
    Man,
    Completions,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Generate { what, folder }) => generate(what, &folder),
        None => carry(&arguments.socket),
    }
}

fn carry(socket: &Path) -> anyhow::Result<()> {
    // The journal knows the time itself.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // One call to jitd at a time for each errand, and one or two left behind by an errand that was dropped.
        .max_blocking_threads(6)
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        sd_notify::notify(&[NotifyState::Ready]).context("cannot tell systemd that it runs")?;
        tokio::select! {
            never = courier::run(socket, Pace::default()) => match never {},
            never = show_life() => match never {},
        }
    })
}

/// Tells systemd's watchdog that the event loop turns, where there is one.
async fn show_life() -> Infallible {
    let Some(time) = sd_notify::watchdog_enabled() else {
        return pending().await;
    };
    let mut ticks = tokio::time::interval(time / 3);
    loop {
        ticks.tick().await;
        if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            tracing::warn!("cannot tell systemd that it lives: {error}");
        }
    }
}

fn generate(what: Generated, folder: &Path) -> anyhow::Result<()> {
    let mut command = Arguments::command();
    match what {
        Generated::Man => {
            let page = clap_mangen::Man::new(command)
                .title("jitd-sync")
                .section("8");
            let mut text = Vec::new();
            page.render(&mut text)?;
            std::fs::write(folder.join("jitd-sync.8"), text)?;
        }
        Generated::Completions => {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut command, "jitd-sync", folder)?;
            }
        }
    }
    Ok(())
}
