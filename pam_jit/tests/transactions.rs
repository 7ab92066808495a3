//! The built module in real PAM transactions, against every kind of jitd: each phase and mode gives what was promised,
//! within the deadline.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use jit_local::limits::{DECISION_TIME, MESSAGE_BYTES, WATCHED_TIME};
use jit_local::message::pam;
use support::application::{Application, PAM_SUCCESS, Request};
use support::{
    PAM_ERROR_MSG, PAM_PERM_DENIED, PAM_SILENT, Place, module, panicking_module, read_call,
    wait_for_end,
};

/// What a busy machine may add to a deadline.
const LATENESS: Duration = Duration::from_millis(1500);

/// A stand-in for jitd, and the code that its behaviour brings in enforce mode; none where it allows.
type Jitd = (&'static str, fn(&Place), Option<&'static str>);

const JITDS: [Jitd; 14] = [
    (
        "allow",
        |place| place.answer(b"{\"parameters\":{\"allow\":true}}\0"),
        None,
    ),
    (
        "refuse",
        |place| {
            place.answer(b"{\"parameters\":{\"allow\":false,\"code\":\"JIT-101\",\"message\":\"No grant (JIT-101).\"}}\0")
        },
        Some("JIT-101"),
    ),
    ("no socket", |_| (), Some("JIT-150")),
    (
        "not a socket",
        |place| std::fs::write(place.socket(), "").unwrap(),
        Some("JIT-150"),
    ),
    (
        "a folder",
        |place| std::fs::create_dir(place.socket()).unwrap(),
        Some("JIT-150"),
    ),
    (
        "nobody listens",
        |place| drop(UnixListener::bind(place.socket()).unwrap()),
        Some("JIT-150"),
    ),
    ("early close", |place| place.serve(drop), Some("JIT-150")),
    (
        "close after the call",
        |place| place.answer(b""),
        Some("JIT-150"),
    ),
    (
        "silence",
        |place| place.serve(|mut stream| wait_for_end(&mut stream)),
        Some("JIT-151"),
    ),
    ("byte by byte", serve_single_bytes, Some("JIT-151")),
    (
        "garbage",
        |place| place.answer(b"HTTP/1.1 200 OK\r\n\r\n{\"parameters\":{\"allow\":true}}\0"),
        Some("JIT-152"),
    ),
    (
        "no answer in it",
        |place| place.answer(b"{\"parameters\":{}}\0"),
        Some("JIT-152"),
    ),
    (
        "an error",
        |place| place.answer(b"{\"error\":\"org.varlink.service.MethodNotFound\"}\0"),
        Some("JIT-152"),
    ),
    ("too much", serve_too_much, Some("JIT-152")),
];

fn serve_single_bytes(place: &Place) {
    place.serve(|mut stream| {
        read_call(&mut stream);
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let answer = [b"{".as_slice(), &[b' '; 4096]].concat();
        for byte in answer {
            // Reads nothing but the end of the connection, so it paces us.
            if stream.write_all(&[byte]).is_err() || matches!(stream.read(&mut [0]), Ok(0)) {
                return;
            }
        }
    });
}

fn serve_too_much(place: &Place) {
    place.serve(|mut stream| {
        read_call(&mut stream);
        let endless = [b"{".as_slice(), &[b' '; MESSAGE_BYTES]].concat();
        while stream.write_all(&endless).is_ok() {}
    });
}

/// Runs one phase in a service gated with `arguments`, and checks the deadline of each line that speaks in it.
fn run(place: &Place, arguments: &str, request: Request) -> (i32, Vec<(i32, String)>) {
    place.gate("sshd", module(), arguments);
    let mut application = Application::start(place.folder(), "sshd", "root").unwrap();
    let lines = if request == Request::Open { 2 } else { 1 };
    let a_line = if arguments.starts_with("monitor") {
        WATCHED_TIME
    } else {
        DECISION_TIME
    };
    let began = Instant::now();
    let code = application.request(request, PAM_SILENT);
    assert!(
        began.elapsed() < lines * a_line + LATENESS,
        "{:?}",
        began.elapsed()
    );
    (code, application.shown())
}

/// All cases at once, since some take a whole deadline.
fn for_every_jitd(check: impl Fn(&Jitd) + Copy + Send + 'static) {
    module();
    let cases = JITDS
        .iter()
        .map(|jitd| std::thread::spawn(move || check(jitd)));
    let outcomes: Vec<_> = cases
        .collect::<Vec<_>>()
        .into_iter()
        .map(|case| case.join())
        .collect();
    assert!(outcomes.iter().all(Result::is_ok));
}

#[test]
fn enforcing_refuses_whatever_is_no_allow_and_says_why() {
    for_every_jitd(|(name, start, code)| {
        let place = Place::new();
        start(&place);
        for request in [Request::Account, Request::Open] {
            let (result, shown) = run(&place, "enforce", request);
            let Some(code) = code else {
                assert_eq!((result, shown), (PAM_SUCCESS, vec![]), "{name}");
                continue;
            };
            assert_eq!(result, PAM_PERM_DENIED, "{name} in {request:?}");
            let [(PAM_ERROR_MSG, text)] = shown.as_slice() else {
                panic!("{name}: shown {shown:?}")
            };
            assert!(text.contains(code), "{name} in {request:?}: {text}");
        }
        assert_eq!(
            run(&place, "enforce", Request::Close),
            (PAM_SUCCESS, vec![]),
            "{name} in Close"
        );
    });
}

#[test]
fn watching_lets_everybody_pass_and_shows_nothing() {
    for_every_jitd(|(name, start, _)| {
        let place = Place::new();
        start(&place);
        for request in [Request::Account, Request::Open, Request::Close] {
            assert_eq!(
                run(&place, "monitor", request),
                (PAM_SUCCESS, vec![]),
                "{name} in {request:?}"
            );
        }
    });
}

#[test]
fn a_provisional_line_lapses_with_its_time_and_its_boot() {
    let place = Place::new();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let (boot, far) = (boot.trim(), u64::MAX);
    let cases = [
        (format!("enforce until={far} boot={boot}"), PAM_PERM_DENIED),
        (format!("enforce until=0 boot={boot}"), PAM_SUCCESS),
        (
            format!("enforce until={far} boot=00000000-0000-0000-0000-000000000000"),
            PAM_SUCCESS,
        ),
        (format!("enforce until={far}"), PAM_PERM_DENIED),
    ];
    for (arguments, expected) in cases {
        assert_eq!(
            run(&place, &arguments, Request::Account).0,
            expected,
            "{arguments}"
        );
    }
}

#[test]
fn a_wrong_line_refuses_with_its_code() {
    let place = Place::new();
    place.answer(b"{\"parameters\":{\"allow\":true}}\0");
    for arguments in ["", "enforce bogus", "enforce monitor"] {
        let (result, shown) = run(&place, arguments, Request::Account);
        assert_eq!(result, PAM_PERM_DENIED);
        assert!(shown[0].1.contains("JIT-153"), "{shown:?}");
    }
    assert_eq!(
        run(&place, "monitor bogus", Request::Account),
        (PAM_SUCCESS, vec![])
    );
}

#[test]
fn jitd_hears_what_pam_knows() {
    let place = Place::new();
    let (heard, hearing) = mpsc::channel();
    place.serve(move |mut stream| {
        let call = read_call(&mut stream).unwrap();
        heard
            .send((call.method.clone(), call.parameters::<pam::Call>().unwrap()))
            .unwrap();
        stream
            .write_all(b"{\"parameters\":{\"allow\":true}}\0")
            .unwrap();
    });
    place.gate("sshd", module(), "enforce");
    let mut application = Application::start(place.folder(), "sshd", "root").unwrap();
    application.come_from("192.0.2.7", "ssh");
    application.put_variable("SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA");
    application.put_variable("XDG_SESSION_ID=17");
    for request in [Request::Account, Request::Open, Request::Close] {
        assert_eq!(application.request(request, 0), PAM_SUCCESS);
    }
    let expected = pam::Call {
        service: "sshd".into(),
        user: "root".into(),
        ruser: None,
        rhost: Some("192.0.2.7".into()),
        tty: Some("ssh".into()),
        auth_info: Some("publickey ssh-ed25519 AAAA".into()),
        logind_session: Some("17".into()),
        enforce: true,
        sets_groups: false,
    };
    for method in [pam::ACCOUNT, pam::OPEN_BEFORE, pam::OPEN_AFTER, pam::CLOSE] {
        assert_eq!(
            hearing.recv().unwrap(),
            (method.to_owned(), expected.clone())
        );
    }
}

#[test]
fn the_auth_phase_authenticates_nobody() {
    let place = Place::new();
    place.gate("sshd", module(), "enforce");
    // Alone in its stack: PAM_IGNORE decides nothing, and libpam refuses where nothing was decided.
    let alone = format!("auth optional {} enforce\n", module().display());
    std::fs::write(place.folder().join("alone"), alone).unwrap();
    let code = |service| {
        Application::start(place.folder(), service, "root")
            .unwrap()
            .request(Request::Authenticate, 0)
    };
    assert_ne!(code("alone"), PAM_SUCCESS);
    assert_eq!(code("sshd"), PAM_SUCCESS);
    let mut application = Application::start(place.folder(), "alone", "root").unwrap();
    assert_eq!(application.request(Request::Credentials, 0), PAM_SUCCESS);
}

#[test]
fn a_terminal_that_shows_nothing_changes_no_decision() {
    let place = Place::new();
    place.answer(b"{\"parameters\":{\"allow\":false}}\0");
    place.gate("sshd", module(), "enforce");
    let mut application =
        Application::start_without_terminal(place.folder(), "sshd", "root").unwrap();
    assert_eq!(application.request(Request::Account, 0), PAM_PERM_DENIED);
}

#[test]
fn a_panic_in_the_built_module_is_caught_and_denies() {
    let place = Place::new();
    place.gate("sshd", &panicking_module(), "enforce");
    let mut application = Application::start(place.folder(), "sshd", "root").unwrap();
    assert_eq!(application.request(Request::Account, 0), PAM_PERM_DENIED);
}

#[test]
fn a_panic_in_the_built_module_prints_nothing() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_panic_in_the_built_module_is_caught_and_denies",
            "--nocapture",
        ])
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success() && stdout.contains("1 passed"));
    assert!(
        !stdout.contains("panicked") && stderr.is_empty(),
        "{stdout}{stderr}"
    );
}
