//! A jitd that takes what it is told to take and remembers what it was offered.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jit_local::call::{Call, Nothing, Reply};
use jit_local::descriptor;
use jit_local::frame::{Decoder, encode};
use jit_local::message::sync::{self, After, Events, Hello, Keys, Taken, Trouble};
use rustix::fs::{SealFlags, fcntl_get_seals};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    Bundle(String),
    Word,
    Keys(Vec<String>),
    NotEnrolled,
}

#[derive(Clone)]
pub(crate) struct Host(Arc<Inner>);

struct Inner {
    socket: PathBuf,
    state: Mutex<State>,
    recorded: Notify,
    restart: Notify,
    troubled: Notify,
    said: mpsc::UnboundedSender<Offered>,
    heard: tokio::sync::Mutex<mpsc::UnboundedReceiver<Offered>>,
}

#[derive(Default)]
struct State {
    server: String,
    ca: Option<String>,
    revision: u64,
    hellos: u64,
    events: Vec<String>,
    refuse_bundles: bool,
    refuse_words: bool,
    sealed: bool,
    trouble: Option<String>,
}

impl Host {
    pub(crate) fn at(socket: &Path, server: &str) -> Self {
        let (said, heard) = mpsc::unbounded_channel();
        let state = State {
            server: server.to_owned(),
            ..State::default()
        };
        let host = Self(Arc::new(Inner {
            socket: socket.to_owned(),
            state: Mutex::new(state),
            recorded: Notify::new(),
            restart: Notify::new(),
            troubled: Notify::new(),
            said,
            heard: tokio::sync::Mutex::new(heard),
        }));
        tokio::spawn(
            host.clone()
                .serve(UnixListener::bind(&host.0.socket).unwrap()),
        );
        host
    }

    pub(crate) async fn offered(&self) -> Offered {
        self.0.heard.lock().await.recv().await.unwrap()
    }

    pub(crate) async fn offered_word(&self) {
        while self.offered().await != Offered::Word {}
    }

    pub(crate) async fn offered_bundle(&self) -> String {
        loop {
            if let Offered::Bundle(bundle) = self.offered().await {
                return bundle;
            }
        }
    }

    pub(crate) async fn said_not_enrolled(&self) {
        while self.offered().await != Offered::NotEnrolled {}
    }

    /// What it is told next that keeps the server from being heard.
    pub(crate) async fn told_of_trouble(&self) -> String {
        loop {
            let troubled = self.0.troubled.notified();
            if let Some(what) = self.0.state.lock().unwrap().trouble.take() {
                return what;
            }
            troubled.await;
        }
    }

    pub(crate) fn last_bundle_was_sealed(&self) -> bool {
        self.0.state.lock().unwrap().sealed
    }

    pub(crate) fn refuse_bundles(&self, refuse: bool) {
        self.0.state.lock().unwrap().refuse_bundles = refuse;
    }

    pub(crate) fn refuse_words(&self, refuse: bool) {
        self.0.state.lock().unwrap().refuse_words = refuse;
    }

    /// An empty address: enrolled with nobody.
    pub(crate) fn enrol_with(&self, server: &str) {
        self.0.state.lock().unwrap().server = server.to_owned();
    }

    /// With a server elsewhere.
    pub(crate) fn enrol_elsewhere(&self, server: &str, ca: &str) {
        let mut state = self.0.state.lock().unwrap();
        state.server = server.to_owned();
        state.ca = Some(ca.to_owned());
    }

    pub(crate) fn record(&self, count: usize) {
        let events = &mut self.0.state.lock().unwrap().events;
        for _ in 0..count {
            let seq = events.len() + 1;
            events.push(format!("event {seq}"));
        }
        self.0.recorded.notify_waiters();
    }

    /// Its callers' connections break; the socket stays, as systemd keeps it.
    pub(crate) fn restart_without_state(&self) {
        self.0.state.lock().unwrap().revision = 0;
        self.0.restart.notify_one();
    }

    async fn serve(self, listener: UnixListener) {
        let mut callers = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    callers.spawn(self.clone().answer(accepted.unwrap().0));
                }
                () = self.0.restart.notified() => callers.shutdown().await,
            }
        }
    }

    async fn answer(self, mut caller: UnixStream) {
        let Some((call, file)) = receive(&caller).await else {
            return;
        };
        let reply = match call.method.as_str() {
            sync::HELLO => self.hello(),
            sync::BUNDLE => self.bundle(file.unwrap()),
            sync::WORD => self.word(),
            sync::KEYS => {
                let chain = call.parameters::<Keys>().unwrap().chain;
                self.taken(Offered::Keys(chain), false)
            }
            sync::TROUBLE => self.trouble(call.parameters::<Trouble>().unwrap().what),
            sync::EVENTS => self.events(call.parameters::<After>().unwrap().seq).await,
            other => panic!("{other}"),
        };
        // The caller may have gone meanwhile, as at the end of a test.
        let _ = caller.write_all(&encode(&reply).unwrap()).await;
    }

    fn hello(&self) -> Reply {
        let mut state = self.0.state.lock().unwrap();
        if state.server.is_empty() {
            let _ = self.0.said.send(Offered::NotEnrolled);
            return Reply::failed("io.jit.Sync.NotEnrolled");
        }
        state.hellos += 1;
        Reply::done(&Hello {
            server: state.server.clone(),
            host_id: "h0123".to_owned(),
            token: format!("token-{}", state.hellos),
            nonce: format!("nonce-{}", state.hellos),
            revision: state.revision,
            more_servers: Vec::new(),
            ca: state.ca.clone(),
            state: Some(format!("state-{}", state.hellos)),
        })
        .unwrap()
    }

    fn bundle(&self, mut file: File) -> Reply {
        let mut bundle = String::new();
        file.read_to_string(&mut bundle).unwrap();
        let mut state = self.0.state.lock().unwrap();
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        state.sealed = fcntl_get_seals(&file).unwrap().contains(seals);
        if !state.refuse_bundles {
            state.revision = revision(&bundle);
        }
        self.taken(Offered::Bundle(bundle), state.refuse_bundles)
    }

    fn word(&self) -> Reply {
        let refuse = self.0.state.lock().unwrap().refuse_words;
        self.taken(Offered::Word, refuse)
    }

    fn trouble(&self, what: String) -> Reply {
        self.0.state.lock().unwrap().trouble = Some(what);
        self.0.troubled.notify_one();
        Reply::done(&Nothing {}).unwrap()
    }

    fn taken(&self, what: Offered, refuse: bool) -> Reply {
        let _ = self.0.said.send(what);
        Reply::done(&Taken {
            taken: !refuse,
            code: refuse.then(|| "JIT-201".to_owned()),
        })
        .unwrap()
    }

    async fn events(&self, after: u64) -> Reply {
        loop {
            let recorded = self.0.recorded.notified();
            let lines: Vec<_> = self
                .0
                .state
                .lock()
                .unwrap()
                .events
                .iter()
                .skip(usize::try_from(after).unwrap())
                .take(2)
                .cloned()
                .collect();
            if !lines.is_empty() {
                return Reply::done(&Events {
                    lines,
                    checkpoint: Some("check.point.x".to_owned()),
                })
                .unwrap();
            }
            recorded.await;
        }
    }
}

/// The bundles here begin with their revision: `7.b.c`.
fn revision(bundle: &str) -> u64 {
    bundle.split('.').next().unwrap().parse().unwrap()
}

/// None where the caller goes away before it has said anything.
async fn receive(caller: &UnixStream) -> Option<(Call, Option<File>)> {
    let mut decoder = Decoder::new();
    let mut file = None;
    loop {
        let mut buffer = [0; 4096];
        caller.readable().await.unwrap();
        let received = caller.try_io(Interest::READABLE, || {
            descriptor::receive(caller, &mut buffer)
        });
        let (count, descriptor) = match received {
            Ok((0, _)) => return None,
            Ok(received) => received,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        };
        file = file.or(descriptor.map(File::from));
        if let Some(message) = decoder.take(&mut &buffer[..count]).unwrap() {
            return Some((Call::parse(&message).unwrap(), file));
        }
    }
}
