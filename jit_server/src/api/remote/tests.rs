//! What bounds of connections and calls hold.

use std::time::Duration;

use super::*;

fn host(digit: &str) -> Whose {
    Whose::Host(format!("h{}", digit.repeat(32)).parse().unwrap())
}

#[test]
fn strangers_of_one_address_do_not_keep_others_out() {
    let limits = Arc::new(RemoteLimits::default());
    let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    let now = Instant::now();
    let held: Vec<_> = (0..STRANGERS_OF_ADDRESS)
        .map(|_| limits.admit(one, now).unwrap())
        .collect();
    assert!(limits.admit(one, now).is_none());
    assert!(limits.admit(other, now).is_some());
    drop(held);
    assert!(limits.admit(one, now).is_some());
    assert!(
        limits.counts().addresses.is_empty() && limits.counts().all == 0,
        "nothing lasts"
    );
}

#[tokio::test(start_paused = true)]
async fn who_connects_for_nothing_again_and_again_is_turned_away_and_hosts_beside_him_are_not() {
    let limits = Arc::new(RemoteLimits::default());
    let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    let wasted = |tries: usize, at: IpAddr| {
        let admitted = |_: &usize| limits.admit(at, Instant::now()).is_some();
        (0..tries).filter(admitted).count()
    };
    assert_eq!(wasted(5_000, one), 1_024);
    assert_eq!(wasted(100, other), 100);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(wasted(5_000, one), 100);
    tokio::time::advance(Duration::from_secs(60)).await;
    let now = Instant::now();
    for number in 0..5_000 {
        let remote = limits.admit(one, now).unwrap();
        if number % 2 == 0 {
            let host = format!("h{number:032}").parse().unwrap();
            remote.is_of(&Whose::Host(host), None, now).unwrap();
        } else {
            remote.was_of_use();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn however_many_addresses_connect_for_nothing_so_many_are_counted() {
    let limits = Arc::new(RemoteLimits::default());
    let waste = |number: u32| {
        let address = IpAddr::V4((number + 0x0a00_0000).into());
        drop(limits.admit(address, Instant::now()).unwrap());
    };
    (0..10_000).for_each(waste);
    assert_eq!(limits.counts().wasted.len(), WASTERS);
    tokio::time::advance(Duration::from_secs(1)).await;
    waste(10_001);
    assert_eq!(limits.counts().wasted.len(), 1, "nothing lasts");
}

#[test]
fn one_subscriber_is_one_address() {
    let of = |text: &str| {
        let peer: IpAddr = text.parse().unwrap();
        counted(peer.to_canonical()).to_string()
    };
    assert_eq!(of("192.0.2.7"), "192.0.2.7");
    assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
}

#[test]
fn hosts_behind_one_address_are_counted_each_for_itself() {
    let limits = Arc::new(RemoteLimits::default());
    let (address, now) = ("192.0.2.1".parse().unwrap(), Instant::now());
    let mut held = Vec::new();
    for number in 0..2 * STRANGERS_OF_ADDRESS {
        let remote = limits.admit(address, now).unwrap();
        remote
            .is_of(
                &Whose::Host(format!("h{number:032}").parse().unwrap()),
                None,
                now,
            )
            .unwrap();
        held.push(remote);
    }
    let mine: Vec<_> = (0..=CONNECTIONS_OF_ONE)
        .map(|_| limits.admit(address, now).unwrap())
        .collect();
    let known = mine
        .iter()
        .filter(|remote| remote.is_of(&host("f"), None, now).is_ok())
        .count();
    assert_eq!(known, CONNECTIONS_OF_ONE);
    drop((held, mine));
    assert!(
        limits.counts().known.is_empty() && limits.counts().strangers == 0,
        "nothing lasts"
    );
}

#[test]
fn a_connection_for_each_call_and_an_address_for_each_connection_make_no_more_of_them() {
    let limits = Arc::new(RemoteLimits::default());
    let now = Instant::now();
    let called = |number: u32, user: &str, token: &UserTokenId| {
        let from = IpAddr::V4((0x7f00_0001 + number % 100).into());
        let remote = limits.admit(from, now).unwrap();
        remote.called(now).unwrap();
        let user = Whose::User(user.parse().unwrap());
        remote.is_of(&user, Some(token), now).is_ok()
    };
    let by = |user: &str, token: &str| {
        let token = token.parse().unwrap();
        (0..1_000)
            .filter(|number| called(*number, user, &token))
            .count()
    };
    assert_eq!((by("alice", "u1"), by("bob", "u3")), (100, 100));
    // One of her tokens runs wild, and another has its half.
    assert_eq!((by("alice", "u2"), by("alice", "u4")), (100, 0));
    let counts = limits.counts();
    assert!(counts.known.is_empty() && counts.tokens.is_empty());
}

#[test]
fn a_token_that_runs_wild_on_kept_connections_leaves_its_user_half_of_what_he_may() {
    let limits = Arc::new(RemoteLimits::default());
    let now = Instant::now();
    let alice = Whose::User("alice".parse().unwrap());
    let kept = |token: &str| {
        let remote = limits.admit("192.0.2.1".parse().unwrap(), now).unwrap();
        let known = remote.is_of(&alice, Some(&token.parse().unwrap()), now);
        known.is_ok().then_some(remote)
    };
    let wild: Vec<_> = (0..100).filter_map(|_| kept("u1")).collect();
    assert_eq!(wild.len(), CONNECTIONS_OF_TOKEN);
    let called = |remotes: &[Arc<Remote>]| {
        let called = (0..1_000).zip(remotes.iter().cycle());
        called
            .filter(|(_, remote)| remote.called(now).is_ok())
            .count()
    };
    assert_eq!(called(&wild), 100 - wild.len());
    let other: Vec<_> = (0..100).filter_map(|_| kept("u2")).collect();
    assert_eq!(other.len(), CONNECTIONS_OF_ONE - CONNECTIONS_OF_TOKEN);
    assert_eq!(called(&other), 100 - other.len());
    drop((wild, other));
    let counts = limits.counts();
    assert!(counts.known.is_empty() && counts.tokens.is_empty());
}

#[test]
fn whoever_was_known_makes_few_calls_with_tokens_that_do_not_count() {
    let limits = Arc::new(RemoteLimits::default());
    let now = Instant::now();
    let remote = limits.admit("192.0.2.1".parse().unwrap(), now).unwrap();
    assert!(remote.called(now).is_ok());
    let alice = Whose::User("alice".parse().unwrap());
    remote.is_of(&alice, None, now).unwrap();
    assert!((0..100).all(|_| remote.called(now).is_ok()));
    let answered = (0..10).filter(|_| {
        let may = remote.called(now).is_ok();
        remote.refused();
        may
    });
    assert_eq!(answered.count(), 4);
}

#[test]
fn a_stranger_makes_few_calls_and_a_host_no_more_than_its_allowance() {
    let limits = Arc::new(RemoteLimits::default());
    let now = Instant::now();
    let remote = limits.admit("192.0.2.1".parse().unwrap(), now).unwrap();
    assert_eq!((0..10).filter(|_| remote.called(now).is_ok()).count(), 4);
    remote.is_of(&host("1"), None, now).unwrap();
    // Whatever they ask for, with a token or without.
    let called = |remote: &Remote| (0..1_000).filter(|_| remote.called(now).is_ok()).count();
    assert_eq!(called(&remote), 199);
    let other = limits.admit("192.0.2.1".parse().unwrap(), now).unwrap();
    assert!(
        other.is_of(&host("1"), None, now).is_err(),
        "on any connection"
    );
    assert!(remote.called(now + Duration::from_secs(1)).is_ok());
}
