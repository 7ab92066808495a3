//! A host for tests: real files, real record, real grants, and sessions that need no systemd.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use jit_grant::{
    Action, Allow, Bundle, Grant, HostId, Limits, Nonce, RequestNote, SigningKey, Word,
};
use jit_local::message::control;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::accounts::{Account, Accounts};
use crate::clock::{Clock, Set};
use crate::config::Settings;
use crate::gates::Watched;
use crate::grants::{Grants, Places};
use crate::groups::LocalGroups;
use crate::handlers::{Files, Hold, Host, READING_AT_ONCE, Shown};
use crate::peer::Peer;
use crate::record::Record;
use crate::session::{Opening, Refused, SessionId};

pub(crate) const ADA: u32 = 4242;

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nada:x:4242:1::/:/bin/sh\nbob:x:4243:1::/:/bin/sh\nops:x:4244:1::/:/bin/sh\n";

/// The boot that gates are looked at in.
pub(crate) const BOOT: &str = "6b9e4d0c-0000-4000-8000-000000000001";

/// Sessions that only remember what they were asked.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<FakeState>);

#[derive(Default)]
pub(crate) struct FakeState {
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) openings: Mutex<Vec<Opening>>,
    pub(crate) containing: Mutex<Option<control::Session>>,
    pub(crate) confirmed: Mutex<VecDeque<SessionId>>,
    pub(crate) refuse: Mutex<Option<Refused>>,
    pub(crate) hang: Mutex<bool>,
    pub(crate) listed: Mutex<Vec<control::Session>>,
    /// What a login that is opened is said to have.
    pub(crate) groups: Mutex<Vec<String>>,
    pub(crate) no_audit_session: Mutex<bool>,
    pub(crate) grace: Mutex<Option<Duration>>,
    pub(crate) warnings: Mutex<Vec<Duration>>,
}

impl std::ops::Deref for Fake {
    type Target = FakeState;
    fn deref(&self) -> &FakeState {
        &self.0
    }
}

impl Fake {
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    async fn open(&self, what: &str, opening: Opening) -> Result<SessionId, Refused> {
        self.asked.lock().unwrap().push(what.to_owned());
        self.openings.lock().unwrap().push(opening);
        if *self.hang.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        match self.refuse.lock().unwrap().clone() {
            Some(refused) => Err(refused),
            None => {
                let id: SessionId = "aaaaaaaaaa".parse().unwrap();
                if what == "open_elevation" {
                    self.confirmed.lock().unwrap().push_back(id.clone());
                }
                Ok(id)
            }
        }
    }
}

impl Hold for Fake {
    fn containing(&self, _: &Peer) -> Option<control::Session> {
        self.containing.lock().unwrap().clone()
    }
    async fn open_login(&self, opening: Opening) -> Result<control::Session, Refused> {
        let login = opening.query.login.to_string();
        let live = opening.standing.clone();
        let (grant, until) = live
            .map(|live| (live.grant.to_string(), live.until.to_string()))
            .unzip();
        self.open("open_login", opening).await?;
        let groups = self.groups.lock().unwrap().clone();
        let session = session(&login, None);
        Ok(control::Session {
            grant,
            until,
            groups,
            ..session
        })
    }
    async fn open_manager(&self, opening: Opening) -> Result<SessionId, Refused> {
        self.open("open_manager", opening).await
    }
    async fn open_elevation(&self, opening: Opening) -> Result<SessionId, Refused> {
        self.open("open_elevation", opening).await
    }
    fn confirm_elevation(&self, _: &Peer) -> Option<SessionId> {
        self.asked.lock().unwrap().push("confirm_elevation".into());
        self.confirmed.lock().unwrap().pop_front()
    }
    fn goes_on_as(&self, _: &SessionId, account: Account) {
        let mut asked = self.asked.lock().unwrap();
        asked.push(format!("goes_on_as {}", account.name));
    }
    async fn adopt_scope(&self, _: &Peer) -> Result<Option<SessionId>, Refused> {
        self.asked.lock().unwrap().push("adopt_scope".into());
        match self.refuse.lock().unwrap().clone() {
            Some(refused) => Err(refused),
            None => Ok(None),
        }
    }
    async fn closed(&self, _: &Peer) {
        self.asked.lock().unwrap().push("closed".into());
    }
    fn end_connection(&self, _: Peer) {
        self.asked.lock().unwrap().push("end_connection".into());
    }
    async fn reconsider(&self) {
        self.asked.lock().unwrap().push("reconsider".into());
    }
    fn set_grace(&self, grace: Duration) {
        *self.grace.lock().unwrap() = Some(grace);
    }
    fn set_warnings(&self, before: Vec<Duration>) {
        *self.warnings.lock().unwrap() = before;
    }
    fn list(&self) -> Vec<control::Session> {
        self.listed.lock().unwrap().clone()
    }
    fn login_of(&self, id: SessionId) -> SessionId {
        id
    }
    fn given_groups(&self, _: &SessionId, gids: BTreeSet<u32>) {
        let mut asked = self.asked.lock().unwrap();
        asked.push(format!("given_groups {gids:?}"));
    }
    fn has_audit_session(&self, _: &Peer) -> bool {
        !*self.no_audit_session.lock().unwrap()
    }
}

/// A host that is enrolled with a server whose key the test has.
pub(crate) struct Fixture {
    directory: tempfile::TempDir,
    pub(crate) key: SigningKey,
    pub(crate) readings: Arc<Set>,
    pub(crate) clock: Clock,
    pub(crate) host: Arc<Host<Fake>>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::recording_in(None)
    }

    /// With the event chain in `events`, and no system log.
    pub(crate) fn recording_in(events: Option<&Path>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["state", "run"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("passwd"), PASSWD).unwrap();
        fs::write(at("nsswitch.conf"), "passwd: files\n").unwrap();
        fs::write(at("machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        let key = SigningKey::generate().unwrap();
        write_trust(&at("trust.json"), &key);
        let readings = Set::at(
            "2026-11-22T12:00:00Z".parse().unwrap(),
            Duration::from_secs(1000),
        );
        let clock = Clock::on(readings.clone(), None);
        let host = Arc::new(host(directory.path(), events, clock.clone()));
        host.believe();
        Self {
            directory,
            key,
            readings,
            clock,
            host,
        }
    }

    /// jitd starts again on the same files, and holds no sessions yet.
    pub(crate) fn started_again(&self) -> Host<()> {
        host(self.directory.path(), None, self.clock.clone()).holding(())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn fake(&self) -> &Fake {
        &self.host.sessions
    }

    /// A grant for `login` to do all three actions for an hour.
    pub(crate) fn grant(&self, number: u32, login: &str) -> Grant {
        Grant {
            id: format!("g{number}").parse().unwrap(),
            principal: format!("p{number}").parse().unwrap(),
            login: login.parse().unwrap(),
            role: "shell".parse().unwrap(),
            not_before: self.clock.now(),
            expires: self.clock.now() + Duration::from_secs(3600),
            allow: Allow {
                ssh: true,
                sudo: true,
                su: true,
                jobs: true,
            },
            keys: vec![],
            shared: false,
            limits: Limits::default(),
            request: RequestNote {
                id: "r1".parse().unwrap(),
                reason: "test".into(),
                ticket: None,
            },
            approvals: vec![],
            crit: vec![],
            statement: None,
            signatures: vec![],
            extendable_until: None,
            end_login_with_elevation: false,
        }
    }

    pub(crate) fn bundle(&self, revision: u64, grants: Vec<Grant>) -> Vec<u8> {
        let bundle = Bundle {
            host: host_id(),
            revision,
            issued_at: self.clock.now(),
            grants,
            void: vec![],
        };
        bundle.sign(&self.key).unwrap().into_bytes()
    }

    pub(crate) fn word(&self, nonce: &str, revision: u64) -> String {
        let word = Word {
            revision,
            at: self.clock.now(),
            nonce: nonce.parse::<Nonce>().unwrap(),
        };
        word.sign(&host_id(), &self.key).unwrap()
    }

    /// These grants are in force and fresh.
    pub(crate) async fn granting(self, grants: Vec<Grant>) -> Self {
        self.host
            .grants
            .take_bundle(self.bundle(7, grants))
            .await
            .unwrap();
        let nonce = self.host.grants.new_nonce().unwrap();
        self.host
            .grants
            .take_word(self.word(nonce.as_str(), 7).as_bytes())
            .unwrap();
        self
    }

    /// All events recorded, as JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        let (lines, _) = self.host.record.read_after(0, u64::MAX, 1 << 20).unwrap();
        lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone())
            .collect()
    }

    pub(crate) fn last_event(&self, kind: &str) -> Value {
        self.events()
            .into_iter()
            .rev()
            .find(|event| event["kind"] == kind)
            .unwrap()
    }
}

pub(crate) fn host_id() -> HostId {
    format!("h{}", "0".repeat(32)).parse().unwrap()
}

pub(crate) fn write_trust(path: &Path, key: &SigningKey) {
    let trust = json!({
        "server": "https://jit.example",
        "host_id": host_id(),
        "host_name": "web1",
        "machine_id": "0123456789abcdef0123456789abcdef",
        "keys": [{ "kid": key.public().kid(), "public_key": key.public() }],
    });
    fs::write(path, trust.to_string()).unwrap();
}

fn host(directory: &Path, events: Option<&Path>, clock: Clock) -> Host<Fake> {
    let at = |name: &str| directory.join(name);
    let settings = Settings {
        decision_deadline: Duration::from_millis(300),
        ..Settings::default()
    };
    let places = Places {
        state: at("state"),
        run: at("run"),
        boot_id: "boot-1".into(),
    };
    let events = events.map_or_else(|| at("events"), Path::to_owned);
    Host {
        files: Files {
            config: at("jitd.toml"),
            trust: at("trust.json"),
            machine_id: at("machine-id"),
            host_key: at("state").join("host.key"),
        },
        grants: Grants::new(
            places,
            clock.clone(),
            settings.max_staleness,
            "web1".parse().unwrap(),
        ),
        settings: RwLock::new(Arc::new(settings)),
        record: Record::open(&events, &at("no-log"), clock.clone()).unwrap(),
        accounts: Accounts::of(&at("passwd"), &at("nsswitch.conf")),
        groups: LocalGroups::of(&at("group")),
        sessions: Fake::default(),
        clock,
        key: Mutex::new(None),
        reading: Arc::new(Semaphore::new(READING_AT_ONCE)),
        shown: Shown::default(),
        refusals: Mutex::default(),
        troubles: Mutex::default(),
        gates: Arc::new(Watched::new(at("pam.d"), at("gates.json"), BOOT)),
    }
}

/// A caller: this process, as if it were root's for sshd and `real_uid`'s for sudo and su.
pub(crate) fn caller(real_uid: u32) -> Peer {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    Peer {
        uid: 0,
        real_uid,
        ..Peer::of(&ours).unwrap()
    }
}

/// A login session of `principal`, as the parent of an elevation.
pub(crate) fn session(login: &str, principal: Option<&str>) -> control::Session {
    control::Session {
        id: "bbbbbbbbbb".into(),
        kind: "login".into(),
        parent: None,
        principal: principal.map(str::to_owned),
        login: login.into(),
        service: "sshd".into(),
        scopes: vec![],
        grant: None,
        since: "2026-11-22T12:00:00Z".into(),
        until: None,
        rhost: None,
        tty: None,
        enforced: true,
        idle_after_seconds: None,
        groups: vec![],
    }
}

pub(crate) const fn only(action: Action) -> Allow {
    Allow {
        ssh: matches!(action, Action::Ssh),
        sudo: matches!(action, Action::Sudo),
        su: matches!(action, Action::Su),
        jobs: matches!(action, Action::Jobs),
    }
}

/// A file system of its own, a few pages large; needs root.
pub(crate) struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    pub(crate) fn mount(bytes: u64) -> Option<Self> {
        use nix::mount::{MsFlags, mount};
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mounted = mount(
            Some("tmpfs"),
            directory.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        );
        mounted.is_ok().then(|| Self(directory))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Nothing may be open for writing on it.
    pub(crate) fn make_read_only(&self) {
        use nix::mount::{MsFlags, mount};
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let none = None::<&str>;
        mount(none, self.path(), none, flags, none).unwrap();
    }

    pub(crate) fn fill(&self) {
        let filler = fs::File::create(self.0.path().join("filler")).unwrap();
        let mut length = 0;
        while std::os::unix::fs::FileExt::write_at(&filler, &[1; 4096], length).is_ok_and(|n| n > 0)
        {
            length += 4096;
        }
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}
