//! What root types on a host: gating, modes, enrolment, status, doctor.
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Host, status};
use serde_json::json;

#[test]
fn gating_begins_in_monitor_mode_and_tells_jitd() {
    let host = Host::enrolled();
    let ended = host.jitctl(&["gate", "sshd", "sudo", "su"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    insta::assert_snapshot!(ended.out, @r"
    atd: gated
    cron: gated
    polkit-1: gated
    sshd: gated
    su: gated
    sudo: gated
    sudo-i: gated
    systemd-user: gated
    polkit-1 had no file in /etc/pam.d: the vendor's was copied there, and goes again with ungate.
    su-l takes its lines from su and is covered by it.
    systemd-user had no file in /etc/pam.d: the vendor's was copied there, and goes again with ungate.
    New ones only watch. `jitctl status` shows how they stand; `jitctl enforce` makes them refuse.
    ");
    assert!(
        host.read("etc/pam.d/sshd")
            .contains("account optional pam_jit.so monitor\n")
    );
    let daemon = host.daemon.lock().expect("a lock");
    let (method, parameters) = daemon.calls.last().expect("a call");
    assert_eq!(method, "io.jit.Control.Gated");
    assert_eq!(
        (&parameters["what"], &parameters["services"]),
        (
            &json!("gate"),
            &json!([
                "atd",
                "cron",
                "polkit-1",
                "sshd",
                "su",
                "sudo",
                "sudo-i",
                "systemd-user"
            ])
        )
    );
}

#[test]
fn gating_works_with_jitd_away_and_says_that_it_is_not_recorded() {
    let host = Host::new();
    let ended = host.jitctl(&["gate", "sshd"]);
    assert_eq!(ended.code, 0);
    assert!(
        ended.err.contains("done, but not in jitd's record"),
        "{}",
        ended.err
    );
}

#[test]
fn ungate_all_leaves_every_file_as_it_was() {
    let host = Host::enrolled();
    let files = || {
        let mut files: Vec<_> = fs::read_dir(host.path("etc/pam.d"))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        files
            .into_iter()
            .map(|path| (fs::read(&path).expect("a file"), path))
            .collect::<Vec<_>>()
    };
    let before = files();
    assert_eq!(host.jitctl(&["gate", "sshd", "sudo", "su"]).code, 0);
    assert_eq!(host.jitctl(&["enforce"]).code, 0);
    assert_ne!(files(), before);
    assert_eq!(host.jitctl(&["ungate", "--all"]).code, 0);
    assert_eq!(files(), before);
    let again = host.jitctl(&["ungate", "--all"]);
    assert_eq!((again.code, again.out.as_str()), (0, "Nothing is gated.\n"));
}

#[test]
fn the_first_enforcement_takes_itself_back_unless_confirmed() {
    let host = Host::enrolled();
    host.jitctl(&["gate", "sshd"]);
    let ended = host.jitctl(&["enforce", "--confirm-within", "5m"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let text = host.read("etc/pam.d/sshd");
    let line = text
        .lines()
        .find(|line| line.starts_with("account requisite pam_jit.so enforce until="))
        .expect("a provisional line");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    assert!(line.ends_with(&format!(" boot={}", boot.trim())), "{line}");
    assert!(host.jitctl(&["status"]).out.contains("provisional"));

    assert_eq!(host.jitctl(&["enforce", "--confirm"]).code, 0);
    assert!(
        host.read("etc/pam.d/sshd")
            .contains("account requisite pam_jit.so enforce\n")
    );
    assert_eq!(host.jitctl(&["enforce"]).code, 0);
    assert!(
        host.read("etc/pam.d/sshd")
            .contains("account requisite pam_jit.so enforce\n"),
        "what was confirmed is never weakened"
    );
    assert_eq!(host.jitctl(&["monitor"]).code, 0);
    assert!(
        host.read("etc/pam.d/sshd")
            .contains("account optional pam_jit.so monitor\n")
    );
}

#[test]
fn what_was_not_tried_is_not_confirmed() {
    let host = Host::enrolled();
    host.jitctl(&["gate", "sshd"]);
    let before = host.read("etc/pam.d/sshd");
    let ended = host.jitctl(&["enforce", "--confirm"]);
    assert_eq!(ended.code, 3, "{}", ended.err);
    assert!(
        ended
            .err
            .contains("nothing to confirm for atd, cron, sshd, systemd-user"),
        "{}",
        ended.err
    );
    assert_eq!(host.read("etc/pam.d/sshd"), before);
}

#[test]
fn confirming_from_elsewhere_than_a_granted_login_is_said_aloud() {
    let host = Host::enrolled();
    host.jitctl(&["gate", "sshd"]);
    host.jitctl(&["enforce"]);
    assert!(
        host.jitctl(&["enforce", "--confirm"])
            .err
            .contains("not confirmed from a login that a grant let in")
    );
    host.jitctl(&["monitor"]);
    host.jitctl(&["enforce"]);
    let session = json!({ "id": "s1", "kind": "elevation", "principal": "alice", "login": "alice", "service": "sudo", "scopes": [], "grant": "g4", "since": "2026-11-22T19:00:00Z", "until": null, "enforced": true });
    host.daemon_says("Whoami", json!({ "session": session }));
    assert_eq!(host.jitctl(&["enforce", "--confirm"]).err, "");
}

#[test]
fn enforcing_is_refused_where_it_would_lock_everybody_out() {
    let refused = |host: &Host, why: &str| {
        let before = host.read("etc/pam.d/sshd");
        for arguments in [&["enforce"][..], &["enforce", "--confirm"]] {
            let ended = host.jitctl(arguments);
            assert_eq!(ended.code, 3, "{}", ended.err);
            assert!(
                ended.err.contains(why) && ended.err.contains("next: "),
                "{}",
                ended.err
            );
        }
        assert_eq!(host.read("etc/pam.d/sshd"), before);
    };
    let host = Host::enrolled();
    host.jitctl(&["gate", "sshd"]);

    let mut silent = status();
    (silent["current"], silent["code"]) = (json!(false), json!("JIT-112"));
    host.daemon_says("Status", silent);
    refused(
        &host,
        "no word from the server, so that no grant would count (JIT-112",
    );
    host.daemon_says("Status", status());

    fs::remove_file(host.path("usr/lib/x/security/pam_jit.so")).expect("removed");
    refused(&host, "pam_jit.so is not there for libpam to load");
    host.write("usr/lib/x/security/pam_jit.so", b"");

    fs::remove_file(host.path("run/jit/ctl.sock")).expect("removed");
    refused(&host, "jitd did not answer");

    fs::remove_file(host.path("etc/jit/trust.json")).expect("removed");
    refused(&host, "not enrolled");
}

#[test]
fn a_service_that_jitd_could_only_refuse_is_watched_but_never_enforced() {
    let host = Host::enrolled();
    let gated = host.jitctl(&["gate", "sshd", "login"]);
    assert!(
        gated.out.contains("login stands for no action"),
        "{}",
        gated.out
    );
    let refused = host.jitctl(&["enforce"]);
    assert_eq!(refused.code, 3);
    assert!(
        refused.err.contains("login stands for no action")
            && refused.err.contains("jitctl ungate login"),
        "{}",
        refused.err
    );
    assert!(
        host.read("etc/pam.d/sshd")
            .contains("optional pam_jit.so monitor"),
        "all or nothing"
    );
    assert_eq!(host.jitctl(&["enforce", "sshd"]).code, 0);
    host.write("etc/jit/jitd.toml", b"[services]\nlogin = \"ssh\"\n");
    assert_eq!(host.jitctl(&["enforce"]).code, 0);
}

#[test]
fn enforcing_with_nothing_gated_says_what_to_do_first() {
    let ended = Host::enrolled().jitctl(&["enforce"]);
    assert_eq!(ended.code, 3);
    assert!(
        ended.err.contains("no service is gated") && ended.err.contains("jitctl gate sshd sudo su"),
        "{}",
        ended.err
    );
}

#[test]
fn t8_gates_that_something_else_made_weaker_are_shown_with_what_to_do() {
    let host = Host::enrolled();
    let mut status = status();
    status["lost_gates"] =
        json!([{ "service": "sshd", "was": "enforce" }, { "service": "su", "was": "monitor" }]);
    host.daemon_says("Status", status);
    let said = host.jitctl(&["status"]).out;
    let line = "Gates lost  weaker, and not by jitctl: sshd (was enforce), su (was monitor): jitctl gate sshd su && jitctl enforce sshd; or, if it was meant, jitctl ungate sshd su";
    assert!(said.contains(line), "{said}");
    let doctor = host.jitctl(&["doctor"]);
    assert!(
        doctor.code == 1 && doctor.out.contains("gates became weaker"),
        "{}",
        doctor.out
    );
}

#[test]
fn a_lost_gate_whose_file_is_gone_can_be_meant_by_name_and_with_all() {
    let host = Host::enrolled();
    let mut status = status();
    status["lost_gates"] = json!([{ "service": "ftpd", "was": "monitor" }]);
    host.daemon_says("Status", status);
    assert_eq!(host.jitctl(&["ungate", "nothing"]).code, 1);
    for arguments in [&["ungate", "ftpd"][..], &["ungate", "--all"]] {
        let ended = host.jitctl(arguments);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let mut daemon = host.daemon.lock().expect("a lock");
        let (method, said) = daemon.calls.pop().expect("a call");
        assert_eq!(
            (method.as_str(), &said["services"]),
            ("io.jit.Control.Gated", &json!(["ftpd"]))
        );
    }
}

#[test]
fn ungating_what_has_lost_its_lines_tells_jitd_that_it_is_meant() {
    let host = Host::enrolled();
    host.jitctl(&["ungate", "su"]);
    let daemon = host.daemon.lock().expect("a lock");
    let (method, said) = daemon.calls.last().expect("a call");
    assert_eq!(method, "io.jit.Control.Gated");
    assert_eq!(
        (&said["what"], &said["services"]),
        (&json!("ungate"), &json!(["su", "su-l"]))
    );
}

#[test]
fn status_shows_server_and_services() {
    let host = Host::enrolled();
    host.jitctl(&["gate", "sshd", "su"]);
    insta::assert_snapshot!(host.jitctl(&["status"]).out, @r"
    Host      web1 (haaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa)
    Server    unix:/run/jit-server/api.sock, heard 3 s ago
    Grants    2 held, revision 17
    Sessions  1
    Record    written
    jitd      0.1.0

    SERVICE       MODE
    atd           monitor
    cron          monitor
    sshd          monitor
    su            monitor
    su-l          covered  by su, whose lines it runs
    systemd-user  monitor
    ");
    let json = host.jitctl(&["status", "--json"]).json();
    assert_eq!(
        json["services"][0],
        json!({ "service": "atd", "mode": "monitor", "covered_by": null, "left_seconds": null })
    );
    assert_eq!(json["jitd"]["revision"], json!(17));
}

#[test]
fn status_says_since_when_a_silent_server_was_not_heard_and_what_is_in_the_way() {
    let host = Host::enrolled();
    let mut status = crate::support::status();
    status["heard_ms_ago"] = json!(4_320_000);
    status["current"] = json!(false);
    status["code"] = json!("JIT-111");
    status["trouble"] = json!("server: answered 401: this host is not enrolled here\u{1b}[2J");
    host.daemon_says("Status", status.clone());
    let out = host.jitctl(&["status"]).out;
    let line = |name: &str| {
        let found = out.lines().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("no {name}: {out}"))
    };
    let server = line("Server");
    assert!(
        server.contains("api.sock, nothing heard since ") && server.ends_with(" (1 h 12 min ago)"),
        "{server}"
    );
    assert_eq!(
        line("Trouble"),
        "Trouble   jitd-sync says: server: answered 401: this host is not enrolled here[2J"
    );
    status["heard_ms_ago"] = json!(null);
    host.daemon_says("Status", status);
    let out = host.jitctl(&["status"]).out;
    assert!(
        out.contains("nothing heard since this host started ("),
        "{out}"
    );
}

#[test]
fn status_with_jitd_away_still_shows_the_services_and_exits_1() {
    let host = Host::new();
    host.jitctl(&["gate", "sshd"]);
    let ended = host.jitctl(&["status"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.out.contains("sshd") && ended.err.contains("jitd did not answer"),
        "{}{}",
        ended.out,
        ended.err
    );
}

#[test]
fn doctor_finds_a_line_moved_a_door_left_open_and_a_dead_jitd() {
    let host = Host::new();
    host.jitctl(&["gate", "sudo", "sshd"]);
    let moved = format!(
        "account sufficient pam_permit.so\n{}",
        host.read("etc/pam.d/sshd")
    );
    host.write("etc/pam.d/sshd", moved.as_bytes());
    fs::remove_file(host.path("etc/pam.d/polkit-1")).expect("removed");
    let ended = host.jitctl(&["doctor"]);
    assert_eq!(ended.code, 1);
    for what in [
        "/etc/pam.d/sshd are not all there, or not in their place",
        "polkit-1 beside it is not",
        "jitd did not answer",
    ] {
        let flat = ended.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(what), "{what}: {flat}");
    }
}

#[test]
fn a_healthy_host_gives_the_doctor_nothing_to_put_right() {
    let host = Host::enrolled();
    for (name, mode) in [
        ("pam.sock", 0o600),
        ("sync.sock", 0o660),
        ("ctl.sock", 0o666),
    ] {
        let path = host.path("run/jit").join(name);
        if name != "ctl.sock" {
            std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    host.jitctl(&["gate", "sshd", "sudo", "su"]);
    let ended = host.jitctl(&["doctor"]);
    assert_eq!(ended.code, 0, "{}", ended.out);
    assert!(
        ended.out.contains("Nothing is wrong.") && ended.out.contains("not gated: login"),
        "{}",
        ended.out
    );
}

#[test]
fn a_file_that_is_a_link_is_not_gated() {
    let host = Host::enrolled();
    fs::rename(host.path("etc/pam.d/sshd"), host.path("elsewhere")).expect("moved");
    symlink(host.path("elsewhere"), host.path("etc/pam.d/sshd")).expect("a link");
    let ended = host.jitctl(&["gate", "sshd"]);
    assert_eq!(ended.code, 3);
    assert!(ended.err.contains("symbolic link"), "{}", ended.err);
}

#[test]
fn man_pages_and_completions_come_from_the_program_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_string_lossy().into_owned();
    assert_eq!(Host::new().jitctl(&["generate", "man", &path]).code, 0);
    assert_eq!(
        Host::new().jitctl(&["generate", "completions", &path]).code,
        0
    );
    for name in [
        "jitctl.1",
        "jitctl-request.1",
        "jitctl-list-grants.1",
        "jit-codes.7",
        "jitctl.bash",
        "_jitctl",
        "jitctl.fish",
    ] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
    let page = fs::read_to_string(folder.path().join("jitctl.1")).expect("a page");
    assert!(
        !page.contains("generate") && page.contains("Exit codes"),
        "{page}"
    );
}
