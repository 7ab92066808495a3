//! Speaks to the sockets of a host as whoever runs it. The tests start it inside a host's process and network namespaces, under a uid
//! and gid of their choice, in the folder of the socket: see `jit_tests::intruder`.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jit_local::client;
use jit_local::message::sync;
use serde_json::Value;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(answer) => {
            writeln!(io::stdout(), "{answer}").ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            writeln!(io::stderr(), "{error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<String> {
    match words {
        // What comes on standard input, offered as a bundle.
        ["offer", socket] => {
            let mut file = tempfile::tempfile()?;
            io::copy(&mut io::stdin().lock(), &mut file)?;
            offer(socket, &file)
        }
        ["call", socket, method, parameters] => {
            let parameters: Value = serde_json::from_str(parameters)?;
            Ok(
                client::call::<_, Value>(Path::new(socket), method, &parameters, ANSWER_WITHIN)?
                    .to_string(),
            )
        }
        // So many connections, each having sent the text (in it \0 ends a message), held until standard input ends.
        ["crowd", socket, count, text] => {
            crowd(socket, count.parse()?, text.replace("\\0", "\0").as_bytes())
        }
        _ => bail!("usage: peer offer SOCKET | call SOCKET METHOD JSON | crowd SOCKET COUNT TEXT"),
    }
}

fn offer(socket: &str, file: &File) -> Result<String> {
    let parameters = serde_json::json!({});
    let taken: sync::Taken = client::call_with_descriptor(
        Path::new(socket),
        sync::BUNDLE,
        &parameters,
        file.as_fd(),
        ANSWER_WITHIN,
    )?;
    Ok(serde_json::to_string(&taken)?)
}

fn crowd(socket: &str, count: usize, text: &[u8]) -> Result<String> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = UnixStream::connect(socket)
            .with_context(|| format!("after {} connections", held.len()))?;
        // One that was dropped already can't be written to; it stays in the crowd.
        connection.write_all(text).ok();
        held.push(connection);
    }
    writeln!(io::stdout(), "{count} connected")?;
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(String::from("leaving"))
}
