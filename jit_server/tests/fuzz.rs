//! Schemathesis, which makes calls from the document: none is answered with an error of the server's own or otherwise than described.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::Running;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};

/// What makes a call a finding.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance";

/// `packaging/install-schemathesis` puts it there.
fn schemathesis() -> PathBuf {
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/schemathesis/bin/schemathesis");
    assert!(
        program.exists(),
        "{} is missing; packaging/install-schemathesis installs it",
        program.display()
    );
    program
}

/// An address of this machine at which the socket answers: Schemathesis speaks no HTTP over Unix sockets.
async fn bridged(socket: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                if let Ok(mut far) = UnixStream::connect(&socket).await {
                    // Either end may go at any time.
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    url
}

/// Calls as `name` does, `JIT_EXAMPLES` times for each operation.
async fn fuzz(name: &str) {
    let examples = std::env::var("JIT_EXAMPLES").unwrap_or("20".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let asked = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&asked).await;
    running.as_("alice").asks(900).await;
    let url = bridged(folder.path().join(name)).await;
    let mut schemathesis = Command::new(schemathesis());
    schemathesis
        .args(["run", &format!("{url}/v1/openapi.json")])
        .args(["--header", "Jit-Client: schemathesis/4", "--no-color"])
        .args(["--checks", CHECKS])
        .args(["--max-examples", &examples, "--request-timeout", "5"])
        // Answered as long as the host listens.
        .args(["--exclude-path", "/v1/host/stream"])
        .current_dir(folder.path())
        .stdin(Stdio::null());
    let said = tokio::task::spawn_blocking(move || schemathesis.output());
    let said = said.await.unwrap().unwrap();
    let said_out = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{name}\n{said_out}");
    // Whatever came, the record can be read and replayed.
    running.stop().await;
    let again = Running::start(folder.path()).await;
    again.as_("root").get("/v1/audit").await.is(200);
}

#[tokio::test]
async fn no_call_of_an_administrators_is_answered_otherwise_than_described() {
    fuzz("root").await;
}

#[tokio::test]
async fn no_call_of_a_persons_is_answered_otherwise_than_described() {
    fuzz("alice").await;
}
