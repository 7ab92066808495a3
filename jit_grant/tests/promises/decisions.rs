use jit_grant::{
    Action, Allow, Allowed, Bundle, Code, Credential, Decision, Grant, Limits, Query, Refusal,
    VoidGrant, deadline, decide,
};

use crate::fixtures::{bundle, fingerprint, grant, minute, networks, query};

fn allowed(bundle: &Bundle, query: &Query) -> Allowed {
    match decide(bundle, query) {
        Decision::Allow(allowed) => allowed,
        Decision::Refuse(refusal) => panic!("refused: {refusal:?}"),
    }
}

fn refused(bundle: &Bundle, query: &Query) -> Refusal {
    match decide(bundle, query) {
        Decision::Allow(allowed) => panic!("allowed: {allowed:?}"),
        Decision::Refuse(refusal) => refusal,
    }
}

fn shared(principal: &str, id: &str, key: u8) -> Grant {
    Grant {
        id: id.parse().unwrap(),
        principal: principal.parse().unwrap(),
        keys: vec![fingerprint(key)],
        shared: true,
        ..grant()
    }
}

fn in_minute(minutes: i64) -> Query {
    Query {
        now: minute(minutes),
        ..query()
    }
}

fn with(credential: Credential) -> Query {
    Query {
        credential,
        ..query()
    }
}

#[test]
fn a_yes_says_whether_its_end_ends_the_login() {
    for ends in [false, true] {
        let grant = Grant {
            end_login_with_elevation: ends,
            ..grant()
        };
        let yes = allowed(&bundle(vec![grant]), &query());
        assert_eq!(yes.end_login_with_elevation, ends);
    }
}

#[test]
fn a_grant_in_force_opens_its_login_until_its_end() {
    let allowed = allowed(&bundle(vec![grant()]), &query());
    assert_eq!(allowed.grant.as_str(), "g1");
    assert_eq!(allowed.principal.as_str(), "ann");
    assert_eq!(allowed.role.as_str(), "web-admin");
    assert_eq!(allowed.until, minute(20));
}

#[test]
fn no_grant_at_all_is_101() {
    let refusal = refused(&bundle(Vec::new()), &query());
    assert_eq!(refusal, Refusal::because(Code::NoGrant).to(Action::Ssh));
}

#[test]
fn another_logins_grant_is_101() {
    let other = Query {
        login: "bob".parse().unwrap(),
        ..query()
    };
    assert_eq!(refused(&bundle(vec![grant()]), &other).code, Code::NoGrant);
}

#[test]
fn a_grant_ends_just_before_its_expiry_and_is_102_with_role_and_time_from_then_on() {
    let bundle = bundle(vec![grant()]);
    let last = Query {
        now: minute(20) - jiff::SignedDuration::from_nanos(1),
        ..query()
    };
    assert_eq!(allowed(&bundle, &last).until, minute(20));
    let refusal = refused(&bundle, &in_minute(20));
    let expected = Refusal::because(Code::Expired)
        .to(Action::Ssh)
        .at(minute(20))
        .of_role(&"web-admin".parse().unwrap());
    assert_eq!(refusal, expected);
}

#[test]
fn a_grant_begins_at_its_instant_and_is_103_with_the_soonest_start_before() {
    let later = Grant {
        id: "g2".parse().unwrap(),
        not_before: minute(12),
        ..grant()
    };
    let bundle = bundle(vec![later, grant()]);
    assert_eq!(allowed(&bundle, &in_minute(10)).grant.as_str(), "g1");
    let refusal = refused(&bundle, &in_minute(9));
    assert_eq!(
        refusal,
        Refusal::because(Code::NotYetStarted)
            .to(Action::Ssh)
            .at(minute(10))
    );
}

#[test]
fn an_action_that_the_grant_lacks_is_104() {
    let refusal = refused(
        &bundle(vec![grant()]),
        &Query {
            action: Action::Sudo,
            ..query()
        },
    );
    assert_eq!(
        (refusal.code, refusal.action),
        (Code::ActionNotCovered, Some(Action::Sudo))
    );
}

#[test]
fn a_shared_login_opens_only_to_the_key_of_the_principal_whose_grant_it_is() {
    let bundle = bundle(vec![shared("ann", "g1", 1), shared("ben", "g2", 2)]);
    assert_eq!(
        allowed(&bundle, &with(Credential::Key(fingerprint(2))))
            .principal
            .as_str(),
        "ben"
    );
    assert_eq!(
        refused(&bundle, &with(Credential::Key(fingerprint(3)))).code,
        Code::OtherKey
    );
    for credential in [
        Credential::Method("password".to_owned()),
        Credential::Unbound,
    ] {
        assert_eq!(refused(&bundle, &with(credential)).code, Code::NeedsKey);
    }
}

#[test]
fn a_grant_that_has_just_ended_sends_nobody_for_his_key() {
    let ended = Query {
        credential: Credential::Unbound,
        ..in_minute(20)
    };
    assert_eq!(
        refused(&bundle(vec![shared("ann", "g1", 1)]), &ended).code,
        Code::NoGrant
    );
}

#[test]
fn a_shared_login_without_a_known_key_opens_to_no_key() {
    let unknown = Grant {
        keys: Vec::new(),
        ..shared("ann", "g1", 1)
    };
    assert_eq!(
        refused(
            &bundle(vec![unknown]),
            &with(Credential::Key(fingerprint(1)))
        )
        .code,
        Code::OtherKey
    );
}

#[test]
fn a_login_of_one_principal_opens_to_known_keys_and_to_passwords_but_not_to_other_keys() {
    let own = bundle(vec![Grant {
        keys: vec![fingerprint(1)],
        ..grant()
    }]);
    allowed(&own, &with(Credential::Key(fingerprint(1))));
    allowed(&own, &with(Credential::Method("password".to_owned())));
    allowed(&own, &with(Credential::Unbound));
    assert_eq!(
        refused(&own, &with(Credential::Key(fingerprint(2)))).code,
        Code::OtherKey
    );
    allowed(
        &bundle(vec![grant()]),
        &with(Credential::Key(fingerprint(2))),
    );
}

#[test]
fn an_elevation_is_opened_by_the_grant_of_the_principal_who_logged_in_and_no_other() {
    let sudo = Allow {
        sudo: true,
        ..Allow::default()
    };
    let ask = |who: &str| Query {
        action: Action::Sudo,
        ..with(Credential::Principal(who.parse().unwrap()))
    };
    let bundle = bundle(vec![
        shared("ann", "g1", 1),
        Grant {
            allow: sudo,
            ..shared("ben", "g2", 2)
        },
    ]);
    assert_eq!(allowed(&bundle, &ask("ben")).grant.as_str(), "g2");
    assert_eq!(refused(&bundle, &ask("ann")).code, Code::ActionNotCovered);
    assert_eq!(refused(&bundle, &ask("eve")).code, Code::NoGrant);
}

#[test]
fn a_void_grant_for_the_login_is_107_and_names_what_is_not_known() {
    let void = VoidGrant {
        id: "g9".to_owned(),
        login: Some("alice".parse().unwrap()),
        unknown: "run_as".to_owned(),
    };
    let bundle = Bundle {
        void: vec![void],
        ..bundle(Vec::new())
    };
    let refusal = refused(&bundle, &query());
    assert_eq!(
        (refusal.code, refusal.detail.as_deref()),
        (Code::DemandsUnknown, Some("run_as"))
    );
    let other = Query {
        login: "bob".parse().unwrap(),
        ..query()
    };
    assert_eq!(refused(&bundle, &other).code, Code::NoGrant);
}

#[test]
fn the_refusal_told_is_the_one_that_helps_most() {
    let sudo = Query {
        action: Action::Sudo,
        ..query()
    };
    let both = Allow {
        ssh: true,
        sudo: true,
        ..Allow::default()
    };
    let past = Grant {
        id: "g2".parse().unwrap(),
        allow: both,
        not_before: minute(1),
        expires: minute(5),
        ..grant()
    };
    let to_come = Grant {
        id: "g3".parse().unwrap(),
        allow: both,
        not_before: minute(30),
        expires: minute(40),
        ..grant()
    };
    assert_eq!(
        refused(&bundle(vec![grant(), past.clone()]), &sudo).code,
        Code::Expired
    );
    assert_eq!(
        refused(&bundle(vec![grant(), past, to_come]), &sudo).code,
        Code::NotYetStarted
    );
}

#[test]
fn grants_that_touch_hold_a_session_open_one_after_the_other_and_a_gap_ends_it() {
    let next = Grant {
        id: "g2".parse().unwrap(),
        not_before: minute(20),
        expires: minute(30),
        ..grant()
    };
    let after_a_gap = Grant {
        id: "g3".parse().unwrap(),
        not_before: minute(31),
        expires: minute(40),
        ..grant()
    };
    let bundle = bundle(vec![after_a_gap, next, grant()]);
    assert_eq!(deadline(&bundle, &query()), Some(minute(30)));
    assert_eq!(deadline(&bundle, &in_minute(30)), None);
}

fn from_office() -> Limits {
    Limits {
        login_from: Some(networks(&["10.0.0.0/8", "2001:db8::/32"])),
        ..Limits::default()
    }
}

fn from(rhost: Option<&str>) -> Query {
    Query {
        rhost: rhost.map(str::to_owned),
        ..query()
    }
}

#[test]
fn a_grant_for_some_networks_opens_to_an_address_in_them_and_is_108_from_elsewhere() {
    let all = Allow {
        ssh: true,
        sudo: true,
        su: true,
        jobs: true,
    };
    let bundle = bundle(vec![Grant {
        limits: from_office(),
        allow: all,
        ..grant()
    }]);
    for action in [Action::Ssh, Action::Sudo, Action::Su, Action::Jobs] {
        for there in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
            let query = Query {
                action,
                ..from(Some(there))
            };
            assert_eq!(allowed(&bundle, &query).grant.as_str(), "g1", "{there}");
            assert_eq!(deadline(&bundle, &query), Some(minute(20)), "{there}");
        }
        for elsewhere in [
            Some("192.0.2.7"),
            Some("::ffff:192.0.2.7"),
            Some("10.1.2.3.office.example"),
            Some("office.example"),
            Some(""),
            None,
        ] {
            let query = Query {
                action,
                ..from(elsewhere)
            };
            let refusal = refused(&bundle, &query);
            assert_eq!(
                refusal,
                Refusal::because(Code::NotFromThere).to(action),
                "{elsewhere:?}"
            );
            assert_eq!(deadline(&bundle, &query), None, "{elsewhere:?}");
        }
    }
}

#[test]
fn nobody_is_told_the_networks_and_another_grant_opens_all_the_same() {
    let limited = Grant {
        limits: from_office(),
        expires: minute(30),
        ..grant()
    };
    let refusal = refused(&bundle(vec![limited.clone()]), &query());
    let told = refusal.message(&"web-1".parse().unwrap(), "alice", None);
    assert!(
        told.contains("JIT-108") && !told.contains("10.") && !told.contains("2001:"),
        "{told}"
    );
    let other = Grant {
        id: "g2".parse().unwrap(),
        ..grant()
    };
    let both = bundle(vec![limited, other]);
    let allowed = allowed(&both, &query());
    assert_eq!((allowed.grant.as_str(), allowed.until), ("g2", minute(20)));
}

#[test]
fn a_user_manager_is_not_judged_by_where_somebody_came_from() {
    let bundle = bundle(vec![Grant {
        limits: from_office(),
        ..grant()
    }]);
    let manager = Query {
        rhost: None,
        ..with(Credential::Together(["ann".parse().unwrap()].into()))
    };
    assert_eq!(allowed(&bundle, &manager).until, minute(20));
    assert_eq!(deadline(&bundle, &manager), Some(minute(20)));
}

#[test]
fn a_query_survives_the_session_registry() {
    for credential in [
        Credential::Pending,
        Credential::Key(fingerprint(1)),
        Credential::Method("password".to_owned()),
        Credential::Principal("ann".parse().unwrap()),
        Credential::Unbound,
    ] {
        let query = with(credential);
        let text = serde_json::to_string(&query).unwrap();
        assert_eq!(serde_json::from_str::<Query>(&text).unwrap(), query);
    }
}
