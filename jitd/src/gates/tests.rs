use super::*;
use crate::clock::Set;
use jiff::Timestamp;

const BOOT: &str = "3f2b9a50-6d1c-4c55-9e0e-0123456789ab";
const STACK: &[u8] = b"auth required pam_unix.so\n";

struct Place {
    _folder: tempfile::TempDir,
    services: PathBuf,
    kept: PathBuf,
    readings: Arc<Set>,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let readings = Set::at(Timestamp::UNIX_EPOCH, Duration::from_secs(1000));
        let place = Self {
            services: folder.path().join("pam.d"),
            kept: folder.path().join("gates.json"),
            clock: Clock::on(readings.clone(), None),
            _folder: folder,
            readings,
        };
        fs::create_dir(&place.services).unwrap();
        place
    }

    fn watched(&self) -> Arc<Watched> {
        Arc::new(Watched::new(self.services.clone(), self.kept.clone(), BOOT))
    }

    fn gate(&self, service: &str, mode: &Mode) {
        self.write(service, &jit_gate::gate(STACK, mode).unwrap());
    }

    fn write(&self, service: &str, text: &[u8]) {
        fs::write(self.services.join(service), text).unwrap();
    }

    async fn changes(
        &self,
        watched: &Arc<Watched>,
    ) -> Vec<(String, Option<GateMode>, Option<GateMode>)> {
        let look = watched.look(&self.clock).await.unwrap();
        let changes = look.changes.into_iter();
        changes
            .map(|change| (change.service.to_string(), change.was, change.is))
            .collect()
    }
}

#[tokio::test]
async fn what_changed_is_told_once_also_by_the_next_daemon() {
    let place = Place::new();
    place.gate("sshd", &Mode::Enforce);
    place.gate("su", &Mode::Monitor);
    place.write("login", STACK);
    let watched = place.watched();
    let found = [
        ("sshd".to_owned(), None, Some(GateMode::Enforce)),
        ("su".to_owned(), None, Some(GateMode::Monitor)),
    ];
    assert_eq!(place.changes(&watched).await, found);
    assert_eq!(place.changes(&watched).await, []);
    let later = place.watched();
    assert_eq!(place.changes(&later).await, []);
    // As a package does that brings its own file along.
    place.write("sshd", STACK);
    let lost = [("sshd".to_owned(), Some(GateMode::Enforce), None)];
    assert_eq!(place.changes(&place.watched()).await, lost);
    assert_eq!(place.changes(&place.watched()).await, []);
}

#[tokio::test]
async fn an_enforcement_that_nobody_confirmed_is_weaker_once_its_time_or_boot_is_over() {
    let place = Place::new();
    let until = |boot: &str| Mode::Provisional {
        until: 1060,
        boot: boot.parse().unwrap(),
    };
    place.gate("sshd", &until(BOOT));
    place.gate("su", &until("00000000-0000-0000-0000-000000000000"));
    let watched = place.watched();
    let gates = watched.look(&place.clock).await.unwrap().gates;
    assert_eq!(
        gates.into_values().collect::<Vec<_>>(),
        [GateMode::Provisional, GateMode::Monitor]
    );
    place.readings.pass(Duration::from_secs(60));
    let over = [(
        "sshd".to_owned(),
        Some(GateMode::Provisional),
        Some(GateMode::Monitor),
    )];
    assert_eq!(place.changes(&watched).await, over);
}

#[tokio::test]
async fn a_gate_that_was_tampered_with_is_damaged_and_what_pam_does_not_read_is_none() {
    let place = Place::new();
    let whole = jit_gate::gate(STACK, &Mode::Enforce).unwrap();
    let line_out: Vec<u8> = whole
        .split_inclusive(|b| *b == b'\n')
        .filter(|line| !line.starts_with(b"account"))
        .flatten()
        .copied()
        .collect();
    place.write("sshd", &line_out);
    for leftover in ["su.dpkg-old", "su.ucf-dist", "su.bak", ".su.swp", "su~"] {
        place.write(leftover, &whole);
    }
    nix::unistd::mkfifo(&place.services.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let gates = place.watched().look(&place.clock).await.unwrap().gates;
    assert_eq!(
        gates.into_iter().collect::<Vec<_>>(),
        [("sshd".parse().unwrap(), GateMode::Damaged)]
    );
    fs::remove_dir_all(&place.services).unwrap();
    assert_eq!(
        place.watched().look(&place.clock).await.unwrap().gates,
        Gates::new()
    );
}

#[tokio::test]
async fn changes_are_told_of_also_in_a_folder_that_took_the_place_of_the_first() {
    let place = Place::new();
    let changes = Changes::of(&place.watched()).unwrap();
    place.gate("sshd", &Mode::Enforce);
    changes.next().await.unwrap();
    let aside = place.services.with_extension("old");
    fs::rename(&place.services, &aside).unwrap();
    fs::create_dir(&place.services).unwrap();
    changes.next().await.unwrap();
    place.gate("sshd", &Mode::Monitor);
    changes.next().await.unwrap();
    fs::remove_dir_all(&place.services).unwrap();
    while changes.next().await.is_ok() {}
}

#[tokio::test]
async fn what_something_else_than_jitctl_made_weaker_is_lost_until_it_is_back_or_meant() {
    let place = Place::new();
    let services = ["sshd", "su", "sudo"];
    for service in services {
        place.gate(service, &Mode::Enforce);
    }
    let watched = place.watched();
    place.changes(&watched).await;
    assert!(watched.lost().is_empty());
    place.write("sshd", STACK);
    place.gate("su", &Mode::Monitor);
    place.write("sudo", STACK);
    place.changes(&watched).await;
    // A package's second file, and half of what was there.
    place.gate("sshd", &Mode::Monitor);
    place.changes(&watched).await;
    let names = |watched: &Watched| -> Vec<String> {
        let lost = watched.lost().into_iter();
        lost.map(|(service, was)| format!("{service} {}", was.word()))
            .collect()
    };
    let enforced = services.map(|service| format!("{service} enforce"));
    assert_eq!(names(&watched), enforced);
    watched.meant(&["sudo".to_owned(), "cron".to_owned()]).await;
    place.gate("sshd", &Mode::Enforce);
    place.changes(&watched).await;
    assert_eq!(names(&watched), ["su enforce"]);
    assert_eq!(names(&place.watched()), ["su enforce"], "kept on disk");
}

#[tokio::test]
async fn a_folder_that_hangs_keeps_one_thread_and_the_looks_after_it_fail() {
    let place = Place::new();
    let watched = place.watched();
    let hung = Arc::clone(&watched.turn).lock_owned().await;
    for _ in 0..3 {
        let late = watched.look(&place.clock).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
    drop(hung);
    place.gate("sshd", &Mode::Enforce);
    assert_eq!(place.changes(&watched).await.len(), 1);
}

#[tokio::test]
async fn a_trial_that_lapses_is_no_loss_and_losses_have_a_bound() {
    let place = Place::new();
    let trial = Mode::Provisional {
        until: 1060,
        boot: BOOT.parse().unwrap(),
    };
    place.gate("sshd", &trial);
    let watched = place.watched();
    place.changes(&watched).await;
    place.readings.pass(Duration::from_secs(60));
    assert_eq!(place.changes(&watched).await.len(), 1);
    assert!(watched.lost().is_empty());
    for round in 0..3 {
        let names: Vec<String> = (0..60).map(|number| format!("s{round}-{number}")).collect();
        for name in &names {
            place.gate(name, &Mode::Enforce);
        }
        place.changes(&watched).await;
        for name in &names {
            fs::remove_file(place.services.join(name)).unwrap();
        }
        place.changes(&watched).await;
    }
    assert_eq!(watched.lost().len(), HostState::MAX_GATES);
}
