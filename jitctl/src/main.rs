//! jitctl: the command people type.
//!
//! - `cli`: what can be typed · `command`: one module a command · `doctor`: what is wrong with this host
//! - `gate`: the lines in `/etc/pam.d` · `actions`: which of them jitd can decide about · `chain`: checking the event chain · `trust`: which server this host believes
//! - `login`: who somebody is to a server elsewhere · `replace`: files replaced whole or not at all
//! - `server`: jit-server over HTTP · `daemon`: jitd over its control socket
//! - `screen`, `words`, `duration`, `label`, `start`: output and input for people · `error`: what to say when it fails, and the exit codes
#![forbid(unsafe_code)]

mod actions;
mod chain;
mod cli;
mod clock;
mod command;
mod daemon;
mod doctor;
#[cfg(test)]
mod documented;
mod duration;
mod error;
mod gate;
mod label;
mod login;
mod replace;
mod screen;
mod server;
mod start;
mod trust;
mod words;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::error::Error;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(command::run(cli)),
        Err(error) => Err(Error::file("/proc/self", "start in", error)),
    };
    let exit = result.unwrap_or_else(|error| {
        complain(&error);
        error.exit()
    });
    ExitCode::from(exit as u8)
}

fn complain(error: &Error) {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "jitctl: {error}");
    if let Some(next) = error.next() {
        let _ = writeln!(stderr, "  next: {next}");
    }
}
