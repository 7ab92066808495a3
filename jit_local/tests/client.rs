//! The blocking client against every kind of other end.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jit_local::call::{Call, Nothing};
use jit_local::client::{ClientError, call, call_with_descriptor};
use jit_local::frame::Decoder;
use jit_local::limits::MESSAGE_BYTES;
use jit_local::message::pam::{self, Verdict};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, recv,
    socket_with,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_millis(200);
/// What a busy machine may add to a deadline.
const LATENESS: Duration = Duration::from_millis(300);

/// A socket with one connection's worth of behaviour behind it.
struct OtherEnd {
    folder: TempDir,
    served: JoinHandle<()>,
}

impl OtherEnd {
    fn new(behaviour: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let served = std::thread::spawn(move || behaviour(listener.accept().unwrap().0));
        Self { folder, served }
    }

    fn answering(bytes: &'static [u8]) -> Self {
        Self::new(move |mut stream| {
            read_call(&mut stream);
            stream.write_all(bytes).unwrap();
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn ask(self) -> Result<Verdict, ClientError> {
        let began = Instant::now();
        let answer = call(&self.path(), pam::ACCOUNT, &question(), PATIENCE);
        assert!(
            began.elapsed() < PATIENCE + LATENESS,
            "deadline overrun: {:?}",
            began.elapsed()
        );
        self.served.join().unwrap();
        answer
    }
}

fn question() -> pam::Call {
    pam::Call {
        service: "sshd".into(),
        user: "ada".into(),
        enforce: true,
        ..pam::Call::default()
    }
}

fn read_call(stream: &mut UnixStream) -> Call {
    let (mut decoder, mut buffer) = (Decoder::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "closed in the middle of a call");
        if let Some(message) = decoder.take(&mut &buffer[..count]).unwrap() {
            return Call::parse(&message).unwrap();
        }
    }
}

/// Holds the connection, silent, until the client leaves.
fn wait_for_end(mut stream: UnixStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn an_answer_is_understood() {
    let end = OtherEnd::new(|mut stream| {
        let call = read_call(&mut stream);
        assert_eq!(call.method, pam::ACCOUNT);
        assert_eq!(call.parameters::<pam::Call>().unwrap(), question());
        stream
            .write_all(b"{\"parameters\":{\"allow\":true,\"grant\":\"g1\"}}\0")
            .unwrap();
    });
    assert_eq!(end.ask().unwrap().grant.as_deref(), Some("g1"));
}

#[test]
fn an_answer_in_single_bytes_is_understood_within_the_deadline() {
    let end = OtherEnd::new(|mut stream| {
        read_call(&mut stream);
        for byte in b"{\"parameters\":{\"allow\":true}}\0" {
            stream.write_all(&[*byte]).unwrap();
        }
    });
    assert!(end.ask().unwrap().allow);
}

#[test]
fn single_bytes_do_not_stretch_the_deadline() {
    let end = OtherEnd::new(|mut stream| {
        read_call(&mut stream);
        // One byte each time the kernel reports nothing new for a while; until the client has hung up.
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        while stream.write_all(b"{").is_ok() && !matches!(stream.read(&mut [0]), Ok(0)) {}
    });
    assert!(matches!(end.ask(), Err(ClientError::TimedOut(PATIENCE))));
}

#[test]
fn silence_times_out() {
    assert!(matches!(
        OtherEnd::new(wait_for_end).ask(),
        Err(ClientError::TimedOut(PATIENCE))
    ));
}

/// A listener that nobody accepts from and whose backlog has no room; connecting to it has to wait.
fn crowded_listener(path: &Path) -> Vec<OwnedFd> {
    let address = SocketAddrUnix::new(path).unwrap();
    let socket = |flags| socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let listener = socket(SocketFlags::CLOEXEC);
    bind(&listener, &address).unwrap();
    listen(&listener, 1).unwrap();
    let mut held = vec![listener];
    loop {
        let waiting = socket(SocketFlags::NONBLOCK | SocketFlags::CLOEXEC);
        match connect(&waiting, &address) {
            Ok(()) => held.push(waiting),
            Err(_) => return held,
        }
    }
}

#[test]
fn a_full_backlog_times_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _held = crowded_listener(&path);
    let began = Instant::now();
    let answer = call::<_, Verdict>(&path, pam::ACCOUNT, &question(), PATIENCE);
    assert!(
        matches!(answer, Err(ClientError::TimedOut(PATIENCE))),
        "{answer:?}"
    );
    assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE + LATENESS);
}

#[test]
fn closing_without_an_answer_is_told_apart() {
    assert!(matches!(
        OtherEnd::new(|mut stream| drop(read_call(&mut stream))).ask(),
        Err(ClientError::Closed)
    ));
    // Closing with our call unread resets the connection; both ways must read the same.
    assert!(matches!(
        OtherEnd::new(drop).ask(),
        Err(ClientError::Closed)
    ));
}

#[test]
fn nonsense_is_refused() {
    let cases: [&[u8]; 9] = [
        b"hello\0",
        b"\0",
        b"{\"parameters\":{\"allow\":tr",
        b"{}\0",
        b"{\"parameters\":{}}\0",
        b"{\"parameters\":{\"allow\":1}}\0",
        b"{\"parameters\":{\"allow\":true}}\0{\"parameters\":{\"allow\":false}}\0",
        b"{\"parameters\":{\"allow\":true}}\0x",
        b"{\"parameters\":{\"allow\":true},\"x\":\"\xff\"}\0",
    ];
    for bytes in cases {
        let answer = OtherEnd::answering(bytes).ask();
        assert!(
            matches!(answer, Err(ClientError::Nonsense(_))),
            "{bytes:?}: {answer:?}"
        );
    }
}

#[test]
fn too_much_is_refused_before_it_is_all_read() {
    let end = OtherEnd::new(|mut stream| {
        read_call(&mut stream);
        let endless = [b"{".as_slice(), &[b' '; MESSAGE_BYTES]].concat();
        while stream.write_all(&endless).is_ok() {}
    });
    assert!(matches!(end.ask(), Err(ClientError::TooLarge)));
}

#[test]
fn an_error_is_given_by_its_name() {
    match OtherEnd::answering(b"{\"error\":\"io.jit.Sync.NotEnrolled\"}\0").ask() {
        Err(ClientError::Refused {
            error,
            detail: None,
        }) => assert_eq!(error, "io.jit.Sync.NotEnrolled"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_listening_socket_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    File::create(&file).unwrap();
    let dead = folder.path().join("dead");
    drop(UnixListener::bind(&dead).unwrap());
    let long = folder.path().join("x".repeat(200));
    let cases = [
        (file, "it is not a socket"),
        (dead, "nobody listens there"),
        (folder.path().join("none"), "No such file"),
        (long, "too long"),
    ];
    for (path, expected) in cases {
        match call::<_, Verdict>(&path, pam::ACCOUNT, &question(), PATIENCE) {
            Err(ClientError::Unreachable { why, .. }) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_call_that_no_message_can_hold_is_not_sent() {
    let question = pam::Call {
        auth_info: Some("x".repeat(MESSAGE_BYTES)),
        ..question()
    };
    let answer = call::<_, Verdict>("/nonexistent".as_ref(), pam::ACCOUNT, &question, PATIENCE);
    assert!(matches!(answer, Err(ClientError::Unsendable(_))));
}

#[test]
fn a_file_travels_with_its_call() {
    let end = OtherEnd::new(|mut stream| {
        let mut buffer = [0; 4096];
        // The call is there once something can be peeked at; receive() itself never waits.
        recv(&stream, &mut [0u8; 1], RecvFlags::PEEK).unwrap();
        let (count, descriptor) = jit_local::descriptor::receive(&stream, &mut buffer).unwrap();
        assert_eq!(buffer[count - 1], 0);
        let mut text = String::new();
        File::from(descriptor.unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "signed");
        stream.write_all(b"{\"parameters\":{}}\0").unwrap();
    });
    let path = end.folder.path().join("bundle");
    std::fs::write(&path, "signed").unwrap();
    let file = File::open(path).unwrap();
    let done: Nothing = call_with_descriptor(
        &end.path(),
        "io.jit.Sync.Bundle",
        &Nothing {},
        file.as_fd(),
        PATIENCE,
    )
    .unwrap();
    assert_eq!(done, Nothing {});
    end.served.join().unwrap();
}
