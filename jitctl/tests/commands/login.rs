//! Who somebody is to a server elsewhere, and which server is asked.
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::{Ended, Host};
use serde_json::{Value, json};

/// Nobody listens there.
const AWAY: &str = "https://127.0.0.1:1";
const TOKEN: &str = "jit-user.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const CA: &[u8] = include_bytes!("../fixtures/ca.crt");

/// Somebody's machine without a server, with his home below it.
fn machine() -> Host {
    let host = Host::new();
    host.write("token", format!("{TOKEN}\n").as_bytes());
    host.write("ca.crt", CA);
    host
}

fn run(host: &Host, more: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let home = host.path("home").display().to_string();
    let mut environment = vec![("HOME", home.as_str())];
    environment.extend(more);
    host.jitctl_in(&environment, arguments)
}

fn login(host: &Host, server: &str, token: &str, ca: &str) -> Ended {
    let (token, ca) = (host.path(token), host.path(ca));
    let (token, ca) = (token.to_str().expect("text"), ca.to_str().expect("text"));
    let arguments = [
        "login",
        "--server",
        server,
        "--token-file",
        token,
        "--ca",
        ca,
    ];
    run(host, &[], &arguments)
}

fn logged_in(host: &Host, mode: u32) {
    let login = json!({
        "server": AWAY, "ca": String::from_utf8_lossy(CA), "token": TOKEN, "token_id": "u7", "principal": "alice",
        "expires": "2999-01-01T00:00:00Z",
    });
    let file = "home/.config/jit/login.json";
    host.write(file, login.to_string().as_bytes());
    fs::set_permissions(host.path(file), fs::Permissions::from_mode(mode)).expect("a mode");
}

#[test]
fn nothing_is_kept_of_a_login_that_the_server_does_not_confirm() {
    let host = machine();
    let ended = login(&host, AWAY, "token", "ca.crt");
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.contains("cannot reach"), "{}", ended.err);
    assert!(!host.path("home/.config/jit").exists());
    assert!(!ended.err.contains(TOKEN) && !ended.out.contains(TOKEN));
}

#[test]
fn a_login_says_what_it_lacks() {
    let host = machine();
    let socket = login(&host, "unix:/run/jit-server/api.sock", "token", "ca.crt");
    assert_eq!(socket.code, 2, "{}", socket.err);
    let swapped = login(&host, AWAY, "ca.crt", "ca.crt");
    assert!(swapped.err.contains("jit-user.SECRET"), "{}", swapped.err);
    let nothing_vouches = login(&host, AWAY, "token", "token");
    assert_eq!(nothing_vouches.code, 2, "{}", nothing_vouches.err);
    assert!(nothing_vouches.err.contains("--ca FILE"));
}

#[test]
fn without_a_server_and_a_login_it_says_how_to_get_one() {
    let host = machine();
    let ended = run(&host, &[], &["list", "roles"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("nobody is logged in") && ended.err.contains("jitctl login --server"),
        "{}",
        ended.err
    );
    let named = run(&host, &[("JIT_SERVER", AWAY)], &["list", "roles"]);
    assert!(named.err.contains("user token NAME"), "{}", named.err);
    let homeless = host.jitctl_in(&[], &["logout"]);
    assert!(homeless.err.contains("set HOME"), "{}", homeless.err);
}

#[test]
fn the_server_of_this_machine_goes_before_the_login_and_the_environment_before_both() {
    let host = machine();
    logged_in(&host, 0o600);
    let asks = |more: &[(&str, &str)]| run(&host, more, &["list", "roles"]);
    let away = asks(&[]);
    assert!(away.err.contains(AWAY), "{}", away.err);
    let host = machine().with_server_at("run/jit-server/api.sock");
    logged_in(&host, 0o600);
    host.server_says("GET /v1/roles", 200, json!([]));
    let here = run(&host, &[], &["list", "roles"]);
    assert_eq!(here.code, 0, "{}", here.err);
    let named = run(&host, &[("JIT_SERVER", AWAY)], &["list", "roles"]);
    assert!(named.err.contains("cannot reach"), "{}", named.err);
}

#[test]
fn the_environment_alone_is_enough() {
    let host = machine();
    let ca = host.path("ca.crt").display().to_string();
    let all = [("JIT_SERVER", AWAY), ("JIT_TOKEN", TOKEN), ("JIT_CA", &ca)];
    let ended = host.jitctl_in(&all, &["list", "roles"]);
    assert!(ended.err.contains("cannot reach"), "{}", ended.err);
    let wrong = [
        ("JIT_SERVER", AWAY),
        ("JIT_TOKEN", "secret-thing"),
        ("JIT_CA", &ca),
    ];
    let ended = host.jitctl_in(&wrong, &["list", "roles"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.err.contains("JIT_TOKEN") && !ended.err.contains("secret-thing"),
        "{}",
        ended.err
    );
}

#[test]
fn a_login_that_others_can_read_is_not_used() {
    let host = machine();
    logged_in(&host, 0o644);
    let ended = run(&host, &[], &["list", "roles"]);
    assert_eq!(ended.code, 3, "{}", ended.err);
    assert!(ended.err.contains("nobody else can read"), "{}", ended.err);
}

#[test]
fn a_logout_forgets_the_token_and_says_that_it_counts_on() {
    let host = machine();
    logged_in(&host, 0o600);
    let ended = run(&host, &[], &["logout"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended
            .out
            .contains("jit-server user token alice --revoke u7"),
        "{}",
        ended.out
    );
    assert!(!host.path("home/.config/jit/login.json").exists());
    let again: Value = run(&host, &[], &["logout", "--json"]).json();
    assert_eq!(again, json!({ "logged_out": false }));
}

const NEXT: &str = "jit-user.BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA";

/// Somebody logged in at a server that a test answers for.
fn logged_in_here() -> Host {
    let host = machine().with_server();
    let login = json!({
        "server": host.server_address(), "ca": "", "token": TOKEN, "token_id": "u7", "principal": "deploy",
        "expires": "2999-01-01T00:00:00Z",
    });
    let file = "home/.config/jit/login.json";
    host.write(file, login.to_string().as_bytes());
    fs::set_permissions(host.path(file), fs::Permissions::from_mode(0o600)).expect("a mode");
    host
}

fn kept(host: &Host) -> Value {
    serde_json::from_str(&host.read("home/.config/jit/login.json")).expect("a login")
}

#[test]
fn a_rotation_keeps_the_next_token_before_it_shows_it() {
    let host = logged_in_here();
    let next = json!({ "id": "u8", "user": "deploy", "token": NEXT, "expires": "2999-02-01T00:00:00Z", "scopes": ["read"] });
    host.server_says("POST /v1/token/rotate", 201, next);
    host.server_says(
        "GET /v1/whoami",
        503,
        json!({ "detail": "stopping", "code": "stopping" }),
    );
    // Whatever becomes of the call after it.
    let ended = run(&host, &[], &["login", "--rotate"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("is kept"), "{}", ended.err);
    assert_eq!(
        (&kept(&host)["token"], &kept(&host)["token_id"]),
        (&json!(NEXT), &json!("u8"))
    );
    let mode = fs::metadata(host.path("home/.config/jit/login.json"))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!ended.out.contains(NEXT) && !ended.err.contains(NEXT));
}

#[test]
fn where_the_next_token_makes_nobody_known_the_one_before_is_kept_and_rotated_once_more() {
    let host = logged_in_here();
    let next = |id: &str, token: &str| json!({ "id": id, "user": "deploy", "token": token, "expires": "2999-02-01T00:00:00Z" });
    let unknown = json!({ "detail": "the token is over", "code": "bad-token" });
    let other = NEXT.replace('B', "C");
    host.server_says("POST /v1/token/rotate", 201, next("u8", NEXT));
    host.server_says("POST /v1/token/rotate", 201, next("u9", &other));
    for _ in 0..2 {
        host.server_says("GET /v1/whoami", 401, unknown.clone());
    }
    host.server_says("GET /v1/whoami", 200, json!({ "principal": "deploy" }));
    let ended = run(&host, &[], &["login", "--rotate"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(kept(&host)["token_id"], "u9");

    let host = logged_in_here();
    for _ in 0..2 {
        host.server_says("POST /v1/token/rotate", 201, next("u8", NEXT));
    }
    for _ in 0..4 {
        host.server_says("GET /v1/whoami", 401, unknown.clone());
    }
    let ended = run(&host, &[], &["login", "--rotate"]);
    assert_ne!(ended.code, 0);
    assert_eq!(kept(&host)["token"], TOKEN);
}

#[test]
fn a_rotation_that_is_refused_or_that_nothing_is_understood_of_keeps_the_token_that_counts() {
    let host = logged_in_here();
    let refusal =
        json!({ "detail": "u7 was rotated already", "code": "rotated-already", "status": 409 });
    host.server_says("POST /v1/token/rotate", 409, refusal);
    host.server_says("POST /v1/token/rotate", 201, json!({ "id": "u8" }));
    for _ in 0..2 {
        assert_ne!(run(&host, &[], &["login", "--rotate"]).code, 0);
        assert_eq!(kept(&host)["token"], TOKEN);
    }
    let host = machine();
    let nobody = run(&host, &[], &["login", "--rotate"]);
    assert!(nobody.err.contains("no token to rotate"), "{}", nobody.err);
    let usage = run(&host, &[], &["login", "--rotate", "--server", AWAY]);
    assert_eq!(usage.code, 2);
    assert_eq!(run(&host, &[], &["login"]).code, 2);
}

#[test]
fn a_rotation_says_until_when_the_next_token_counts() {
    let host = logged_in_here();
    let next =
        json!({ "id": "u8", "user": "deploy", "token": NEXT, "expires": "2999-02-01T00:00:00Z" });
    host.server_says("POST /v1/token/rotate", 201, next);
    host.server_says("GET /v1/whoami", 200, json!({ "principal": "deploy" }));
    let told = run(&host, &[], &["login", "--rotate", "--json"]).json();
    assert_eq!(
        (&told["token"], &told["expires"]),
        (&json!("u8"), &json!("2999-02-01T00:00:00Z"))
    );
}

/// Runs jitctl while another one holds the login. Gives how it ended once that let go; `meanwhile` is asked while it waits.
fn run_held(host: &Host, arguments: &[&str], meanwhile: impl FnOnce()) -> Ended {
    let folder = fs::File::open(host.path("home/.config/jit")).expect("a folder");
    folder.lock().expect("held");
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(host, &[], arguments));
        // The kernel's list has it as one that waits.
        let inode = format!(":{} ", folder.metadata().expect("a folder").ino());
        let waits = |line: &str| line.contains("->") && line.contains(&inode);
        while !fs::read_to_string("/proc/locks")
            .expect("a list")
            .lines()
            .any(waits)
        {
            assert!(!running.is_finished(), "it waits for nobody");
            std::thread::yield_now();
        }
        meanwhile();
        folder.unlock().expect("let go");
        running.join().expect("ended")
    })
}

#[test]
fn a_logout_waits_for_a_rotation_so_that_none_undoes_it() {
    let host = logged_in_here();
    let ended = run_held(&host, &["logout"], || {
        assert_eq!(kept(&host)["token_id"], "u7");
    });
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(!host.path("home/.config/jit/login.json").exists());
}

#[test]
fn rotations_of_one_login_come_one_after_the_other() {
    let host = logged_in_here();
    let next =
        json!({ "id": "u8", "user": "deploy", "token": NEXT, "expires": "2999-02-01T00:00:00Z" });
    host.server_says("POST /v1/token/rotate", 201, next);
    host.server_says("GET /v1/whoami", 200, json!({ "principal": "deploy" }));
    let ended = run_held(&host, &["login", "--rotate"], || {
        assert!(host.server.lock().expect("a lock").calls.is_empty());
    });
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(kept(&host)["token_id"], "u8");
}
