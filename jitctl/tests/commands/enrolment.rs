//! How a host comes to trust a server, and what is said where it trusts none.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Host, status};

#[test]
fn enrolment_writes_what_this_host_trusts_and_may_be_repeated() {
    let host = Host::new().with_server().with_daemon();
    let key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let kid = key.parse::<jit_grant::PublicKey>().expect("a key").kid();
    let name = nix::unistd::gethostname()
        .expect("a name")
        .to_string_lossy()
        .to_ascii_lowercase();
    host.daemon_says("Enroll", json!({ "public_key": key }));
    host.server_says("POST /v1/hosts", 201, json!({ "host_id": format!("h{}", "b".repeat(32)), "name": name, "server_keys": [{ "kid": kid, "public_key": key }] }));
    let address = host.server_address();
    let ended = host.jitctl(&["enroll", "--server", &address]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.out.contains("is enrolled with") && ended.out.contains("jitctl gate sshd sudo su"),
        "{}",
        ended.out
    );
    assert_eq!(
        host.sent("POST /v1/hosts"),
        json!({ "name": name, "public_key": key })
    );

    let trust: serde_json::Value =
        serde_json::from_str(&host.read("etc/jit/trust.json")).expect("JSON");
    assert_eq!(trust["keys"], json!([{ "kid": kid, "public_key": key }]));
    assert_eq!(
        (&trust["host_name"], &trust["machine_id"]),
        (&json!(name), &json!("0123456789abcdef0123456789abcdef"))
    );
    assert_eq!(
        fs::metadata(host.path("etc/jit/trust.json"))
            .expect("metadata")
            .permissions()
            .mode()
            & 0o777,
        0o644
    );
    assert!(
        host.daemon
            .lock()
            .expect("a lock")
            .calls
            .iter()
            .any(|(method, _)| method == "io.jit.Control.Reload")
    );

    let again = host.jitctl(&["enroll", "--server", &address]);
    assert!(
        again.out.contains("is still enrolled with"),
        "{}",
        again.out
    );
}

#[test]
fn what_jitd_refuses_is_said_in_its_words() {
    let host = Host::new().with_daemon();
    let address = host.server_address();
    host.daemon_says(
        "Enroll",
        json!({ "error": "io.jit.Control.Failed", "why": "the disk is full" }),
    );
    let failed = host.jitctl(&["enroll", "--server", &address]);
    assert_eq!(
        (failed.code, failed.err.as_str()),
        (3, "jitctl: jitd refused: the disk is full\n")
    );
    host.daemon_says(
        "Enroll",
        json!({ "error": "org.varlink.service.PermissionDenied" }),
    );
    assert!(
        host.jitctl(&["enroll", "--server", &address])
            .err
            .contains("root's to do")
    );
}

#[test]
fn enrolment_refuses_a_key_that_its_id_does_not_name_and_changes_nothing() {
    let host = Host::new().with_server().with_daemon();
    let key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    host.daemon_says("Enroll", json!({ "public_key": key }));
    host.server_says("POST /v1/hosts", 201, json!({ "host_id": format!("h{}", "b".repeat(32)), "name": "web1", "server_keys": [{ "kid": "0123456789abcdef", "public_key": key }] }));
    let address = host.server_address();
    assert_eq!(host.jitctl(&["enroll", "--server", &address]).code, 1);
    assert!(!host.path("etc/jit/trust.json").exists());
}

/// What trust.json of a host says that is enrolled with a server elsewhere.
fn enrolled_elsewhere(host: &Host) -> Value {
    let mut trust: Value = serde_json::from_str(&host.read("etc/jit/trust.json")).expect("JSON");
    trust["server"] = json!("https://jit1.example:7443");
    trust["ca"] = json!("pem");
    host.write("etc/jit/trust.json", trust.to_string().as_bytes());
    trust
}

#[test]
fn a_host_that_is_not_enrolled_is_told_of_the_socket_only_where_there_is_one() {
    let said = |host: &Host| {
        let doctor = host.jitctl(&["doctor"]).out;
        let words: Vec<_> = doctor.split_whitespace().collect();
        let enforce = host.jitctl(&["enforce"]).err;
        [words.join(" "), host.jitctl(&["status"]).out, enforce]
    };
    let host = Host::new().with_daemon();
    let mut nowhere = status();
    (nowhere["host"], nowhere["host_id"]) = (json!(null), json!(null));
    host.daemon_says("Status", nowhere);
    host.jitctl(&["gate", "sshd"]);
    for said in said(&host) {
        let form = "jitctl enroll --server https://SERVER:7443 --ca FILE --token-file FILE";
        assert!(
            said.contains(form) && !said.contains("--server unix:"),
            "{said}"
        );
    }
    let host = host.with_server_at("run/jit-server/api.sock");
    for said in said(&host) {
        let form = "jitctl enroll --server unix:/run/jit-server/api.sock";
        assert!(said.contains(form), "{said}");
    }
}

#[test]
fn a_copied_machine_is_told_of_the_server_that_the_one_before_was_enrolled_with() {
    let host = Host::enrolled();
    enrolled_elsewhere(&host);
    host.write("etc/machine-id", b"ffffffffffffffffffffffffffffffff\n");
    let doctor = host.jitctl(&["doctor"]).out;
    let words: Vec<_> = doctor.split_whitespace().collect();
    let form = "jitctl enroll --server https://jit1.example:7443 --ca FILE --token-file FILE";
    assert!(words.join(" ").contains(form), "{doctor}");
}

#[test]
fn an_enrolled_host_takes_other_urls_and_keeps_who_it_is_and_what_it_pins() {
    let host = Host::enrolled();
    let mut trust = enrolled_elsewhere(&host);
    let both = [
        "enroll",
        "--only-urls",
        "--server",
        "https://jit1.example:7443",
        "--server",
        "https://jit2.example:7443",
    ];
    let ended = host.jitctl(&both);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("stays enrolled as h"), "{}", ended.out);
    let read = |host: &Host| -> Value {
        serde_json::from_str(&host.read("etc/jit/trust.json")).expect("JSON")
    };
    trust["more_servers"] = json!(["https://jit2.example:7443"]);
    assert_eq!(read(&host), trust);
    let daemon = host.daemon.lock().expect("a lock");
    let methods: Vec<_> = daemon.calls.iter().map(|(method, _)| method).collect();
    assert_eq!(methods, ["io.jit.Control.Reload"], "no key was asked for");
    drop(daemon);
    let one = [
        "enroll",
        "--only-urls",
        "--server",
        "https://jit2.example:7443",
    ];
    assert_eq!(host.jitctl(&one).code, 0);
    trust["server"] = json!("https://jit2.example:7443");
    trust
        .as_object_mut()
        .expect("fields")
        .remove("more_servers");
    assert_eq!(read(&host), trust);
}

#[test]
fn urls_alone_change_nothing_where_the_host_pins_nobody_or_is_another_machine() {
    let url = [
        "enroll",
        "--only-urls",
        "--server",
        "https://jit2.example:7443",
    ];
    let refused = |host: &Host, code: i32, arguments: &[&str]| {
        let trust = host.path("etc/jit/trust.json");
        let before = fs::read(&trust).ok();
        let ended = host.jitctl(arguments);
        assert_eq!(ended.code, code, "{}", ended.err);
        assert!(ended.err.contains("next: jitctl enroll"), "{}", ended.err);
        assert_eq!(fs::read(&trust).ok(), before);
    };
    refused(&Host::new().with_daemon(), 3, &url);
    refused(&Host::enrolled(), 3, &url);
    let host = Host::enrolled();
    enrolled_elsewhere(&host);
    let socket = ["enroll", "--only-urls", "--server", "unix:/run/api.sock"];
    refused(&host, 2, &socket);
    refused(&host, 2, &[&url[..], &socket[2..]].concat());
    host.write("etc/machine-id", b"ffffffffffffffffffffffffffffffff\n");
    refused(&host, 3, &url);
    let no_server = host.jitctl(&["enroll", "--only-urls"]);
    assert_eq!(no_server.code, 2);
}
