//! Laws of time (T24, T25): whatever the wall clock does, whenever words come, however often jitd or the machine starts again.

use super::*;
use crate::clock::Readings;
use proptest::prelude::*;

const LASTS: Duration = HOUR.saturating_mul(10);

/// What happens to a host.
#[derive(Debug, Clone)]
enum Step {
    /// Time passes, awake or suspended: the boot clock does not tell the difference, and neither does a server elsewhere.
    Pass(Duration),
    /// Somebody sets the wall clock.
    Wall(Timestamp),
    /// A nonce is made, and its word comes so much later.
    Word(Duration),
    /// jitd is killed and starts again.
    Restart,
    /// The machine is off for so long, and starts with this on its wall clock.
    Reboot(Duration, Timestamp),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let minutes = |most: u64| (0..most).prop_map(|n| Duration::from_secs(60 * n));
    // From two days before to two days after.
    let wall = || (-2880i64..2880).prop_map(|n| start() + jiff::SignedDuration::from_mins(n));
    let step = prop_oneof![
        3 => minutes(120).prop_map(Step::Pass),
        2 => wall().prop_map(Step::Wall),
        4 => minutes(30).prop_map(Step::Word),
        1 => Just(Step::Restart),
        1 => (minutes(180), wall()).prop_map(|(off, wall)| Step::Reboot(off, wall)),
    ];
    prop::collection::vec(step, 1..24)
}

fn start() -> Timestamp {
    START.parse().unwrap()
}

/// A host, and what nobody on it can know: the true time, which its server has.
struct World {
    host: Host,
    grants: Arc<Grants>,
    passed: Duration,
    boots: u32,
    /// Times that were signed, with the boot clock's at their hearing; of this boot.
    signed: Vec<(Timestamp, Duration)>,
    /// When the last nonce that was answered in this boot was made.
    asked: Option<Duration>,
}

impl World {
    async fn new() -> Self {
        let host = Host::new();
        let grants = host.start();
        grants.take_bundle(host.bundle(7)).await.unwrap();
        Self {
            signed: vec![(start(), host.clock.boot())],
            host,
            grants,
            passed: Duration::ZERO,
            boots: 1,
            asked: None,
        }
    }

    fn truly(&self) -> Timestamp {
        start() + self.passed
    }

    fn pass(&mut self, time: Duration) {
        self.passed += time;
        self.host.readings.pass(time);
    }

    fn hear(&mut self, on_its_way: Duration) {
        let (nonce, made_at) = (self.grants.new_nonce().unwrap(), self.host.clock.boot());
        let word = Word {
            revision: 7,
            at: self.truly(),
            nonce,
        };
        self.pass(on_its_way);
        let word_signed = word.sign(&host_id(), &self.host.key).unwrap();
        self.grants.take_word(word_signed.as_bytes()).unwrap();
        self.signed.push((word.at, self.host.clock.boot()));
        self.asked = Some(made_at);
    }

    fn start_again(&mut self) {
        let kept = Grants::highest_time(&Places {
            state: self.host.state().join("state"),
            run: self.host.state().join("run"),
            boot_id: self.host.boot_id.clone(),
        });
        self.host.clock = Clock::on(self.host.readings.clone(), kept);
        self.grants = self.host.start();
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Pass(time) => self.pass(time),
            Step::Wall(wall) => self.host.readings.set_wall(wall),
            Step::Word(on_its_way) => self.hear(on_its_way),
            Step::Restart => {
                // Without a word nothing is kept for this boot; the disk has the time of the bundle.
                if self.asked.is_none() {
                    self.signed = vec![(start(), self.host.clock.boot())];
                }
                self.start_again();
            }
            Step::Reboot(off, wall) => {
                self.passed += off;
                self.boots += 1;
                self.host.boot_id = format!("boot-{}", self.boots);
                self.host.readings = Set::at(wall, Duration::from_secs(5));
                self.signed = vec![(start(), self.host.readings.boot())];
                self.asked = None;
                self.start_again();
            }
        }
    }

    /// What must hold after every step.
    fn obeys(&self) -> Result<(), TestCaseError> {
        let (now, boot) = (self.host.clock.now(), self.host.clock.boot());
        for (at, heard) in &self.signed {
            prop_assert!(
                now >= *at + (boot - *heard),
                "time fell below a signed time and what has passed since"
            );
        }
        if ask(&self.grants).is_err() {
            return Ok(());
        }
        let asked = self.asked;
        prop_assert!(asked.is_some(), "grants count without a word in this boot");
        prop_assert!(
            asked.is_some_and(|asked| boot - asked <= HOUR),
            "grants count beyond max_staleness"
        );
        for (at, heard) in &self.signed {
            prop_assert!(
                *at + (boot - *heard) < start() + LASTS,
                "a grant is longer than its expiry on the boot clock since a word"
            );
        }
        Ok(())
    }
}

fn run(
    steps: Vec<Step>,
    check: impl Fn(&mut World) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut world = runtime.block_on(World::new());
    for step in steps {
        world.take(step);
        world.obeys()?;
    }
    check(&mut world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn t25_no_steps_suspends_words_or_restarts_make_a_grant_longer(steps in steps()) {
        run(steps, |_| Ok(()))?;
    }

    #[test]
    fn t25_with_the_wall_clock_put_right_and_a_word_nobody_stays_locked_out(steps in steps()) {
        run(steps, |world| {
            world.host.readings.set_wall(world.truly());
            world.hear(Duration::ZERO);
            let live = world.truly() < start() + LASTS;
            prop_assert_eq!(ask(&world.grants).is_ok(), live);
            Ok(())
        })?;
    }

    #[test]
    fn t24_a_word_for_no_nonce_that_waits_keeps_nothing_fresh(steps in steps()) {
        run(steps, |world| {
            let answered = world.grants.new_nonce().unwrap();
            let first = world.host.word(answered.clone(), 7);
            world.grants.take_word(&first).unwrap();
            let heard = || world.grants.lock().freshness.heard();
            let before = heard();
            for nonce in [answered, Nonce::generate().unwrap()] {
                let word = world.host.word(nonce, 7);
                prop_assert_eq!(world.grants.take_word(&word), Err(DocumentRefused::NotOurNonce));
                prop_assert_eq!(heard(), before);
            }
            Ok(())
        })?;
    }
}
