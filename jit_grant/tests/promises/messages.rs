use jit_grant::{Action, Code, HostName, Refusal};

use crate::fixtures::minute;

fn host_name() -> HostName {
    "web1.example.org".parse().unwrap()
}

#[test]
fn a_refusal_says_what_why_and_how_to_ask() {
    let refusal = Refusal::because(Code::NoGrant).to(Action::Ssh);
    assert_eq!(
        refusal.message(&host_name(), "alice", None),
        "jit: alice may not log in to web1.example.org.\n\
         No grant opens this login (JIT-101).\n\
         Ask: jitctl request ROLE --host web1.example.org --for 30m --reason \"WHY\""
    );
}

#[test]
fn an_expired_grant_names_its_end_and_the_role_to_ask_for_again() {
    let refusal = Refusal::because(Code::Expired)
        .to(Action::Sudo)
        .at(minute(0))
        .of_role(&"web-admin".parse().unwrap());
    assert_eq!(
        refusal.message(&host_name(), "alice", Some("https://jit.example.org")),
        "jit: alice may not use sudo on web1.example.org.\n\
         The grant expired at 2026-11-22 12:00:00 UTC (JIT-102).\n\
         Ask at https://jit.example.org: jitctl request web-admin --host web1.example.org --for 30m --reason \"WHY\""
    );
}

#[test]
fn a_grant_to_come_says_when() {
    let message = Refusal::because(Code::NotYetStarted)
        .to(Action::Ssh)
        .at(minute(0))
        .message(&host_name(), "alice", None);
    assert!(
        message.contains("has not started yet; it starts at 2026-11-22 12:00:00 UTC (JIT-103)"),
        "{message}"
    );
}

#[test]
fn a_message_is_three_clean_lines_whatever_the_texts_in_it() {
    let hostile = "x\u{1b}]0;owned\u{7}\n\r\u{202e}\u{200b}\u{9b}é".repeat(40);
    for code in Code::ALL {
        let refusal = Refusal::because(*code).to(Action::Su).with_detail(&hostile);
        let message = refusal.message(&host_name(), &hostile, Some(&hostile));
        assert_eq!(message.lines().count(), 3, "{message}");
        assert!(
            message
                .bytes()
                .all(|b| b == b'\n' || b == b' ' || b.is_ascii_graphic()),
            "{message:?}"
        );
        assert!(message.contains(code.as_str()));
    }
}
