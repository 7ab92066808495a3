use proptest::prelude::*;

use super::*;
use crate::event::{Actor, Requested};
use crate::origin::Origin;
use crate::text::Reason;

fn scopes(texts: &[&str]) -> Scopes {
    let scopes = texts.iter().map(|text| text.parse().unwrap());
    Scopes(scopes.collect())
}

fn requested(role: &str, hosts: &[&str]) -> Event {
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    Event::Requested(Requested {
        request: "r1".parse().unwrap(),
        principal: "deploy".parse().unwrap(),
        login: "deploy".parse().unwrap(),
        role: role.parse().unwrap(),
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        actions: BTreeSet::new(),
        for_seconds: 60,
        reason: Reason::ours("nightly"),
        ticket: None,
        extends: None,
        lapses_at: now,
        policy: String::new(),
        not_before: None,
        groups: Default::default(),
        asked_from: Some(Origin::Socket),
        logins: std::collections::BTreeMap::new(),
    })
}

#[test]
fn a_scope_is_read_as_it_is_written_and_nothing_else_is_one() {
    for text in [
        "read",
        "approve",
        "ask:web-admin",
        "ask:web-admin@web-1",
        "ask:a@*",
        "ask:a@web-?.b",
    ] {
        let scope: Scope = text.parse().unwrap();
        assert_eq!(scope.to_string(), text);
    }
    for wrong in [
        "",
        "Read",
        "write",
        "ask",
        "ask:",
        "ask:@web",
        "ask:a@",
        "ask:a@b@c",
        "ask:*",
        "ask:a b",
        "ask:a@we_b",
        "read ",
    ] {
        assert!(wrong.parse::<Scope>().is_err(), "{wrong:?}");
    }
}

#[test]
fn every_host_of_a_request_has_to_be_in_scope() {
    let state = State::default();
    let token = scopes(&["ask:web-admin@web-*", "ask:web-admin@db-1", "read"]);
    let covers = |role, hosts: &[&str]| token.cover(&state, &[requested(role, hosts)]).is_ok();
    assert!(covers("web-admin", &["web-1", "web-2", "db-1"]));
    assert!(!covers("web-admin", &["web-1", "db-2"]));
    assert!(!covers("database", &["web-1"]));
}

#[test]
fn what_no_scope_is_for_is_for_none_and_without_scopes_everything_is() {
    let state = State::default();
    let all = scopes(&["read", "approve", "ask:web-admin"]);
    let unlock = Event::Unlocked {
        principal: "eve".parse().unwrap(),
    };
    assert!(all.cover(&state, std::slice::from_ref(&unlock)).is_err());
    assert!(all.meet(Need::Everything).is_err());
    let none = Scopes::default();
    assert!(none.cover(&state, &[unlock]).is_ok() && none.meet(Need::Everything).is_ok());
    // What the record does not know is nobody's.
    let gone = Event::Released {
        grant: "g9".parse().unwrap(),
    };
    assert!(all.cover(&state, &[gone]).is_err());
}

proptest! {
    #[test]
    fn whatever_is_in_scope_of_one_needs_that_scope(read in any::<bool>(), ask in any::<bool>(), approves in any::<bool>()) {
        let texts = [(read, "read"), (ask, "ask:a"), (approves, "approve")];
        let texts: Vec<&str> = texts.iter().filter(|(there, _)| *there).map(|(_, text)| *text).collect();
        let token = scopes(&texts);
        let all = token.are_none();
        prop_assert_eq!(token.meet(Need::Read).is_ok(), all || read);
        prop_assert_eq!(token.meet(Need::Ask).is_ok(), all || ask);
        prop_assert_eq!(token.meet(Need::Approve).is_ok(), all || approves);
        let events = [requested("a", &["web-1"])];
        prop_assert_eq!(token.cover(&State::default(), &events).is_ok(), all || ask);
        let revoked = Event::Revoked { grant: "g1".parse().unwrap(), reason: Reason::ours("because") };
        let by = Actor::Principal("alice".parse().unwrap());
        prop_assert!(revoked.decided_by(&by).is_some());
        prop_assert_eq!(token.cover(&State::default(), &[revoked]).is_ok(), all || approves);
    }
}
