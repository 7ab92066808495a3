//! jit-server's HTTP interface, called from the machine outside; who calls is known by the calling thread's uid.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host::Host;

/// One call to a host's server, and its answer.
///
/// # Errors
/// No connection, or an answer that is not HTTP with a JSON body. A status of 400 and above is none: it is returned.
pub fn call(host: &Host, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    call_at(
        &host.outside("/run/jit-server/api.sock")?,
        method,
        path,
        body,
    )
}

/// The same with the server that listens at `socket`.
///
/// # Errors
/// As [`call`].
pub fn call_at(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Value)> {
    let mut stream = UnixStream::connect(socket).context("connecting to jit-server")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: jit\r\nJit-Client: jit_tests/1\r\nConnection: close\r\n"
    );
    let about = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all([head, about, body].concat().as_bytes())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .context("reading jit-server's answer")?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("jit-server's answer has no body")?;
    let status = head
        .split(' ')
        .nth(1)
        .context("jit-server's answer has no status")?
        .parse()?;
    ensure!(
        !head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked"),
        "a chunked answer is not read here"
    );
    let value = if body.trim().is_empty() {
        Value::Null
    } else {
        serde_json::from_str(body).context("jit-server's answer is not JSON")?
    };
    Ok((status, value))
}
