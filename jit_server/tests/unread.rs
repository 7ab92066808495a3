//! Calls whose body nobody reads: the next call on their connection is answered, or the answer says that there is none.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use common::Running;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const HEAD: &str = "HTTP/1.1\r\nhost: x\r\njit-client: test/1\r\n";

/// A connection of alice's.
async fn door(folder: &Path) -> UnixStream {
    UnixStream::connect(folder.join("alice")).await.unwrap()
}

/// Sends `call` with a body of which `content` is told and `sent` comes; gives the answer's head and body.
async fn answer(door: &mut UnixStream, call: &str, content: &str, sent: &[u8]) -> String {
    let head = format!("{call} {HEAD}content-type: application/json\r\n{content}\r\n\r\n");
    door.write_all(head.as_bytes()).await.unwrap();
    // The server may be done with it before all of it has come.
    let _ = door.write_all(sent).await;
    next_answer(door).await
}

async fn next_answer(door: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(door.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    door.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

const REFUSED: [&str; 2] = [
    // No such method, and a call that alice may not make: refused before its body is read.
    "DELETE /v1/users/bob/lock",
    "POST /v1/users",
];

#[tokio::test]
async fn what_is_small_is_read_off_and_the_next_call_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let large = [b'x'; 60_000];
    for call in REFUSED {
        for (content, sent) in [
            ("content-length: 2", &b"{}"[..]),
            ("content-length: 60000", &large[..]),
            ("transfer-encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n"),
        ] {
            let mut door = door(folder.path()).await;
            let refused = answer(&mut door, call, content, sent).await;
            assert!(refused.starts_with("http/1.1 4"), "{refused}");
            assert!(
                !refused.contains("connection: close"),
                "{content}: {refused}"
            );
            let known = answer(&mut door, "GET /v1/whoami", "content-length: 0", b"").await;
            assert!(known.contains("\"alice\""), "{known}");
        }
    }
    // Refused for what is in it, which was read.
    let mut door = door(folder.path()).await;
    for content in ["content-length: 2", "transfer-encoding: chunked"] {
        let sent: &[u8] = match content {
            "content-length: 2" => b"{}",
            _ => b"2\r\n{}\r\n0\r\n\r\n",
        };
        let refused = answer(&mut door, "POST /v1/requests", content, sent).await;
        assert!(!refused.contains("connection: close"), "{refused}");
    }
}

#[tokio::test]
async fn where_the_body_is_large_or_does_not_come_the_answer_says_that_the_connection_ends() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let large = vec![b'x'; 70_000];
    for call in REFUSED {
        for (content, sent) in [
            ("content-length: 2", &b""[..]),
            ("content-length: 70000", b""),
            ("content-length: 70000", &large),
            ("content-length: 2\r\nexpect: 100-continue", b""),
        ] {
            let mut door = door(folder.path()).await;
            let refused = answer(&mut door, call, content, sent).await;
            assert!(refused.starts_with("http/1.1 4"), "{refused}");
            assert!(
                refused.contains("connection: close"),
                "{content}: {refused}"
            );
        }
    }
}
