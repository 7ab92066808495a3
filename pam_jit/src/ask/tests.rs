use super::*;
use std::cell::RefCell;
use std::ffi::CString;

const BOOT: &str = "0f8fad5bd9cb469fa16570867728950e";

/// A host whose jitd answers as told, and which remembers what it was asked to do.
struct Fake {
    answer: fn() -> Result<Verdict, ClientError>,
    facts: fn() -> Result<Call, Failure>,
    boot: Option<Boot>,
    owner: Option<u32>,
    asked: RefCell<Vec<(String, Call)>>,
    waits: RefCell<Vec<Duration>>,
    shown: RefCell<Vec<String>>,
    logged: RefCell<Vec<String>>,
}

impl Fake {
    fn answering(answer: fn() -> Result<Verdict, ClientError>) -> Self {
        Self {
            answer,
            facts: || {
                Ok(Call {
                    service: "sshd".into(),
                    user: "ada".into(),
                    ..Call::default()
                })
            },
            boot: Some(Boot {
                id: BootId::parse(BOOT).unwrap(),
                seconds: 100,
            }),
            owner: Some(0),
            asked: RefCell::default(),
            waits: RefCell::default(),
            shown: RefCell::default(),
            logged: RefCell::default(),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked
            .borrow()
            .iter()
            .map(|(method, _)| method.clone())
            .collect()
    }
}

impl Host for Fake {
    fn facts(&self) -> Result<Call, Failure> {
        (self.facts)()
    }

    fn boot(&self) -> Option<Boot> {
        self.boot.clone()
    }

    fn owner(&self, _: &Path) -> Option<u32> {
        self.owner
    }

    fn call(
        &self,
        _: &Path,
        method: &str,
        call: &Call,
        time: Duration,
    ) -> Result<Verdict, ClientError> {
        self.waits.borrow_mut().push(time);
        self.asked
            .borrow_mut()
            .push((method.to_owned(), call.clone()));
        (self.answer)()
    }

    fn show(&self, text: &str) {
        self.shown.borrow_mut().push(text.to_owned());
    }

    fn log(&self, _: Severity, text: &str) {
        self.logged.borrow_mut().push(text.to_owned());
    }
}

fn run(host: &Fake, phase: Phase, line: &str) -> Outcome {
    asked(host, phase, line).outcome
}

fn asked(host: &Fake, phase: Phase, line: &str) -> Answer {
    let words: Vec<_> = line
        .split_whitespace()
        .map(|word| CString::new(word).unwrap())
        .collect();
    answer(
        host,
        phase,
        &words.iter().map(CString::as_c_str).collect::<Vec<_>>(),
    )
}

fn verdict(allow: bool) -> Verdict {
    Verdict {
        allow,
        code: None,
        message: None,
        grant: None,
        until: None,
        gids: Vec::new(),
    }
}

fn allow() -> Result<Verdict, ClientError> {
    Ok(verdict(true))
}

fn refuse() -> Result<Verdict, ClientError> {
    let message = Some("No grant opens \u{1b}[31mthis.\nAsk: jitctl request\u{202e}".into());
    Ok(Verdict {
        code: Some("JIT-101".into()),
        message,
        ..verdict(false)
    })
}

fn silent() -> Result<Verdict, ClientError> {
    Err(ClientError::TimedOut(Duration::from_secs(3)))
}

const GATING: [(Phase, &str); 3] = [
    (Phase::Account, ""),
    (Phase::Open, "before"),
    (Phase::Open, "after"),
];

#[test]
fn enforcing_lets_pass_what_jitd_allows_and_nothing_else() {
    let noes: [fn() -> Result<Verdict, ClientError>; 9] = [
        refuse,
        silent,
        || Ok(verdict(false)),
        || Err(ClientError::Closed),
        || Err(ClientError::TooLarge),
        || Err(ClientError::Nonsense("x".into())),
        || {
            Err(ClientError::Unreachable {
                path: "/x".into(),
                why: "none".into(),
            })
        },
        || {
            Err(ClientError::Refused {
                error: "org.varlink.service.MethodNotFound".into(),
                detail: None,
            })
        },
        || panic!("bug"),
    ];
    for (phase, place) in GATING {
        let line = format!("enforce {place}");
        let host = Fake::answering(allow);
        assert_eq!(run(&host, phase, &line), Outcome::Allowed);
        assert!(host.shown.borrow().is_empty() && host.logged.borrow().is_empty());
        for no in noes {
            let host = Fake::answering(no);
            assert_eq!(run(&host, phase, &line), Outcome::Refused);
            assert_eq!(host.shown.borrow().len(), 1, "the person is told");
            assert!(host.asked.borrow().iter().all(|(_, call)| call.enforce));
        }
    }
}

#[test]
fn watching_lets_everything_pass_and_shows_nothing() {
    for (phase, place) in GATING {
        let line = format!("monitor {place}");
        for no in [refuse, silent, || panic!("bug")] {
            let host = Fake::answering(no);
            assert_eq!(run(&host, phase, &line), Outcome::Ignored);
            assert!(host.shown.borrow().is_empty());
            assert!(
                host.logged
                    .borrow()
                    .iter()
                    .any(|text| text.contains("would have refused sshd for ada: JIT-1"))
            );
            assert!(host.asked.borrow().iter().all(|(_, call)| !call.enforce));
        }
        let host = Fake::answering(allow);
        assert_eq!(run(&host, phase, &line), Outcome::Ignored);
        assert!(host.logged.borrow().is_empty());
    }
}

#[test]
fn a_hung_jitd_holds_nobody_up_for_long_where_nothing_depends_on_its_answer() {
    let lapsed = format!("enforce until=1 boot={BOOT}");
    for (line, expected) in [
        ("enforce", DECISION_TIME),
        ("monitor", WATCHED_TIME),
        (&lapsed, WATCHED_TIME),
    ] {
        let host = Fake::answering(silent);
        run(&host, Phase::Account, line);
        assert_eq!(*host.waits.borrow(), [expected], "{line}");
    }
}

#[test]
fn a_provisional_line_refuses_in_its_time_and_boot_and_watches_afterwards() {
    let cases = [
        (101, BOOT, Outcome::Refused),
        (100, BOOT, Outcome::Ignored),
        (99, BOOT, Outcome::Ignored),
        (101, "00000000000000000000000000000000", Outcome::Ignored),
    ];
    for (until, boot, expected) in cases {
        let line = format!("enforce until={until} boot={boot}");
        let host = Fake::answering(refuse);
        assert_eq!(run(&host, Phase::Account, &line), expected, "{line}");
        assert_eq!(
            host.asked.borrow()[0].1.enforce,
            expected == Outcome::Refused
        );
        let unknown_boot = Fake {
            boot: None,
            ..Fake::answering(refuse)
        };
        assert_eq!(run(&unknown_boot, Phase::Account, &line), Outcome::Refused);
    }
}

#[test]
fn a_wrong_line_refuses_unless_it_says_only_monitor() {
    for line in ["", "enforce bogus", "bogus", "monitor enforce", "before"] {
        let host = Fake::answering(allow);
        assert_eq!(run(&host, Phase::Account, line), Outcome::Refused, "{line}");
        assert!(host.shown.borrow()[0].contains("JIT-153") && host.asked().is_empty());
    }
    let host = Fake::answering(allow);
    assert_eq!(
        run(&host, Phase::Account, "monitor bogus"),
        Outcome::Ignored
    );
    assert!(host.logged.borrow()[0].contains("JIT-153") && host.asked().is_empty());
}

#[test]
fn each_line_asks_its_own_question_and_closing_is_said_once() {
    let host = Fake::answering(allow);
    run(&host, Phase::Account, "enforce");
    for phase in [Phase::Open, Phase::Close] {
        run(&host, phase, "enforce before");
        run(&host, phase, "enforce after");
    }
    assert_eq!(host.asked(), [ACCOUNT, OPEN_BEFORE, OPEN_AFTER, CLOSE]);
}

#[test]
fn closing_never_fails_and_never_shows_anything() {
    for answer in [allow, refuse, silent, || panic!("bug")] {
        for (line, expected) in [
            ("enforce after", Outcome::Allowed),
            ("bogus", Outcome::Allowed),
            ("monitor after", Outcome::Ignored),
        ] {
            let host = Fake::answering(answer);
            assert_eq!(run(&host, Phase::Close, line), expected);
            assert!(host.shown.borrow().is_empty());
        }
    }
}

#[test]
fn what_is_shown_is_clean_and_never_empty() {
    let host = Fake::answering(refuse);
    run(&host, Phase::Account, "enforce");
    assert_eq!(
        host.shown.borrow()[0],
        "No grant opens [31mthis.\nAsk: jitctl request"
    );
    let host = Fake::answering(|| {
        Ok(Verdict {
            code: Some("JIT-102".into()),
            message: Some("\u{1b}\n".into()),
            ..verdict(false)
        })
    });
    run(&host, Phase::Account, "enforce");
    assert_eq!(
        host.shown.borrow()[0],
        "Refused (JIT-102). To read why: jitctl explain JIT-102"
    );
    let host = Fake::answering(|| Ok(verdict(false)));
    run(&host, Phase::Account, "enforce");
    assert!(host.shown.borrow()[0].contains("gave no reason"));
}

#[test]
fn a_transaction_without_a_user_is_refused_without_asking() {
    let host = Fake {
        facts: || Err(Failure::Item("PAM_USER")),
        ..Fake::answering(allow)
    };
    assert_eq!(run(&host, Phase::Account, "enforce"), Outcome::Refused);
    assert!(host.shown.borrow()[0].contains("JIT-154") && host.asked().is_empty());
}

#[test]
fn a_socket_that_is_not_roots_is_not_asked() {
    let host = Fake {
        owner: Some(1000),
        ..Fake::answering(allow)
    };
    assert_eq!(
        run(&host, Phase::Account, "enforce socket=/tmp/x"),
        Outcome::Refused
    );
    assert!(host.shown.borrow()[0].contains("JIT-153") && host.asked().is_empty());
    assert_eq!(run(&host, Phase::Account, "enforce"), Outcome::Allowed);
}

#[test]
fn outcomes_have_the_codes_that_were_promised() {
    assert_eq!(Outcome::Allowed.code(), PamResultCode::PAM_SUCCESS);
    assert_eq!(Outcome::Refused.code(), PamResultCode::PAM_PERM_DENIED);
    assert_eq!(Outcome::Ignored.code(), PamResultCode::PAM_IGNORE);
}

#[test]
fn groups_come_with_a_yes_of_a_line_that_enforces_and_with_nothing_else() {
    let with_groups = || {
        Ok(Verdict {
            gids: vec![4],
            ..verdict(true)
        })
    };
    let no = || {
        Ok(Verdict {
            gids: vec![4],
            ..verdict(false)
        })
    };
    let gids = |answer: fn() -> Result<Verdict, ClientError>, line: &str| {
        asked(&Fake::answering(answer), Phase::Open, line).gids
    };
    assert_eq!(gids(with_groups, "enforce after"), [4]);
    assert_eq!(gids(with_groups, "monitor after"), [0; 0]);
    assert_eq!(gids(no, "enforce after"), [0; 0]);
    assert_eq!(gids(silent, "enforce after"), [0; 0]);
}
