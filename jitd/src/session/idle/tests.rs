use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

const QUARTER: u32 = 900;

/// A login as somebody would see it who had both clocks: `wall` is ahead of `boot` by what it was set to.
struct Login {
    idle: Idle,
    boot: u64,
    ahead: i64,
    seen: Seen,
}

impl Login {
    /// Left alone for `time` seconds at most, with a terminal at which something was typed as it began.
    fn new(time: u32) -> Self {
        let mut login = Self {
            idle: Idle::begin(time.try_into().unwrap(), Duration::from_secs(1000)),
            boot: 1000,
            ahead: 1_795_348_800,
            seen: Seen::default(),
        };
        login.types();
        login
    }

    fn wall(&self) -> i64 {
        self.ahead + i64::try_from(self.boot).unwrap()
    }

    /// As the kernel keeps it: the first second of those that differ in nothing but their lowest three bits.
    fn types(&mut self) {
        let now = self.wall();
        let used = self.seen.terminals.entry(0).or_default();
        if used.is_none_or(|used| (used ^ now) & !7 != 0) {
            *used = Some(now);
        }
    }

    fn look(&mut self) -> Verdict {
        self.look_at(Some(self.seen.clone()).as_ref())
    }

    fn look_at(&mut self, seen: Option<&Seen>) -> Verdict {
        let boot = Duration::from_secs(self.boot);
        let wall = Timestamp::from_second(self.wall()).unwrap();
        self.idle.see(seen, Now { boot, wall });
        self.idle.judge(boot)
    }

    /// Goes on until it is to be looked at, and looks.
    fn next(&mut self) -> Verdict {
        let next = self.idle.next_look();
        assert!(next > Duration::from_secs(self.boot), "looked at for ever");
        self.boot = next.as_secs() + u64::from(next.subsec_nanos() > 0);
        self.look()
    }

    /// Goes on until people are told, and says how long before the end that is. None where the end comes first.
    fn told(&mut self) -> Option<Duration> {
        loop {
            match self.next() {
                Verdict::Wait => {}
                Verdict::Tell(left) => return Some(left),
                Verdict::Over => return None,
            }
        }
    }

    /// Looks whenever it is time to, and does `each` before; says after how many seconds it was over, if it was within `most`.
    fn over_after(&mut self, most: u64, mut each: impl FnMut(&mut Self)) -> Option<u64> {
        let began = self.boot;
        while self.boot < began + most {
            self.boot += 1;
            each(self);
            if self.idle.next_look() <= Duration::from_secs(self.boot)
                && self.look() == Verdict::Over
            {
                return Some(self.boot - began);
            }
        }
        None
    }
}

#[test]
fn a_terminal_at_which_nobody_types_ends_in_its_time_and_one_step_of_the_kernel_s() {
    for time in [60, QUARTER, 43_200] {
        let after = Login::new(time).over_after(100_000, |_| {}).unwrap();
        let time = u64::from(time);
        assert!((time..=time + 8).contains(&after), "{time}: {after}");
    }
}

#[test]
fn one_at_which_somebody_types_goes_on_and_people_are_told_once_of_each_end() {
    let mut login = Login::new(QUARTER);
    let typed = |login: &mut Login| {
        if login.boot.is_multiple_of(800) {
            login.types();
        }
    };
    assert_eq!(login.over_after(20_000, typed), None);
    let mut login = Login::new(QUARTER);
    assert_eq!(login.told(), Some(TOLD_BEFORE));
    assert_eq!(login.look(), Verdict::Wait, "told once");
    login.types();
    assert_eq!(login.next(), Verdict::Wait, "somebody typed");
    assert_eq!(login.told(), Some(TOLD_BEFORE), "told of the next end");
    assert_eq!(login.told(), None, "told once");
}

#[test]
fn a_time_shorter_than_two_minutes_is_told_of_in_its_middle() {
    assert_eq!(Login::new(60).told(), Some(Duration::from_secs(30)));
}

#[test]
fn commands_that_come_and_go_beside_a_terminal_keep_a_login() {
    let mut login = Login::new(QUARTER);
    // A copy a minute, each over before anybody looks.
    let copies = |login: &mut Login| {
        if login.boot.is_multiple_of(60) {
            login.seen.ended += 1;
        }
    };
    assert_eq!(login.over_after(20_000, copies), None);
    let after = login.over_after(20_000, |_| {}).unwrap();
    assert!((800..=915).contains(&after), "{after}");
}

#[test]
fn connections_that_come_and_go_beside_a_terminal_keep_a_login() {
    let mut login = Login::new(QUARTER);
    // A page now and then, over a connection that stands for 5 s each: no look in the minute before the end would see one.
    let pages = |login: &mut Login| {
        let stands = login.boot % 97 < 5;
        login.seen.traffic = stands.then_some(Some(login.boot * 1_000));
    };
    assert_eq!(login.over_after(20_000, pages), None);
}

#[test]
fn nobody_is_looked_at_more_often_than_that() {
    let mut login = Login::new(QUARTER);
    let mut looks = 0;
    while login.next() != Verdict::Over {
        looks += 1;
    }
    assert!(looks <= 900 / LOOK.as_secs() + 1, "{looks}");
}

#[test]
fn the_latest_of_several_terminals_counts() {
    let mut login = Login::new(60);
    login.seen.terminals.insert(7, Some(login.wall()));
    let after = login.over_after(1_000, |login| {
        if login.boot == 1_050 {
            login.seen.terminals.insert(7, Some(login.wall()));
        }
    });
    assert!((110..=118).contains(&after.unwrap()), "{after:?}");
}

#[test]
fn what_goes_over_the_connection_keeps_a_login_and_keepalives_do_not() {
    let flowing = |bytes: u64| {
        let mut login = Login::new(60);
        login.seen.terminals.clear();
        let mut read = 0;
        login.over_after(1_000, |login| {
            read += bytes;
            login.seen.traffic = Some(Some(read));
        })
    };
    assert_eq!(flowing(2 * KEEPALIVES), None);
    assert!(flowing(0).unwrap() <= 75, "its time and a quarter");
    assert!(flowing(KEEPALIVES).unwrap() <= 75);
}

#[test]
fn a_keepalive_between_two_looks_that_come_one_after_the_other_is_nothing_done() {
    let mut login = Login::new(QUARTER);
    login.seen.traffic = Some(Some(10_000));
    login.next();
    let done = login.idle.last();
    login.boot += 1;
    login.seen.traffic = Some(Some(10_052));
    login.look();
    assert_eq!(login.idle.last(), done);
}

#[test]
fn keepalives_during_looks_that_could_not_read_are_nothing_done() {
    let mut login = Login::new(QUARTER);
    login.seen.traffic = Some(Some(10_000));
    login.next();
    let done = login.idle.last();
    for (after, traffic) in [(15, None), (15, None), (15, Some(10_000 + 45 * KEEPALIVES))] {
        login.boot += after;
        login.seen.traffic = Some(traffic);
        login.look();
    }
    assert_eq!(login.idle.last(), done);
}

#[test]
fn after_a_long_time_without_a_look_whatever_went_over_the_connection_counts() {
    // jitd was away for half of the time, or the machine slept.
    for (read, kept) in [(10_000, false), (10_500, true)] {
        let mut login = Login::new(43_200);
        login.seen.traffic = Some(Some(10_000));
        login.next();
        login.boot += 21_600;
        login.seen.traffic = Some(Some(read));
        login.look();
        let is_now = login.idle.last() == Duration::from_secs(login.boot);
        assert_eq!(is_now, kept, "{read}");
    }
}

#[test]
fn output_at_a_terminal_is_nothing_done_and_a_command_beside_it_counts_while_it_is_there() {
    let mut login = Login::new(60);
    assert_eq!(login.next(), Verdict::Wait);
    // A copy over the same connection, for five minutes.
    let mut read = 0;
    let after = login.over_after(1_000, |login| {
        read += 1_000;
        login.seen.traffic = (login.boot < 1_300).then_some(Some(read));
    });
    assert!((345..=375).contains(&(after.unwrap() + 15)), "{after:?}");
}

#[test]
fn what_can_not_be_read_counts_from_when_it_last_could() {
    let mut login = Login::new(60);
    login.look();
    let unreadable = [
        None,
        Some(Seen {
            terminals: [(0, None)].into(),
            traffic: Some(None),
            ended: 0,
        }),
    ];
    for seen in unreadable {
        let mut login = Login {
            idle: login.idle.clone(),
            seen: login.seen.clone(),
            ..login
        };
        login.boot = 1_070;
        assert_eq!(login.look_at(seen.as_ref()), Verdict::Over);
        // What was known stays known: it is nothing new when it can be read again.
        assert_eq!(login.look(), Verdict::Over);
    }
}

#[test]
fn a_clock_that_is_set_ends_nobody_s_login_and_keeps_none() {
    for step in [-86_400, -60, 60, 86_400] {
        let mut login = Login::new(QUARTER);
        login.next();
        login.ahead += step;
        let after = login.over_after(100_000, |_| {}).unwrap();
        assert!(after <= 900, "{step}: nobody types, {after}");
        let mut login = Login::new(QUARTER);
        login.next();
        login.types();
        login.ahead += step;
        let typed = |login: &mut Login| {
            if login.boot.is_multiple_of(800) {
                login.types();
            }
        };
        assert_eq!(login.over_after(20_000, typed), None, "{step}");
        let after = login.over_after(100_000, |_| {}).unwrap();
        assert!(after <= 2 * 900, "{step}: nobody types any more, {after}");
    }
}

#[test]
fn time_in_which_the_machine_slept_counts() {
    let mut login = Login::new(QUARTER);
    login.next();
    login.boot += 3_600;
    assert_eq!(login.look(), Verdict::Over);
}

#[test]
fn what_is_typed_after_a_look_in_the_same_step_of_the_kernel_s_counts() {
    let mut login = Login::new(60);
    login.ahead -= login.wall().rem_euclid(8);
    login.boot += 8;
    login.types();
    login.look();
    login.boot += 5;
    login.types();
    let after = login.over_after(1_000, |_| {}).unwrap();
    assert!((60..=68).contains(&after), "{after}");
}

#[test]
fn a_longer_time_holds_from_when_the_grants_say_so() {
    let mut login = Login::new(60);
    login.next();
    assert!(login.idle.allow(QUARTER.try_into().unwrap()));
    assert!(!login.idle.allow(QUARTER.try_into().unwrap()));
    let after = login.over_after(10_000, |_| {}).unwrap();
    assert!((880..=900).contains(&after), "{after}");
}

#[test]
fn a_restart_forgets_nothing_of_it() {
    let mut login = Login::new(60);
    login.next();
    let kept = serde_json::to_string(&login.idle).unwrap();
    login.idle = serde_json::from_str(&kept).unwrap();
    let after = login.over_after(1_000, |_| {}).unwrap();
    assert!(after + 15 <= 68, "{after}");
}

#[test]
fn what_a_jitd_kept_that_did_not_look_at_commands_is_read_and_says_nothing_of_them() {
    let mut login = Login::new(60);
    login.next();
    let mut kept = serde_json::to_value(&login.idle).unwrap();
    assert!(kept.as_object_mut().unwrap().remove("ended").is_some());
    kept["by_traffic"] = true.into();
    login.idle = serde_json::from_value(kept).unwrap();
    let last = login.idle.last();
    login.seen.ended = 4_711;
    login.look();
    assert_eq!(login.idle.last(), last, "they may have ended long ago");
    login.seen.ended += 1;
    login.boot += 1;
    login.look();
    assert_eq!(login.idle.last(), Duration::from_secs(login.boot));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_who_types_in_time_is_ended_and_whoever_stops_is(
        time in 60_u32..2_000, pauses in prop::collection::vec(1_u64..2_000, 1..20), wall in 0_i64..16,
    ) {
        let mut login = Login::new(time);
        login.ahead += wall;
        let mut last = 1_000;
        for pause in pauses {
            let pause = pause.min(u64::from(time));
            // At the very second of the end nobody is in time.
            let over = login.over_after(pause.saturating_sub(1), |_| {});
            prop_assert_eq!(over, None);
            login.boot = last + pause - 1;
            last = login.boot;
            login.types();
        }
        let after = login.over_after(10_000, |_| {}).unwrap();
        prop_assert!((u64::from(time)..=u64::from(time) + 8).contains(&after), "{} after {}", after, time);
    }

    #[test]
    fn no_step_of_the_clock_gives_more_than_one_time_more(
        time in 60_u32..2_000, steps in prop::collection::vec((-100_000_i64..100_000, 1_u64..3_000), 0..10),
    ) {
        let mut login = Login::new(time);
        login.next();
        for (step, pause) in steps {
            let now = Timestamp::from_second(login.wall()).unwrap() + SignedDuration::from_secs(step);
            login.ahead += now.as_second() - login.wall();
            if login.over_after(pause, |_| {}).is_some() {
                return Ok(());
            }
        }
        let over = login.over_after(u64::from(time) + 1, |_| {});
        prop_assert!(over.is_some());
    }
}
