//! A server that goes away in the midst of a call. Nothing is asked twice.
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::documents::request;
use crate::support::Host;

const ASK: [&str; 8] = [
    "request",
    "web-admin",
    "--host",
    "web1",
    "--for",
    "30m",
    "--reason",
    "disk full",
];

/// What becomes of a call.
#[derive(Clone)]
enum Fate {
    /// It is read, and then the connection breaks.
    Lost,
    /// The same, and nobody listens for a while.
    Restarted,
    /// It is answered that the server stops, and then nobody listens for a while.
    Stopped,
    /// It is answered.
    Answered(u16, Value),
}

/// A call as it came: what there is before its body, and its body.
type Call = (String, String);

fn key(call: &Call) -> String {
    let mut lines = call.0.lines().map(str::to_lowercase);
    let line = lines.find(|line| line.starts_with("idempotency-key: "));
    line.expect("a key")
}

/// Listens at the host's socket. The first calls have these fates, and those after them the last.
fn serve(host: &Host, fates: Vec<Fate>) -> Receiver<Call> {
    let path = host.path("api.sock");
    let mut listener = UnixListener::bind(&path).expect("a socket");
    let (tell, calls) = channel();
    std::thread::spawn(move || {
        let last = fates.last().cloned().expect("a fate");
        for fate in fates.into_iter().chain(std::iter::repeat(last)) {
            let (connection, _) = listener.accept().expect("a connection");
            let call = read(&connection);
            if tell.send(call).is_err() {
                return;
            }
            match fate {
                Fate::Lost => {}
                Fate::Restarted => listener = restart(listener, &path),
                Fate::Stopped => {
                    answer(connection, 503, &stopping());
                    listener = restart(listener, &path);
                }
                Fate::Answered(status, body) => answer(connection, status, &body),
            }
        }
    });
    calls
}

fn stopping() -> Value {
    json!({ "detail": "stops", "code": "stopping" })
}

fn restart(listener: UnixListener, path: &PathBuf) -> UnixListener {
    drop(listener);
    std::fs::remove_file(path).expect("removed");
    sleep(Duration::from_secs(1));
    UnixListener::bind(path).expect("a socket")
}

fn read(connection: &UnixStream) -> Call {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).expect("a line");
    }
    let length = head.to_lowercase();
    let length = length
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    (head, String::from_utf8(body).expect("text"))
}

fn answer(mut connection: UnixStream, status: u16, body: &Value) {
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(answer.as_bytes()).expect("sent");
}

#[test]
fn a_server_that_restarts_in_the_midst_of_a_request_is_asked_for_the_same_again() {
    let host = Host::new();
    let answered = Fate::Answered(201, request("pending"));
    let stopping = Fate::Answered(503, stopping());
    let under_way = Fate::Answered(409, json!({ "detail": "wait", "code": "call-under-way" }));
    let fates = vec![Fate::Restarted, stopping, Fate::Lost, under_way, answered];
    let calls = serve(&host, fates);
    let ended = host.jitctl(&ASK);
    assert_eq!(ended.code, 5, "{}", ended.err);
    assert!(ended.out.contains("r17 is asked"), "{}", ended.out);
    let posted: Vec<Call> = calls
        .try_iter()
        .filter(|(head, _)| head.starts_with("POST "))
        .collect();
    assert_eq!(posted.len(), 5);
    for call in &posted {
        assert_eq!((key(call), &call.1), (key(&posted[0]), &posted[0].1));
    }
    // Another call has another key.
    host.jitctl(&ASK);
    let (head, _) = calls.recv().expect("a call");
    assert_ne!(key(&(head, String::new())), key(&posted[0]));
}

#[test]
fn a_server_that_says_that_it_stops_is_waited_for_while_it_is_away() {
    let host = Host::new();
    let answered = Fate::Answered(201, request("pending"));
    let calls = serve(&host, vec![Fate::Stopped, answered]);
    let ended = host.jitctl(&ASK);
    assert_eq!(ended.code, 5, "{}", ended.err);
    let posted = calls
        .try_iter()
        .filter(|(head, _)| head.starts_with("POST "));
    assert_eq!(posted.count(), 2);
}

#[test]
fn a_call_is_sent_three_times_and_then_it_is_said_that_nobody_knows() {
    let host = Host::new();
    let calls = serve(&host, vec![Fate::Lost]);
    let ended = host.jitctl(&ASK);
    assert_eq!(ended.code, 1, "{}", ended.out);
    assert_eq!(calls.try_iter().count(), 3);
}

#[test]
fn where_nobody_listens_that_is_said_at_once() {
    let host = Host::new();
    let began = std::time::Instant::now();
    let ended = host.jitctl(&ASK);
    assert!(ended.err.contains("cannot reach"), "{}", ended.err);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_rotation_whose_answer_is_lost_is_asked_for_anew_without_a_key() {
    let host = Host::new();
    let file = "home/.config/jit/login.json";
    let login = json!({
        "server": format!("unix:{}", host.path("api.sock").display()), "ca": "", "principal": "deploy", "token_id": "u7",
        "token": "jit-user.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "expires": "2999-01-01T00:00:00Z",
    });
    host.write(file, login.to_string().as_bytes());
    std::fs::set_permissions(host.path(file), std::fs::Permissions::from_mode(0o600))
        .expect("a mode");
    let next = json!({
        "id": "u9", "token": "jit-user.BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA", "expires": "2999-02-01T00:00:00Z",
    });
    let fates = vec![Fate::Lost, Fate::Answered(201, next)];
    let calls = serve(&host, fates);
    let home = host.path("home").display().to_string();
    let ended = host.jitctl_in(&[("HOME", home.as_str())], &["login", "--rotate"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let posted: Vec<Call> = calls
        .try_iter()
        .filter(|(head, _)| head.starts_with("POST /v1/token/rotate"))
        .collect();
    assert_eq!(posted.len(), 2);
    for (head, _) in posted {
        assert!(!head.to_lowercase().contains("idempotency-key"), "{head}");
    }
    let kept: Value = serde_json::from_str(&host.read(file)).expect("a login");
    assert_eq!(kept["token_id"], "u9");
}
