//! The end of a user's time.

use super::*;
use crate::event::Granted;

/// The number of nobody among [`PEOPLE`].
const ADMINISTRATOR: usize = PEOPLE.len();

fn ended(at: u32, name: &str) -> Result<(), WorkflowError> {
    Err(WorkflowError::UserEnded {
        principal: name.parse().unwrap(),
        since: after(begin(), at),
    })
}

/// When each live grant ends, in seconds after [`begin`].
fn ends(history: &History, now: Timestamp) -> Vec<i64> {
    let live = history.state.live_grants(now);
    live.map(|grant| grant.expires.duration_since(begin()).as_secs())
        .collect()
}

proptest! {
    #[test]
    fn no_grant_ever_outlives_its_principals_end(
        steps in any_steps(),
        gone in any::<prop::sample::Index>(),
    ) {
        let mut history = History::new();
        let mut now = begin();
        let mut cut = steps.into_iter().enumerate().map(|(number, (seconds, person, wanted))| {
            // Every fourth step sets an end, so that there is one to outlive.
            if number % 4 == 1 { (seconds, ADMINISTRATOR, set_until(PEOPLE[number % PEOPLE.len()], seconds * 20)) } else { (seconds, person, wanted) }
        });
        cut.try_for_each(|(seconds, person, wanted)| {
            now = after(now, seconds);
            history.time_passes(now);
            let _ = history.wants(now, person, wanted);
            for grant in history.state.live_grants(now) {
                let user = history.state.directory.user(&grant.principal).unwrap();
                prop_assert!(user.until.is_none_or(|until| grant.expires <= until && now < until));
            }
            Ok(())
        })?;
        // Nor by a record that lacks an event.
        let gone = gone.index(history.entries.len());
        let mut replayed = State::default();
        for (place, entry) in history.entries.iter().enumerate() {
            if place != gone {
                replayed.apply(entry);
            }
            for grant in replayed.live_grants(entry.at) {
                let user = replayed.directory.user(&grant.principal);
                prop_assert!(user.and_then(|user| user.until).is_none_or(|until| grant.expires <= until));
            }
        }
    }
}

#[test]
fn from_his_end_on_a_user_may_do_nothing_and_a_later_end_opens_again() {
    let mut history = granted("one");
    history.wants(begin(), 4, ask("one", 600)).unwrap();
    for name in ["alice", "bob"] {
        history
            .wants(begin(), ADMINISTRATOR, set_until(name, 700))
            .unwrap();
    }
    let wanted = |history: &mut History, now| {
        [
            history.wants(now, 0, ask("two", 60)),
            history.wants(now, 0, extend(1, 60)),
            history.wants(now, 1, approve(2, None)),
            history.wants(
                now,
                1,
                Command::Deny {
                    request: request_id(2),
                    reason: reason(),
                },
            ),
            history.wants(now, 1, review(2)),
        ]
    };
    let entries = history.entries.len();
    let over = wanted(&mut history, after(begin(), 700));
    let alice = || ended(700, "alice");
    let bob = || ended(700, "bob");
    assert_eq!(over, [alice(), alice(), bob(), bob(), bob()]);
    assert_eq!(history.entries.len(), entries);
    let told = ended(700, "alice").unwrap_err().to_string();
    assert!(
        told.starts_with("alice was a user until 2026-11-22T12:11:40Z"),
        "{told}"
    );
    let still = wanted(&mut history.clone(), after(begin(), 599));
    assert_eq!(
        [&still[0], &still[1], &still[2]],
        [&Ok(()), &Ok(()), &Ok(())]
    );
    for name in ["alice", "bob"] {
        history
            .wants(after(begin(), 700), ADMINISTRATOR, set_until(name, 9_000))
            .unwrap();
    }
    let later = after(begin(), 701);
    assert_eq!(wanted(&mut history, later)[0], Ok(()));
    assert_eq!(ends(&history, later), [] as [i64; 0], "nothing comes back");
}

#[test]
fn what_somebody_approved_before_his_end_counts_no_more_when_he_gets_a_later_one() {
    for (set_at, granted) in [(100, 2), (400, 0)] {
        let mut history = History::new();
        history
            .wants(begin(), ADMINISTRATOR, set_until("bob", 300))
            .unwrap();
        history.wants(begin(), 0, ask("two", 600)).unwrap();
        history.wants(begin(), 1, approve(1, None)).unwrap();
        let later = after(begin(), set_at);
        history
            .wants(later, ADMINISTRATOR, set_until("bob", 9_000))
            .unwrap();
        let now = after(begin(), 500);
        history.wants(now, 2, approve(1, None)).unwrap();
        assert_eq!(history.state.live_grants(now).count(), granted, "{set_at}");
        if granted == 0 {
            let told = &history.state.request(&request_id(1)).unwrap().timeline;
            assert!(told.iter().any(|step| step.what == "user_set bob"));
            history.wants(now, 1, approve(1, None)).unwrap();
            assert_eq!(history.state.live_grants(now).count(), 2, "he looked again");
        }
    }
}

#[test]
fn a_grant_is_cut_at_its_users_end_when_it_is_made_and_no_extension_passes_it() {
    let mut history = History::new();
    history
        .wants(begin(), ADMINISTRATOR, set_until("alice", 400))
        .unwrap();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    history.wants(begin(), 1, approve(1, None)).unwrap();
    assert_eq!(ends(&history, begin()), [400, 400]);
    assert_eq!(
        history.wants(begin(), 0, extend(1, 1)),
        Err(WorkflowError::PastEnd {
            grant: grant_id(1),
            until: after(begin(), 400)
        })
    );
    history
        .wants(begin(), ADMINISTRATOR, set_until("alice", 500))
        .unwrap();
    assert_eq!(ends(&history, begin()), [400, 400], "nor by a later end");
    assert_eq!(
        history.wants(begin(), 0, ask_later("one", 60, 500)),
        Err(WorkflowError::StartPastEnd {
            principal: "alice".parse().unwrap(),
            until: after(begin(), 500)
        })
    );
    history
        .wants(begin(), 0, ask_later("one", 60, 480))
        .unwrap();
    history.wants(begin(), 1, approve(2, None)).unwrap();
    assert_eq!(ends(&history, begin()), [400, 400, 500, 500]);
    // What is granted at once, too.
    history.wants(begin(), 0, ask("auto", 900)).unwrap();
    assert_eq!(ends(&history, begin())[4..], [500]);
}

#[test]
fn an_earlier_end_revokes_what_would_outlive_it_and_nothing_else() {
    let mut history = granted("one");
    history.wants(begin(), 0, ask("one", 300)).unwrap();
    history.wants(begin(), 1, approve(2, None)).unwrap();
    assert_eq!(ends(&history, begin()), [600, 600, 300, 300]);
    history
        .wants(begin(), ADMINISTRATOR, set_until("alice", 300))
        .unwrap();
    assert_eq!(ends(&history, begin()), [300, 300]);
    let ended = history.state.grant(&grant_id(1)).unwrap().ended.clone();
    let reason = ended.unwrap().reason.unwrap();
    assert_eq!(reason.as_str(), "the user's time ends before this would");
    // On record one by one, for whoever reads it.
    let revoked = history.entries.iter();
    let revoked = revoked.filter(|entry| matches!(entry.event, Event::Revoked { .. }));
    assert_eq!(revoked.count(), 2);
}

#[test]
fn what_somebody_approved_whose_time_is_over_counts_no_more() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("two", 600)).unwrap();
    history.wants(begin(), 1, approve(1, None)).unwrap();
    history
        .wants(begin(), ADMINISTRATOR, set_until("bob", 10))
        .unwrap();
    let later = after(begin(), 10);
    history.wants(later, 2, approve(1, None)).unwrap();
    assert_eq!(history.state.grants().count(), 0);
    history.wants(later, 3, approve(1, None)).unwrap();
    assert_eq!(history.state.grants().count(), 2);
}

#[test]
fn nobody_approves_for_whoever_is_no_user_any_more() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    history
        .wants(begin(), ADMINISTRATOR, set_until("alice", 10))
        .unwrap();
    let later = after(begin(), 10);
    assert_eq!(
        history.wants(later, 1, approve(1, None)),
        ended(10, "alice")
    );
}

#[test]
fn a_forged_record_opens_nothing_past_the_end_of_a_user() {
    let mut history = granted("one");
    history.wants(begin(), 0, ask("one", 900)).unwrap();
    history
        .wants(begin(), ADMINISTRATOR, set_until("alice", 600))
        .unwrap();
    history.wants(begin(), 4, ask("one", 600)).unwrap();
    let actor = Actor::Server;
    history.happened(
        begin(),
        &actor,
        Event::Extended(Extended {
            grant: grant_id(1),
            for_seconds: 60,
            expires: after(begin(), 660),
            reason: reason(),
            request: None,
            policy: String::new(),
        }),
    );
    let granted = |request, grant, expires| {
        Event::Granted(Granted {
            request: request_id(request),
            grants: vec![crate::event::GrantedHost {
                grant: grant_id(grant),
                host: "web-1".parse().unwrap(),
            }],
            not_before: begin(),
            expires: after(begin(), expires),
            extendable_until: None,
            end_login_with_elevation: false,
            at_once: None,
            limits: jit_grant::Limits::default(),
            policy: String::new(),
            counted: Vec::new(),
        })
    };
    let approved = |request, by: &str| {
        Event::Approved(crate::event::Approved {
            request: request_id(request),
            by: by.parse().unwrap(),
            stage: 1,
            for_seconds: 900,
            comment: None,
            policy: String::new(),
        })
    };
    history.happened(begin(), &actor, approved(2, "bob"));
    history.happened(begin(), &actor, granted(2, 3, 900));
    assert_eq!(ends(&history, begin()), [600, 600]);
    // An approval by somebody who is no user any more is none.
    let bob = UserSet {
        until: Some(begin()),
        ..user_set("bob", "bob")
    };
    history.happened(begin(), &actor, Event::UserSet(bob));
    history.happened(begin(), &actor, approved(3, "bob"));
    history.happened(begin(), &actor, granted(3, 4, 600));
    assert_eq!(ends(&history, begin()), [600, 600]);
    // An earlier end that says nothing of what it ends.
    let alice = UserSet {
        until: Some(after(begin(), 599)),
        ..user_set("alice", "alice")
    };
    history.happened(begin(), &actor, Event::UserSet(alice));
    assert_eq!(ends(&history, begin()), [] as [i64; 0]);
}

#[test]
fn users_of_before_there_were_ends_have_none() {
    let old = r#"{"kind":"user_set","name":"alice","login":"deploy","groups":["leads"],"keys":[]}"#;
    let event: Event = serde_json::from_str(old).unwrap();
    let Event::UserSet(user) = &event else {
        panic!("{event:?}");
    };
    assert_eq!(user.until, None);
    assert_eq!(serde_json::to_string(&event).unwrap(), old);
}

#[test]
fn the_end_of_a_user_is_explained_as_a_rule_of_its_own() {
    use crate::workflow::{Outcome, Rule, Wish, explain};
    let mut history = History::new();
    let told = |history: &History, now, for_seconds| {
        let (role, hosts) = ("one".parse().unwrap(), BTreeSet::new());
        let labels = Labelled::default();
        let wish = Wish {
            role: &role,
            hosts: &hosts,
            labels: &labels,
            for_seconds,
            not_before: None,
            ticket: None,
            reason: None,
            origin: None,
        };
        let alice = "alice".parse().unwrap();
        let all = explain(&history.state, policy(), now, &alice, &wish);
        let mut told = all.rules.into_iter();
        let told = told.find(|told| told.rule == Rule::NotEnded);
        let told = told.unwrap();
        (told.outcome, told.words)
    };
    let met = |words: &str| (Outcome::Met, words.to_owned());
    assert_eq!(
        told(&history, begin(), 60),
        met("nothing says that alice is a user for a time only")
    );
    history
        .wants(begin(), ADMINISTRATOR, set_until("alice", 700))
        .unwrap();
    let until = "alice is a user until 2026-11-22T12:11:40Z";
    assert_eq!(told(&history, begin(), 700), met(until));
    assert_eq!(
        told(&history, begin(), 701),
        met(&format!("{until}; a grant would end with that"))
    );
    let (outcome, words) = told(&history, after(begin(), 700), 60);
    assert_eq!(outcome, Outcome::Failed);
    assert!(words.starts_with("alice was a user until"), "{words}");
}
