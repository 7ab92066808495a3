mod laws;
mod uses;

use super::*;
use crate::clock::Set;
use crate::session::Judge;
use jit_grant::{
    Allow, Credential, Decision, Grant, HostId, Limits, Query, RequestNote, SigningKey, TrustedKeys,
};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const START: &str = "2026-11-22T12:00:00Z";
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn host_id() -> HostId {
    format!("h{}", "0".repeat(32)).parse().unwrap()
}

/// A host with its server's key, on a clock that the test moves.
struct Host {
    directory: tempfile::TempDir,
    key: SigningKey,
    readings: Arc<Set>,
    clock: Clock,
    boot_id: String,
}

impl Host {
    fn new() -> Self {
        let readings = Set::at(START.parse().unwrap(), Duration::from_secs(100));
        let clock = Clock::on(readings.clone(), None);
        let directory = tempfile::tempdir().unwrap();
        for name in ["state", "run"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self {
            directory,
            key: SigningKey::generate().unwrap(),
            readings,
            clock,
            boot_id: "boot-1".into(),
        }
    }

    fn trust(&self) -> Trust {
        Trust {
            server: "https://jit.example".into(),
            more_servers: Vec::new(),
            ca: None,
            host_id: host_id(),
            host_name: "web1".parse().unwrap(),
            keys: TrustedKeys::new(vec![self.key.public()]),
        }
    }

    fn state(&self) -> &Path {
        self.directory.path()
    }

    /// jitd starts.
    fn start(&self) -> Arc<Grants> {
        self.start_and_refuse().0
    }

    fn start_and_refuse(&self) -> (Arc<Grants>, Option<DocumentRefused>) {
        let places = Places {
            state: self.state().join("state"),
            run: self.state().join("run"),
            boot_id: self.boot_id.clone(),
        };
        let grants = Grants::new(places, self.clock.clone(), HOUR, "web1".parse().unwrap());
        let refused = grants.trust(Ok(self.trust()), HOUR);
        (grants, refused)
    }

    fn bundle(&self, revision: u64) -> Vec<u8> {
        self.bundle_for(host_id(), revision, "ada")
    }

    fn bundle_for(&self, host: HostId, revision: u64, login: &str) -> Vec<u8> {
        self.bundle_at(host, revision, login, self.clock.now())
    }

    /// As a server makes it whose time this is.
    fn bundle_at(&self, host: HostId, revision: u64, login: &str, now: Timestamp) -> Vec<u8> {
        let grants = vec![self.grant_at(login, now)];
        self.bundle_of(host, revision, now, grants)
    }

    fn grant_at(&self, login: &str, now: Timestamp) -> Grant {
        Grant {
            id: "g1".parse().unwrap(),
            principal: "ada".parse().unwrap(),
            login: login.parse().unwrap(),
            role: "shell".parse().unwrap(),
            not_before: now,
            expires: now + 10 * HOUR,
            allow: Allow {
                ssh: true,
                ..Allow::default()
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

    fn bundle_of(
        &self,
        host: HostId,
        revision: u64,
        now: Timestamp,
        grants: Vec<Grant>,
    ) -> Vec<u8> {
        let bundle = Bundle {
            host,
            revision,
            issued_at: now,
            grants,
            void: vec![],
        };
        bundle.sign(&self.key).unwrap().into_bytes()
    }

    fn word(&self, nonce: Nonce, revision: u64) -> Vec<u8> {
        Word {
            revision,
            at: self.clock.now(),
            nonce,
        }
        .sign(&host_id(), &self.key)
        .unwrap()
        .into_bytes()
    }

    fn say(&self, grants: &Grants, revision: u64) -> Result<(), DocumentRefused> {
        grants.take_word(&self.word(grants.new_nonce().unwrap(), revision))
    }
}

fn query() -> Query {
    Query {
        login: "ada".parse().unwrap(),
        action: Action::Ssh,
        credential: Credential::Pending,
        rhost: None,
        tty: None,
        service: "sshd".into(),
        now: Timestamp::UNIX_EPOCH,
        within: None,
        used: BTreeSet::new(),
        groups: BTreeSet::new(),
        lacking: BTreeSet::new(),
    }
}

fn ask(grants: &Grants) -> Result<String, Code> {
    match grants.decide(&query()) {
        Decision::Allow(allowed) => Ok(allowed.grant.to_string()),
        Decision::Refuse(refusal) => Err(refusal.code),
    }
}

#[tokio::test]
async fn grants_count_only_once_the_server_was_heard() {
    let host = Host::new();
    let grants = host.start();
    assert_eq!(ask(&grants), Err(Code::NotEnrolled));
    grants.take_bundle(host.bundle(7)).await.unwrap();
    assert_eq!(ask(&grants), Err(Code::NoWord));
    host.say(&grants, 7).unwrap();
    assert_eq!(ask(&grants), Ok("g1".into()));
}

#[tokio::test]
async fn the_age_of_a_word_runs_from_the_making_of_its_nonce() {
    let host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    let nonce = grants.new_nonce().unwrap();
    host.readings.pass(HOUR - Duration::from_secs(1));
    grants.take_word(&host.word(nonce, 7)).unwrap();
    assert_eq!(ask(&grants), Ok("g1".into()));
    host.readings.pass(Duration::from_secs(2));
    assert_eq!(ask(&grants), Err(Code::Stale));
    assert_eq!(grants.fresh_for(), None);
}

#[tokio::test]
async fn setting_the_wall_clock_keeps_nothing_fresh() {
    let host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    host.say(&grants, 7).unwrap();
    host.readings.pass(HOUR + Duration::from_secs(1));
    host.readings.set_wall(START.parse().unwrap());
    assert_eq!(ask(&grants), Err(Code::Stale));
}

#[tokio::test]
async fn a_word_counts_once_and_only_for_a_nonce_of_ours() {
    let host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    let foreign = host.word(Nonce::generate().unwrap(), 7);
    assert_eq!(
        grants.take_word(&foreign),
        Err(DocumentRefused::NotOurNonce)
    );
    let word = host.word(grants.new_nonce().unwrap(), 7);
    grants.take_word(&word).unwrap();
    assert_eq!(grants.take_word(&word), Err(DocumentRefused::NotOurNonce));
}

#[tokio::test]
async fn nonces_are_remembered_in_a_bounded_number() {
    let host = Host::new();
    let grants = host.start();
    let first = grants.new_nonce().unwrap();
    for _ in 0..100 {
        grants.new_nonce().unwrap();
    }
    assert_eq!(
        grants.take_word(&host.word(first, 0)),
        Err(DocumentRefused::NotOurNonce)
    );
    assert!(grants.lock().freshness.heard().is_none());
}

#[tokio::test]
async fn a_word_that_names_a_newer_revision_does_not_keep_the_old_one_fresh() {
    let host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    host.say(&grants, 7).unwrap();
    host.readings.pass(HOUR - Duration::from_secs(1));
    assert!(matches!(
        host.say(&grants, 8),
        Err(DocumentRefused::NewerRevision { server: 8, held: 7 })
    ));
    host.readings.pass(Duration::from_secs(2));
    assert_eq!(ask(&grants), Err(Code::Stale));
    // The bundle it spoke of arrives: now that word counts.
    grants.take_bundle(host.bundle(8)).await.unwrap();
    assert_eq!(ask(&grants), Ok("g1".into()));
}

#[tokio::test]
async fn a_newer_bundle_is_as_fresh_as_what_was_heard_before_it() {
    let host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    host.say(&grants, 7).unwrap();
    grants.take_bundle(host.bundle(8)).await.unwrap();
    assert_eq!(ask(&grants), Ok("g1".into()));
}

#[tokio::test]
async fn after_a_restart_of_jitd_in_the_same_boot_the_last_word_goes_on_ageing() {
    let host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    host.say(&grants, 7).unwrap();
    host.readings.pass(HOUR / 2);
    let grants = host.start();
    assert_eq!(ask(&grants), Ok("g1".into()));
    host.readings.pass(HOUR / 2 + Duration::from_secs(1));
    assert_eq!(ask(&grants), Err(Code::Stale));
}

#[tokio::test]
async fn after_a_reboot_nothing_counts_until_a_new_word_came() {
    let mut host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    host.say(&grants, 7).unwrap();
    host.boot_id = "boot-2".into();
    let grants = host.start();
    assert_eq!(ask(&grants), Err(Code::NoWord));
    host.say(&grants, 7).unwrap();
    assert_eq!(ask(&grants), Ok("g1".into()));
}

#[tokio::test]
async fn lost_state_never_makes_an_older_bundle_count() {
    let mut host = Host::new();
    let grants = host.start();
    let old = host.bundle(7);
    grants.take_bundle(host.bundle(8)).await.unwrap();
    host.say(&grants, 8).unwrap();
    for name in ["state.json", "bundle.jws"] {
        fs::remove_file(host.state().join("state").join(name)).unwrap();
    }
    // In the same boot, what was heard names the revision.
    let grants = host.start();
    assert!(matches!(
        grants.take_bundle(old.clone()).await,
        Err(DocumentRefused::LowerRevision { .. })
    ));
    // In another, the older bundle is taken but does not count, and a true word says that there is a newer one.
    host.boot_id = "boot-2".into();
    let grants = host.start();
    grants.take_bundle(old).await.unwrap();
    assert_eq!(ask(&grants), Err(Code::NoWord));
    assert!(host.say(&grants, 8).is_err());
    assert_eq!(ask(&grants), Err(Code::NoWord));
}

#[tokio::test]
async fn bundles_that_are_not_believed_change_nothing() {
    let host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    host.say(&grants, 7).unwrap();
    let good = host.bundle(8);
    let stranger = Host::new();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let other_host = host.bundle_for(format!("h{}", "1".repeat(32)).parse().unwrap(), 8, "ada");
    for (document, code) in [
        (stranger.bundle(8), Code::UnknownKey),
        (flipped, Code::BadSignature),
        (other_host, Code::OtherHost),
        (host.bundle(6), Code::LowerRevision),
        (vec![b'a'; Bundle::MAX_BYTES + 1], Code::BundleTooLarge),
        (good[..good.len() - 10].to_vec(), Code::BadSignature),
        (good[..100].to_vec(), Code::Unparsable),
        (vec![0xff; 100], Code::Unparsable),
        (vec![], Code::Unparsable),
        (host.word(grants.new_nonce().unwrap(), 8), Code::WrongKind),
    ] {
        let before = fs::read(host.state().join("state/bundle.jws")).unwrap();
        let refused = grants.take_bundle(document).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert_eq!(grants.overview().revision, Some(7));
        assert_eq!(
            fs::read(host.state().join("state/bundle.jws")).unwrap(),
            before
        );
        assert_eq!(ask(&grants), Ok("g1".into()));
    }
}

#[tokio::test]
async fn a_bundle_changed_on_disk_is_not_believed_at_start() {
    let host = Host::new();
    host.start().take_bundle(host.bundle(7)).await.unwrap();
    let path = host.state().join("state/bundle.jws");
    let mut document = fs::read(&path).unwrap();
    let middle = document.len() / 2;
    document[middle] ^= 1;
    fs::write(&path, document).unwrap();
    let (grants, refused) = host.start_and_refuse();
    assert_eq!(refused, Some(DocumentRefused::BadSignature));
    assert_eq!(ask(&grants), Err(Code::NotEnrolled));
}

#[tokio::test]
async fn a_revocation_takes_effect_although_the_disk_takes_nothing() {
    let host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    host.say(&grants, 7).unwrap();
    fs::rename(host.state().join("state"), host.state().join("gone")).unwrap();
    let revoked = host.bundle_for(host_id(), 8, "bob");
    let taken = grants.take_bundle(revoked).await.unwrap();
    assert!(matches!(
        taken,
        Taken::InForce {
            revision: 8,
            not_stored: Some(_),
            ..
        }
    ));
    assert_eq!(ask(&grants), Err(Code::NoGrant));
}

#[tokio::test]
async fn the_same_bundle_again_is_known_already() {
    let host = Host::new();
    let grants = host.start();
    let bundle = host.bundle(7);
    grants.take_bundle(bundle.clone()).await.unwrap();
    assert_eq!(grants.take_bundle(bundle).await, Ok(Taken::Known));
}

#[tokio::test]
async fn another_server_starts_from_nothing() {
    let host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    host.say(&grants, 7).unwrap();
    let mut other = Host::new();
    other.key = SigningKey::generate().unwrap();
    assert_eq!(
        grants
            .trust(Ok(other.trust()), HOUR)
            .map(|refused| refused.code()),
        Some(Code::UnknownKey)
    );
    assert_eq!(ask(&grants), Err(Code::NotEnrolled));
}

#[tokio::test]
async fn the_highest_time_seen_outlives_a_restart() {
    let host = Host::new();
    let grants = host.start();
    host.readings.pass(HOUR);
    grants.take_bundle(host.bundle(7)).await.unwrap();
    let places = Places {
        state: host.state().join("state"),
        run: host.state().join("run"),
        boot_id: "boot-9".into(),
    };
    assert_eq!(
        Grants::highest_time(&places),
        Some(START.parse::<Timestamp>().unwrap() + HOUR)
    );
}

#[tokio::test]
async fn a_killed_jitd_whose_clock_is_set_back_meanwhile_goes_on_from_the_time_it_had() {
    let mut host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    host.readings.pass(HOUR);
    host.say(&grants, 7).unwrap();
    host.readings.pass(HOUR / 2);
    let reached = host.clock.now();
    host.readings.set_wall(START.parse().unwrap());
    let kept = Grants::highest_time(&Places {
        state: host.state().join("state"),
        run: host.state().join("run"),
        boot_id: host.boot_id.clone(),
    });
    host.clock = Clock::on(host.readings.clone(), kept);
    assert!(host.clock.now() < reached);
    host.start();
    assert_eq!(host.clock.now(), reached);
}

#[tokio::test]
async fn a_grant_is_known_until_a_bundle_comes_without_it() {
    let host = Host::new();
    let grants = host.start();
    let g1 = "g1".parse().unwrap();
    assert!(grants.knows(&g1), "nothing says that it was withdrawn");
    grants.take_bundle(host.bundle(5)).await.unwrap();
    assert!(grants.knows(&g1));
    assert!(!grants.knows(&"g2".parse().unwrap()));
}

#[tokio::test]
async fn t25_after_a_server_went_a_day_ahead_unheard_a_word_tells_the_time_and_a_new_grant_ends_on_time()
 {
    let host = Host::new();
    let grants = host.start();
    grants.take_bundle(host.bundle(7)).await.unwrap();
    host.say(&grants, 7).unwrap();
    let tomorrow = host.clock.now() + 24 * HOUR;
    let newer = host.bundle_at(host_id(), 8, "ada", tomorrow);
    let refused = grants.take_bundle(newer.clone()).await;
    assert!(matches!(refused, Err(DocumentRefused::FromTheFuture(_))));
    // What it had is in force: by the clock that nobody set its time is not over.
    assert_eq!(ask(&grants), Ok("g1".into()));
    let word = Word {
        revision: 8,
        at: tomorrow,
        nonce: grants.new_nonce().unwrap(),
    };
    let word = word.sign(&host_id(), &host.key).unwrap().into_bytes();
    assert!(matches!(
        grants.take_word(&word),
        Err(DocumentRefused::NewerRevision { .. })
    ));
    assert_eq!(ask(&grants), Err(Code::Expired));
    grants.take_bundle(newer).await.unwrap();
    host.readings.pass(10 * HOUR - Duration::from_secs(1));
    host.say(&grants, 8).unwrap();
    assert_eq!(ask(&grants), Ok("g1".into()));
    host.readings.pass(Duration::from_secs(1));
    assert_eq!(ask(&grants), Err(Code::Expired));
}
