use std::collections::BTreeSet;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use proptest::prelude::*;

use super::*;
use crate::scope::Scope;
use crate::user_token::{End, UserTokenRefused};

const DAY: u32 = 86_400;

fn at(seconds: u32) -> Timestamp {
    seconds_after(Timestamp::UNIX_EPOCH, seconds)
}

fn id(number: u64) -> UserTokenId {
    format!("u{number}").parse().unwrap()
}

fn root() -> Actor {
    Actor::Administrator
}

fn holder() -> Actor {
    Actor::Principal("deploy".parse().unwrap())
}

fn first(days: u32, renewable_days: Option<u32>) -> UserTokens {
    let mut tokens = UserTokens::default();
    let scopes: BTreeSet<Scope> = ["ask:web".parse().unwrap()].into();
    let made = UserTokenMade {
        token: id(1),
        user: "deploy".parse().unwrap(),
        secret: format!("{:064x}", 1).parse().unwrap(),
        expires: at(days * DAY),
        scopes: scopes.into(),
        for_seconds: Some(days * DAY),
        renewable_until: renewable_days.map(|days| at(days * DAY)),
        replaces: None,
    };
    tokens.made(made, &root(), at(0));
    tokens
}

/// Rotates `old` as the server does; gives the number of the next one.
fn rotate(
    tokens: &mut UserTokens,
    old: u64,
    by: &Actor,
    now: Timestamp,
    overlap: u32,
) -> Result<u64, NotRotated> {
    let Next { made, unseen } = tokens.after(&id(old), by, now, overlap)?;
    if let Some(unseen) = unseen {
        tokens.ended(&unseen, End::Revoked, now);
    }
    let number = tokens.next();
    let made = UserTokenMade {
        token: id(number),
        secret: format!("{number:064x}").parse().unwrap(),
        ..made
    };
    tokens.made(made, by, now);
    Ok(number)
}

fn counts(tokens: &UserTokens, number: u64, now: Timestamp) -> bool {
    tokens.tokens.named(&id(number)).unwrap().counts(now)
}

#[test]
fn the_old_token_counts_for_the_overlap_and_the_next_one_for_the_same_and_as_long() {
    let mut tokens = first(30, None);
    let now = at(20 * DAY);
    assert_eq!(rotate(&mut tokens, 1, &root(), now, 600), Ok(2));
    assert!(counts(&tokens, 1, seconds_after(now, 599)));
    assert!(!counts(&tokens, 1, seconds_after(now, 600)));
    let next = tokens.tokens.named(&id(2)).unwrap();
    assert_eq!(next.made.expires, at(50 * DAY));
    assert_eq!(
        next.made.scopes,
        tokens.tokens.named(&id(1)).unwrap().made.scopes
    );
    let secret = format!("{:064x}", 1).parse().unwrap();
    let refused = tokens.admit(&secret, seconds_after(now, 600)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "token u1 of deploy is over, since another one has taken its place"
    );
    let longer = rotate(&mut tokens, 2, &root(), now, LONGEST_OVERLAP + 1);
    assert_eq!(longer, Err(NotRotated::Overlap));
}

#[test]
fn what_came_of_a_token_is_found_by_it_long_after_it_is_forgotten_while_it_goes_on() {
    let mut tokens = first(10, Some(300));
    let mut now = 0;
    for number in 1..=40 {
        now += 5 * DAY;
        assert_eq!(
            rotate(&mut tokens, number, &holder(), at(now), 60),
            Ok(number + 1)
        );
        tokens.seen(&id(number + 1));
        // As the server records it.
        tokens.ended(&id(number), End::Expired, at(now + 60));
    }
    assert!(tokens.tokens.named(&id(1)).is_none(), "it is known yet");
    assert_eq!(tokens.first_of(&id(41)), id(1));
    let user = "deploy".parse().unwrap();
    let line = |tokens: &UserTokens, number| -> Vec<UserTokenId> {
        let id = id(number);
        let line = tokens.line_of(&user, &id, at(now + 120));
        line.map(|token| token.made.token.clone()).collect()
    };
    for number in [1, 20, 40, 41] {
        assert_eq!(line(&tokens, number), [id(41)], "of u{number}");
    }
    tokens.ended(&id(41), End::Revoked, at(now + 200));
    tokens.forget(at(now + 400 * DAY));
    assert_eq!(line(&tokens, 1), []);
    assert!(tokens.forgotten.is_empty());
}

#[test]
fn its_holder_has_it_renewed_as_far_as_root_said_and_no_further() {
    let mut fixed = first(30, None);
    assert_eq!(rotate(&mut fixed, 1, &holder(), at(20 * DAY), 60), Ok(2));
    assert_eq!(
        fixed.tokens.named(&id(2)).unwrap().made.expires,
        at(30 * DAY)
    );
    let mut renewable = first(30, Some(45));
    assert_eq!(
        rotate(&mut renewable, 1, &holder(), at(10 * DAY), 60),
        Ok(2)
    );
    assert_eq!(
        renewable.tokens.named(&id(2)).unwrap().made.expires,
        at(40 * DAY)
    );
    assert_eq!(
        rotate(&mut renewable, 2, &holder(), at(39 * DAY), 60),
        Ok(3)
    );
    assert_eq!(
        renewable.tokens.named(&id(3)).unwrap().made.expires,
        at(45 * DAY)
    );
    // Root begins its time anew.
    assert_eq!(rotate(&mut renewable, 3, &root(), at(44 * DAY), 60), Ok(4));
    assert_eq!(
        renewable.tokens.named(&id(4)).unwrap().made.expires,
        at(74 * DAY)
    );
}

#[test]
fn a_lost_answer_is_asked_for_again_and_the_one_that_nobody_saw_ends() {
    let mut tokens = first(30, None);
    assert_eq!(rotate(&mut tokens, 1, &holder(), at(10), 60), Ok(2));
    assert_eq!(rotate(&mut tokens, 1, &holder(), at(11), 60), Ok(3));
    assert!(!counts(&tokens, 2, at(11)) && counts(&tokens, 3, at(11)));
    tokens.seen(&id(3));
    let stolen = rotate(&mut tokens, 1, &holder(), at(12), 60).unwrap_err();
    assert!(matches!(stolen, NotRotated::Already { by, .. } if by == id(3)));
    assert!(counts(&tokens, 3, at(12)));
}

#[test]
fn what_root_rotated_its_holder_neither_takes_back_nor_rotates_again() {
    let mut tokens = first(30, Some(90));
    assert_eq!(rotate(&mut tokens, 1, &root(), at(10), 3_600), Ok(2));
    let already = |tokens: &mut UserTokens, by: u64, now: u32| {
        let refused = rotate(tokens, 1, &holder(), at(now), 60).unwrap_err();
        assert!(matches!(refused, NotRotated::Already { by: next, .. } if next == id(by)));
    };
    already(&mut tokens, 2, 11);
    assert!(counts(&tokens, 2, at(11)));
    // Root's own answer may have been lost, too.
    assert_eq!(rotate(&mut tokens, 1, &root(), at(12), 3_600), Ok(3));
    already(&mut tokens, 3, 13);
    tokens.ended(&id(3), End::Revoked, at(14));
    already(&mut tokens, 3, 14);
    // A record in which the holder did it all the same opens nothing.
    let mut forged = tokens.tokens.named(&id(3)).unwrap().made.clone();
    forged.token = id(4);
    forged.secret = format!("{:064x}", 4).parse().unwrap();
    tokens.made(forged, &holder(), at(15));
    assert!(tokens.tokens.named(&id(4)).is_none());
    // Whom root's comes from in turn does not matter.
    let mut tokens = first(30, None);
    assert_eq!(rotate(&mut tokens, 1, &holder(), at(10), 3_600), Ok(2));
    assert_eq!(rotate(&mut tokens, 1, &root(), at(11), 3_600), Ok(3));
    assert!(!counts(&tokens, 2, at(11)));
    already(&mut tokens, 3, 12);
}

#[test]
fn a_token_of_before_its_length_was_kept_is_rotated_for_all_of_it_each_time() {
    let mut made = first(30, None).tokens.named(&id(1)).unwrap().made.clone();
    made.for_seconds = None;
    let mut tokens = UserTokens::default();
    tokens.made(made, &root(), at(0));
    for number in 2..=4 {
        let now = at(10 * DAY + number);
        assert_eq!(
            rotate(&mut tokens, 1, &root(), now, 3_600),
            Ok(number.into())
        );
        let next = tokens.tokens.named(&id(number.into())).unwrap();
        assert_eq!(next.made.expires, seconds_after(now, 30 * DAY));
    }
}

#[test]
fn nobody_fills_the_record_by_rotating_without_end() {
    let mut tokens = first(30, None);
    for _ in 0..MOST_A_DAY {
        rotate(&mut tokens, 1, &holder(), at(10), 60).unwrap();
    }
    let again = rotate(&mut tokens, 1, &holder(), at(11), 60);
    assert_eq!(again, Err(NotRotated::TooOften(id(1))));
    let last = tokens.next() - 1;
    rotate(&mut tokens, last, &root(), at(11), 60).unwrap();
    let last = tokens.next() - 1;
    rotate(&mut tokens, last, &holder(), at(12 + DAY), 60).unwrap();
}

#[test]
fn a_record_can_not_make_a_token_more_by_rotating_it() {
    let tokens = first(30, None);
    let now = at(DAY);
    let next = tokens.after(&id(1), &holder(), now, 60).unwrap().made;
    let made = |change: &dyn Fn(&mut UserTokenMade), by: &Actor| {
        let mut forged = UserTokenMade {
            token: id(2),
            secret: format!("{:064x}", 2).parse().unwrap(),
            ..next.clone()
        };
        change(&mut forged);
        let mut tokens = tokens.clone();
        tokens.made(forged, by, now);
        tokens.tokens.named(&id(2)).is_some()
    };
    assert!(made(&|_| (), &holder()));
    let stranger = Actor::Principal("eve".parse().unwrap());
    assert!(!made(&|_| (), &stranger));
    let longer = |forged: &mut UserTokenMade| forged.expires = at(31 * DAY);
    assert!(!made(&longer, &holder()));
    let further = |forged: &mut UserTokenMade| forged.renewable_until = Some(at(31 * DAY));
    assert!(!made(&further, &holder()));
    let longer_each = |forged: &mut UserTokenMade| forged.for_seconds = Some(31 * DAY);
    assert!(!made(&longer_each, &holder()));
    let wider = |forged: &mut UserTokenMade| forged.scopes = Default::default();
    assert!(!made(&wider, &holder()));
    let anothers = |forged: &mut UserTokenMade| forged.user = "eve".parse().unwrap();
    assert!(!made(&anothers, &stranger) && !made(&anothers, &holder()));
    let out_of_nothing = |forged: &mut UserTokenMade| forged.replaces = None;
    assert!(!made(&out_of_nothing, &holder()));
}

#[test]
fn one_token_rotated_all_day_leaves_others_theirs() {
    let mut tokens = first(30, None);
    let mut other = tokens.tokens.named(&id(1)).unwrap().made.clone();
    other.token = id(2);
    other.secret = format!("{:064x}", 2).parse().unwrap();
    tokens.made(other, &root(), at(0));
    // Root's own do not count.
    assert_eq!(rotate(&mut tokens, 1, &root(), at(1), 60), Ok(3));
    let mut last = 3;
    for _ in 0..MOST_A_DAY {
        last = rotate(&mut tokens, last, &holder(), at(10), 60).unwrap();
        tokens.seen(&id(last));
    }
    let again = rotate(&mut tokens, last, &holder(), at(11), 60);
    assert_eq!(again, Err(NotRotated::TooOften(id(last))));
    rotate(&mut tokens, 2, &holder(), at(11), 60).unwrap();
}

/// Time that this thread spends on a chain of so many rotations, all of them within a day.
fn time_of(rotations: u64) -> Duration {
    let spent = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let mut tokens = first(30, None);
    let before = spent();
    for number in 1..=rotations {
        assert_eq!(
            rotate(&mut tokens, number, &root(), at(10), 60),
            Ok(number + 1)
        );
        tokens.seen(&id(number + 1));
        assert_eq!(tokens.lapsed(at(10)).count(), 0);
        if number >= 20 {
            tokens.ended(&id(number - 19), End::Expired, at(10));
        }
    }
    spent() - before
}

#[test]
fn a_record_of_many_rotations_is_replayed_in_a_time_that_grows_as_they_do() {
    let (few, many) = (time_of(5_000), time_of(20_000));
    assert!(
        many < few * 8,
        "{few:?}, and four times as many in {many:?}"
    );
}

#[test]
fn tokens_that_ended_long_ago_are_forgotten_and_their_numbers_are_not() {
    let mut tokens = first(3_650, None);
    let mut last = 1;
    for day in 1..=400 {
        let now = at(day * DAY);
        let number = rotate(&mut tokens, last, &holder(), now, 60).unwrap();
        tokens.seen(&id(number));
        tokens.ended(&id(last), End::Expired, seconds_after(now, 60));
        last = number;
    }
    assert!(tokens.tokens.count() <= 33, "{}", tokens.tokens.count());
    assert_eq!((tokens.next(), tokens.rotations.len()), (402, 1));
    let known = |number: u64| {
        let secret = format!("{number:064x}").parse().unwrap();
        tokens.admit(&secret, at(400 * DAY)) != Err(UserTokenRefused::Unknown)
    };
    assert!(known(401) && known(372) && !known(360));
}

proptest! {
    #[test]
    fn however_often_its_holder_rotates_nothing_of_it_counts_past_what_root_said(
        steps in proptest::collection::vec((0..10 * DAY, any::<prop::sample::Index>(), 0..LONGEST_OVERLAP, any::<bool>()), 1..30),
        renewable in proptest::option::of(30..90_u32),
    ) {
        let mut tokens = first(30, renewable);
        let end = at(renewable.unwrap_or(30) * DAY);
        let mut now = at(0);
        for (seconds, which, overlap, seen) in steps {
            now = seconds_after(now, seconds);
            let made = usize::try_from(tokens.next() - 1).unwrap();
            let number = 1 + which.index(made) as u64;
            if let Ok(next) = rotate(&mut tokens, number, &holder(), now, overlap)
                && seen
            {
                tokens.seen(&id(next));
            }
            prop_assert!(tokens.tokens.without_end().all(|token| token.made.expires <= end));
            // A chain of which each was seen has one token after an hour.
            let later = seconds_after(now, LONGEST_OVERLAP);
            let left = tokens.tokens.without_end().filter(|token| token.counts(later)).count();
            prop_assert!(left <= 1, "{left}");
        }
    }
}
