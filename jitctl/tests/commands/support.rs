//! A host of the test's own: a folder with PAM files, a jitd and a jit-server that say what the test wants.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use serde_json::{Value, json};

/// What a command printed and how it ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("JSON on standard output")
    }
}

pub(crate) struct Host {
    folder: tempfile::TempDir,
    pub(crate) server: Arc<Mutex<Server>>,
    pub(crate) daemon: Arc<Mutex<Daemon>>,
}

/// What the fake server answers, and what it was asked.
#[derive(Default)]
pub(crate) struct Server {
    answers: HashMap<String, VecDeque<(u16, Value)>>,
    /// A header that goes with all answers to a call: its name and value.
    headers: HashMap<String, (String, String)>,
    pub(crate) calls: Vec<(String, Value)>,
}

/// What the fake jitd answers, and what it was asked.
#[derive(Default)]
pub(crate) struct Daemon {
    pub(crate) answers: HashMap<String, Value>,
    pub(crate) calls: Vec<(String, Value)>,
}

impl Host {
    /// Debian 12's PAM files, and neither a server nor a jitd.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for path in [
            "etc/pam.d",
            "usr/lib/pam.d",
            "run/jit",
            "usr/lib/x/security",
        ] {
            fs::create_dir_all(folder.path().join(path)).expect("a folder");
        }
        let host = Self {
            folder,
            server: Arc::default(),
            daemon: Arc::default(),
        };
        for entry in fs::read_dir(fixtures()).expect("fixtures") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let target = match name.strip_prefix("vendor-") {
                Some(name) => format!("usr/lib/pam.d/{name}"),
                None => format!("etc/pam.d/{name}"),
            };
            host.write(&target, &fs::read(&path).expect("a file"));
        }
        host.write("etc/machine-id", b"0123456789abcdef0123456789abcdef\n");
        for module in ["pam_permit.so", "pam_jit.so"] {
            host.write(&format!("usr/lib/x/security/{module}"), b"");
        }
        host
    }

    /// With a jitd that is enrolled and heard the server, and a trust.json to go with it.
    pub(crate) fn enrolled() -> Self {
        let host = Self::new().with_daemon();
        let key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let trust = json!({
            "server": host.server_address(), "host_name": "web1", "host_id": format!("h{}", "a".repeat(32)), "public_key": key,
            "machine_id": "0123456789abcdef0123456789abcdef", "keys": [{ "kid": "x", "public_key": key }], "enrolled_at": "2026-11-22T19:00:00Z",
        });
        host.write("etc/jit/trust.json", trust.to_string().as_bytes());
        host.daemon_says("Status", status());
        host
    }

    pub(crate) fn with_daemon(self) -> Self {
        let listener = UnixListener::bind(self.path("run/jit/ctl.sock")).expect("a socket");
        let daemon = Arc::clone(&self.daemon);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                answer(connection, &daemon);
            }
        });
        self
    }

    pub(crate) fn with_server(self) -> Self {
        self.with_server_at("api.sock")
    }

    pub(crate) fn with_server_at(self, path: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        let listener = UnixListener::bind(path).expect("a socket");
        listener.set_nonblocking(true).expect("a mode");
        let server = Arc::clone(&self.server);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).expect("a listener");
                let router = axum::Router::new().fallback(serve).with_state(server);
                axum::serve(listener, router).await.expect("serving");
            });
        });
        self
    }

    pub(crate) fn server_address(&self) -> String {
        format!("unix:{}", self.path("api.sock").display())
    }

    /// What the server answers to `call`, such as `GET /v1/roles`. Several answers come one after the other, the last one again and again.
    pub(crate) fn server_says(&self, call: &str, status: u16, body: Value) {
        let mut server = self.server.lock().expect("a lock");
        server
            .answers
            .entry(call.to_owned())
            .or_default()
            .push_back((status, body));
    }

    /// The header `Link` of the server's answer to `call`.
    pub(crate) fn server_links(&self, call: &str, link: &str) {
        self.server_adds(call, LINK.as_str(), link);
    }

    /// A header of the server's answers to `call`.
    pub(crate) fn server_adds(&self, call: &str, name: &str, value: &str) {
        let mut server = self.server.lock().expect("a lock");
        let header = (name.to_owned(), value.to_owned());
        server.headers.insert(call.to_owned(), header);
    }

    /// What jitd replies to a method of its control socket; with a field `error`, that it fails so.
    pub(crate) fn daemon_says(&self, method: &str, reply: Value) {
        let mut daemon = self.daemon.lock().expect("a lock");
        daemon
            .answers
            .insert(format!("io.jit.Control.{method}"), reply);
    }

    /// What the server was sent at `call`.
    pub(crate) fn sent(&self, call: &str) -> Value {
        let server = self.server.lock().expect("a lock");
        let found = server.calls.iter().find(|(made, _)| made == call);
        found
            .unwrap_or_else(|| panic!("{call} was not called: {:?}", server.calls))
            .1
            .clone()
    }

    /// Until somebody made `call`.
    pub(crate) fn wait_for(&self, call: &str) {
        let made = || {
            let server = self.server.lock().expect("a lock");
            server.calls.iter().any(|(made, _)| made == call)
        };
        while !made() {
            std::thread::yield_now();
        }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("a file")
    }

    pub(crate) fn write(&self, path: &str, text: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    }

    /// Runs jitctl on this host.
    pub(crate) fn jitctl(&self, arguments: &[&str]) -> Ended {
        self.jitctl_in(&[("JIT_SERVER", &self.server_address())], arguments)
    }

    /// The same where nobody reads what it prints. Its exit code.
    pub(crate) fn jitctl_unread(&self, arguments: &[&str]) -> i32 {
        let (reader, writer) = UnixStream::pair().expect("a pair");
        drop(reader);
        self.jitctl_onto(OwnedFd::from(writer), arguments).code
    }

    /// The same with what it prints going there.
    pub(crate) fn jitctl_onto(&self, out: impl Into<Stdio>, arguments: &[&str]) -> Ended {
        let mut command = self.command(&[("JIT_SERVER", &self.server_address())], arguments);
        let jitctl = command.stdout(out).stderr(Stdio::piped()).spawn();
        ended(jitctl.and_then(Child::wait_with_output))
    }

    /// The same with these variables, and no standard input.
    pub(crate) fn jitctl_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Ended {
        ended(self.command(environment, arguments).output())
    }

    fn command(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jitctl"));
        command
            .arg("--root")
            .arg(self.folder.path())
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }
}

fn ended(output: io::Result<Output>) -> Ended {
    let output = output.expect("jitctl");
    Ended {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A jitd that is fine.
pub(crate) fn status() -> Value {
    json!({
        "version": "0.1.0", "host": "web1", "host_id": format!("h{}", "a".repeat(32)), "server": "unix:/run/jit-server/api.sock", "revision": 17,
        "grants": 2, "heard_ms_ago": 3000, "max_staleness_ms": 3_600_000, "current": true, "code": null, "sessions": 1, "recording": true,
    })
}

fn fixtures() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/debian12"
    ))
}

fn answer(mut connection: UnixStream, daemon: &Mutex<Daemon>) {
    let mut message = Vec::new();
    let mut byte = [0];
    while connection.read(&mut byte).is_ok_and(|count| count == 1) && byte[0] != 0 {
        message.push(byte[0]);
    }
    let call: Value = serde_json::from_slice(&message).expect("a call");
    let method = call["method"].as_str().expect("a method").to_owned();
    let mut daemon = daemon.lock().expect("a lock");
    let parameters = daemon
        .answers
        .get(&method)
        .cloned()
        .unwrap_or_else(|| json!({}));
    daemon.calls.push((method, call["parameters"].clone()));
    drop(daemon);
    let error = parameters.get("error").cloned();
    let mut reply = json!({ "parameters": parameters });
    if let Some(error) = error {
        reply["error"] = error;
    }
    let mut reply = reply.to_string().into_bytes();
    reply.push(0);
    let _ = connection.write_all(&reply);
}

async fn serve(
    State(server): State<Arc<Mutex<Server>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, String) {
    let call = format!("{method} {uri}");
    let call = call.replace("http://jit-server", "");
    let mut server = server.lock().expect("a lock");
    server.calls.push((
        call.clone(),
        serde_json::from_slice(&body).unwrap_or(Value::Null),
    ));
    if !headers.contains_key("jit-client") {
        return (StatusCode::BAD_REQUEST, HeaderMap::new(), "{}".to_owned());
    }
    let added = server.headers.get(&call).map(|(name, value)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, value.parse().expect("a value"))
    });
    let added: HeaderMap = added.into_iter().collect();
    let Some(answers) = server.answers.get_mut(&call) else {
        return (
            StatusCode::NOT_FOUND,
            added,
            json!({ "title": "Not Found", "detail": format!("nothing at {call}") }).to_string(),
        );
    };
    let (status, body) = if answers.len() > 1 {
        answers.pop_front().expect("an answer")
    } else {
        answers[0].clone()
    };
    (
        StatusCode::from_u16(status).expect("a status"),
        added,
        body.to_string(),
    )
}
