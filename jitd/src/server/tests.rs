use super::*;
use crate::fixture::Fixture;
use jit_local::client;
use jit_local::message::{control, pam, sync};
use serde_json::json;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const SECOND: Duration = Duration::from_secs(1);

/// The three sockets of a host, served in this process.
struct Served {
    fixture: Fixture,
    directory: tempfile::TempDir,
}

impl Served {
    fn begin(fixture: Fixture) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, socket) in [
            ("pam", Socket::Pam),
            ("ctl", Socket::Control),
            ("sync", Socket::Sync),
        ] {
            let path = directory.path().join(name);
            let listener = UnixListener::bind(&path).unwrap();
            listener.set_nonblocking(true).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            let listener = Listener::new(listener).unwrap();
            tokio::spawn(serve(listener, socket, Arc::clone(&fixture.host)));
        }
        Self { fixture, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn connect(&self, name: &str) -> UnixStream {
        UnixStream::connect(self.path(name)).await.unwrap()
    }

    async fn account(&self) -> pam::Verdict {
        let call = pam::Call {
            service: "sshd".into(),
            user: "ada".into(),
            enforce: true,
            ..pam::Call::default()
        };
        let path = self.path("pam");
        tokio::task::spawn_blocking(move || {
            client::call(&path, pam::ACCOUNT, &call, 3 * SECOND).unwrap()
        })
        .await
        .unwrap()
    }

    async fn status(&self) -> control::Status {
        let path = self.path("ctl");
        tokio::task::spawn_blocking(move || {
            client::call(&path, control::STATUS, &json!({}), 3 * SECOND).unwrap()
        })
        .await
        .unwrap()
    }

    async fn bundle(&self, file: impl AsFd + Send + 'static) -> sync::Taken {
        let path = self.path("sync");
        let call = move || {
            client::call_with_descriptor(&path, sync::BUNDLE, &json!({}), file.as_fd(), 10 * SECOND)
                .unwrap()
        };
        tokio::task::spawn_blocking(call).await.unwrap()
    }
}

async fn ada() -> Served {
    let fixture = Fixture::new();
    let grant = fixture.grant(1, "ada");
    Served::begin(fixture.granting(vec![grant]).await)
}

/// Everything that still comes, up to the end of the connection.
async fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

/// A process of uid 1234 that holds `count` connections to `socket` open, each with half a message said.
struct Crowd(Child);

impl Crowd {
    fn gather(socket: &Path, count: usize) -> Self {
        let program = format!(
            "use Socket; $| = 1; $SIG{{PIPE}} = 'IGNORE'; for (1..{count}) {{ socket(my $s, PF_UNIX, SOCK_STREAM, 0); \
             connect($s, pack_sockaddr_un('{}')) and syswrite($s, '{{\"method\"'); push @all, $s }} print \"ready\\n\"; <STDIN>",
            socket.display()
        );
        let mut child = Command::new("perl")
            .args(["-e", &program])
            .uid(1234)
            .gid(1234)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_crowd_of_half_open_connections_keeps_nobody_else_from_an_answer() {
    let served = ada().await;
    let path = served.path("ctl");
    let _crowd = tokio::task::spawn_blocking(move || Crowd::gather(&path, 200))
        .await
        .unwrap();
    let began = Instant::now();
    assert!(served.account().await.allow);
    assert!(served.status().await.current);
    assert!(
        began.elapsed() < SECOND,
        "answered in {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_ordinary_user_on_the_pam_socket_is_told_nothing_even_where_its_mode_lets_him_in() {
    let served = ada().await;
    let path = served.path("pam");
    let answer = tokio::task::spawn_blocking(move || {
        let program = format!(
            "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); connect($s, pack_sockaddr_un('{}')); \
             syswrite($s, '{{\"method\":\"io.jit.Pam.Account\",\"parameters\":{{\"service\":\"sshd\",\"user\":\"ada\",\"enforce\":true}}}}' . \"\\0\"); \
             sysread($s, my $answer, 4096); print $answer",
            path.display()
        );
        Command::new("perl")
            .args(["-e", &program])
            .uid(1234)
            .gid(1234)
            .output()
            .unwrap()
            .stdout
    });
    let answer = String::from_utf8(answer.await.unwrap()).unwrap();
    assert!(
        answer.contains("org.varlink.service.PermissionDenied"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_caller_who_says_nothing_is_dropped_within_about_a_second() {
    let served = ada().await;
    let mut stream = served.connect("pam").await;
    let began = Instant::now();
    assert!(rest(&mut stream).await.is_empty());
    assert!(began.elapsed() < 2 * SECOND);
}

#[tokio::test]
async fn a_message_said_byte_by_byte_buys_no_time() {
    let served = ada().await;
    let (mut reading, mut writing) = served.connect("pam").await.into_split();
    let talk = tokio::spawn(async move {
        loop {
            if writing.write_all(b"{").await.is_err() {
                return;
            }
            tokio::time::sleep(SECOND / 10).await;
        }
    });
    let began = Instant::now();
    let mut bytes = Vec::new();
    let _ = reading.read_to_end(&mut bytes).await;
    assert!(bytes.is_empty() && began.elapsed() < 2 * SECOND);
    talk.abort();
}

#[tokio::test]
async fn at_the_first_malformed_frame_a_connection_is_closed_and_nothing_more_is_answered() {
    let served = ada().await;
    let good = b"{\"method\":\"io.jit.Control.Status\"}\0".as_slice();
    for bad in [
        b"GET / HTTP/1.1\r\n".as_slice(),
        b"{}\0",
        b"\0",
        b"{\"method\":5}\0",
        b"{\xff}\0",
        b"l\0\0\0",
    ] {
        let mut stream = served.connect("ctl").await;
        let _ = stream.write_all(&[bad, good].concat()).await;
        assert!(rest(&mut stream).await.is_empty(), "{bad:?}");
    }
    let mut stream = served.connect("ctl").await;
    let _ = stream
        .write_all(&[b"{\"a\":\"".as_slice(), &vec![b'x'; 70_000]].concat())
        .await;
    assert!(rest(&mut stream).await.is_empty());
}

#[tokio::test]
async fn calls_sent_together_are_answered_in_turn_and_oneway_ones_not_at_all() {
    let served = ada().await;
    let mut stream = served.connect("ctl").await;
    stream
        .write_all(b"{\"method\":\"org.varlink.service.GetInfo\"}\0{\"method\":\"io.jit.Control.Status\",\"oneway\":true}\0{\"method\":\"io.jit.Control.Fly\"}\0")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let bytes = rest(&mut stream).await;
    let replies: Vec<_> = bytes
        .split(|byte| *byte == 0)
        .filter(|reply| !reply.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    assert_eq!(replies.len(), 2, "{replies:?}");
    assert!(replies[0].contains("io.jit.Control") && replies[1].contains("MethodNotFound"));
}

#[tokio::test]
async fn a_caller_on_the_pam_socket_gets_one_answer_and_the_end_of_its_connection() {
    let served = ada().await;
    let mut stream = served.connect("pam").await;
    let call = b"{\"method\":\"org.varlink.service.GetInfo\"}\0";
    // Half of it, so that jitd has to wait for the rest.
    stream.write_all(&call[..20]).await.unwrap();
    tokio::task::yield_now().await;
    stream
        .write_all(&[&call[20..], call].concat())
        .await
        .unwrap();
    let bytes = rest(&mut stream).await;
    assert_eq!(bytes.iter().filter(|byte| **byte == 0).count(), 1);
}

#[tokio::test]
async fn a_caller_who_never_stops_talking_keeps_nobody_else_from_an_answer() {
    let served = ada().await;
    let (reading, mut writing) = served.connect("ctl").await.into_split();
    let calls = b"{\"method\":\"io.jit.Control.Fly\",\"oneway\":true}\0".repeat(500);
    let talk = tokio::spawn(async move { while writing.write_all(&calls).await.is_ok() {} });
    let began = Instant::now();
    for _ in 0..20 {
        assert!(served.account().await.allow);
    }
    assert!(
        began.elapsed() < SECOND,
        "answered in {:?}",
        began.elapsed()
    );
    talk.abort();
    assert!(
        reading.try_read(&mut [0]).is_err(),
        "a oneway call has no reply"
    );
}

#[tokio::test]
async fn a_bundle_comes_as_a_descriptor_and_sessions_are_judged_again() {
    let served = Served::begin(Fixture::new());
    let document = served
        .fixture
        .bundle(7, vec![served.fixture.grant(1, "ada")]);
    let mut file = tempfile::tempfile().unwrap();
    // Where the sender's position stands does not matter.
    file.write_all(&document).unwrap();
    assert_eq!(
        served.bundle(file).await,
        sync::Taken {
            taken: true,
            code: None
        }
    );
    assert_eq!(served.fixture.fake().asked(), ["reconsider"]);
    assert_eq!(served.fixture.last_event("bundle.taken")["revision"], 7);
    let memfd =
        nix::sys::memfd::memfd_create("bundle", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
    let mut memfd = File::from(memfd);
    memfd.write_all(&served.fixture.bundle(8, vec![])).unwrap();
    assert!(served.bundle(memfd).await.taken);
    assert_eq!(served.status().await.revision, Some(8));
}

#[tokio::test]
async fn descriptors_that_are_no_bundle_are_refused_recorded_and_change_nothing() {
    let served = Served::begin(Fixture::new());
    let good = served.fixture.bundle(7, vec![]);
    served.fixture.host.grants.take_bundle(good).await.unwrap();
    let huge = tempfile::tempfile().unwrap();
    huge.set_len(1 << 40).unwrap();
    let mut truncated = tempfile::tempfile().unwrap();
    let forged = Fixture::new().bundle(8, vec![]);
    truncated.write_all(&forged[..forged.len() / 2]).unwrap();
    let mut strange = tempfile::tempfile().unwrap();
    strange.write_all(&[0xff; 64]).unwrap();
    let mut foreign = tempfile::tempfile().unwrap();
    foreign.write_all(&forged).unwrap();
    let (pipe, _writer) = std::io::pipe().unwrap();
    let directory = File::open("/").unwrap();
    for (file, code) in [
        (huge, "JIT-206"),
        (truncated, "JIT-207"),
        (strange, "JIT-207"),
        (foreign, "JIT-202"),
        (File::from(OwnedFd::from(pipe)), "JIT-207"),
        (directory, "JIT-207"),
        (File::open("/dev/zero").unwrap(), "JIT-207"),
    ] {
        let taken = served.bundle(file).await;
        assert_eq!((taken.taken, taken.code.as_deref()), (false, Some(code)));
        assert_eq!(served.fixture.last_event("bundle.refused")["code"], code);
        assert_eq!(served.status().await.revision, Some(7));
    }
    assert!(served.fixture.fake().asked().is_empty());
}

#[tokio::test]
async fn a_bundle_without_a_descriptor_is_no_bundle() {
    let served = Served::begin(Fixture::new());
    let mut stream = served.connect("sync").await;
    stream
        .write_all(b"{\"method\":\"io.jit.Sync.Bundle\"}\0")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    assert!(String::from_utf8_lossy(&rest(&mut stream).await).contains("InvalidParameter"));
}

#[tokio::test]
async fn a_reader_of_events_is_woken_by_a_new_one_once_a_power_cut_cannot_take_it() {
    let served = ada().await;
    let record = Arc::clone(&served.fixture.host.record);
    record.sync().await;
    let last = *record.synced().borrow();
    let path = served.path("sync");
    let reading = tokio::task::spawn_blocking(move || {
        client::call::<_, sync::Events>(
            &path,
            sync::EVENTS,
            &sync::After { seq: last },
            10 * SECOND,
        )
        .unwrap()
    });
    assert!(served.account().await.allow);
    // Over a sync that a power cut would forestall.
    assert!(served.account().await.allow && !reading.is_finished());
    record.sync().await;
    let events = reading.await.unwrap();
    assert!(
        events.lines[0].contains("\"kind\":\"decision\""),
        "{events:?}"
    );
}

#[test]
fn root_keeps_its_share_however_many_others_come() {
    let shares = Arc::new(Shares::new(limits(Socket::Control)));
    let crowd: Vec<_> = (1000..2000)
        .filter_map(|uid| Share::take(&shares, uid))
        .collect();
    assert_eq!(crowd.len(), limits(Socket::Control).others);
    assert!(Share::take(&shares, 0).is_some());
    drop(crowd);
    assert!(shares.held.lock().unwrap().is_empty());
    let own: Vec<_> = (0..100)
        .filter_map(|_| Share::take(&shares, 1000))
        .collect();
    assert_eq!(own.len(), limits(Socket::Control).each);
    assert!(Share::take(&shares, 1001).is_some());
}
