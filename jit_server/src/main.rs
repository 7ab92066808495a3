//! jit-server: approvals for just-in-time access.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use jit_server::admin::Applied;
use jit_server::cli::{
    Cli, Command, GenerateCommand, HostCommand, KeyCommand, PolicyCommand, UserCommand,
};
use jit_server::clock::{Clock, WallClock};
use jit_server::error::Error;
use jit_server::{admin, init, serve};

const FAILED: u8 = 1;
const REFUSED: u8 = 3;
const PENDING: u8 = 5;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
    let mut out = std::io::stdout().lock();
    match run(Cli::parse().command, &mut out) {
        Ok(code) => code,
        Err(error) => {
            let refused = matches!(error.downcast_ref::<Error>(), Some(Error::Refused(_)));
            // Nobody is left to tell where even this fails.
            let _ = writeln!(std::io::stderr(), "jit-server: {error:#}");
            ExitCode::from(if refused { REFUSED } else { FAILED })
        }
    }
}

fn run(command: Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Policy(PolicyCommand::Check { file, json }) => {
            let right = admin::check_policy(&file, json, out, &mut std::io::stderr())?;
            return Ok(if right {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(FAILED)
            });
        }
        Command::Policy(PolicyCommand::Test(options)) => {
            let holds = admin::test_policy(&options, out, &mut std::io::stderr())?;
            return Ok(ExitCode::from(if holds { 0 } else { FAILED }));
        }
        Command::Generate(GenerateCommand::Man { directory }) => write_man_pages(&directory)?,
        Command::Generate(GenerateCommand::Completions { directory }) => {
            write_completions(&directory)?
        }
        other => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            return Ok(runtime
                .context("starting")?
                .block_on(run_async(other, out))?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_async(command: Command, out: &mut impl Write) -> Result<ExitCode, Error> {
    let now = WallClock::starting_at(jiff::Timestamp::UNIX_EPOCH).now();
    match command {
        Command::Init(options) => init::init(options, out).await,
        Command::Prepare(options) => init::prepare(options, out).await,
        Command::Serve(options) => serve::serve(options).await,
        Command::User(UserCommand::Add(new)) => {
            return admin::add_user(new, now, out).await.map(code);
        }
        Command::User(UserCommand::List(options)) => admin::list_users(options, out).await,
        Command::User(UserCommand::Remove(user)) => admin::remove_user(user, now, out).await,
        Command::User(UserCommand::Token(options)) => admin::user_token(options, now, out).await,
        Command::Host(HostCommand::List(options)) => admin::list_hosts(options, now, out).await,
        Command::Host(HostCommand::Token(options)) => admin::host_token(options, now, out).await,
        Command::Host(HostCommand::Remove(host)) => admin::remove_host(host, now, out).await,
        Command::Restored(options) => admin::restored(options, now, out).await,
        Command::Copy(options) => admin::copy(options, out).await,
        Command::Key(KeyCommand::Rotate(options)) => admin::rotate_key(options, out).await,
        Command::Apply(options) => {
            return admin::apply(options, now, colour(), out).await.map(code);
        }
        Command::Policy(PolicyCommand::Propose(options)) => {
            return admin::propose(options, now, out).await.map(code);
        }
        Command::Change(command) => admin::change(command, now, out).await,
        Command::Policy(PolicyCommand::Show(options)) => {
            let right = admin::show_policy(options, out).await?;
            return Ok(ExitCode::from(if right { 0 } else { FAILED }));
        }
        Command::Policy(PolicyCommand::Explain(options)) => {
            let taken = admin::explain(options, out).await?;
            return Ok(ExitCode::from(if taken { 0 } else { REFUSED }));
        }
        Command::Webhooks(options) => {
            let right = admin::webhooks(options, out).await?;
            return Ok(ExitCode::from(if right { 0 } else { FAILED }));
        }
        Command::Policy(PolicyCommand::Check { .. } | PolicyCommand::Test(_))
        | Command::Generate(_) => Ok(()),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn code(applied: Applied) -> ExitCode {
    match applied {
        Applied::Done => ExitCode::SUCCESS,
        Applied::Wrong => ExitCode::from(FAILED),
        Applied::Pending => ExitCode::from(PENDING),
    }
}

/// Only on a terminal and without NO_COLOR (no-color.org).
fn colour() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !plain
}

fn write_man_pages(directory: &Path) -> anyhow::Result<()> {
    write_man_page(Cli::command(), "jit-server", directory)
}

/// The page of a command and those of its subcommands: `jit-server.8`, `jit-server-init.8`, …
fn write_man_page(command: clap::Command, name: &str, directory: &Path) -> anyhow::Result<()> {
    let subcommands: Vec<clap::Command> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .cloned()
        .collect();
    let path = directory.join(format!("{name}.8"));
    let mut page = Vec::new();
    // clap wants names that live as long as the program; there are a dozen of them.
    let named = command
        .name(String::leak(name.to_owned()) as &'static str)
        .disable_help_subcommand(true);
    clap_mangen::Man::new(named)
        .section("8")
        .render(&mut page)?;
    std::fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
    for subcommand in subcommands {
        let name = format!("{name}-{}", subcommand.get_name());
        write_man_page(subcommand, &name, directory)?;
    }
    Ok(())
}

fn write_completions(directory: &Path) -> anyhow::Result<()> {
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let written =
            clap_complete::generate_to(shell, &mut Cli::command(), "jit-server", directory);
        written.with_context(|| format!("writing to {}", directory.display()))?;
    }
    Ok(())
}
