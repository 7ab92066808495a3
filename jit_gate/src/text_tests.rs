use proptest::prelude::*;

use super::*;
use crate::mode::Mode;

const BOOT: &str = "3f2b9a50-6d1c-4c55-9e0e-0123456789ab";

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Monitor),
        Just(Mode::Enforce),
        any::<u64>().prop_map(|until| Mode::Provisional {
            until,
            boot: BOOT.parse().expect("a boot id")
        }),
    ]
}

/// Texts as found in /etc/pam.d and worse: comments, CRLF, no last line end, empty lines, bytes that are not UTF-8.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just(b"#%PAM-1.0".to_vec()),
        Just(b"# a comment".to_vec()),
        Just(b"@include common-account".to_vec()),
        Just(b"account\t[success=1 default=ignore]\tpam_unix.so ".to_vec()),
        Just(b"session required pam_env.so \\".to_vec()),
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..40),
    ];
    let end = prop_oneof![4 => Just(&b"\n"[..]), 1 => Just(&b"\r\n"[..])];
    (proptest::collection::vec((line, end), 0..12), any::<bool>()).prop_map(|(lines, ended)| {
        let mut text: Vec<u8> = lines
            .into_iter()
            .flat_map(|(line, end)| [line, end.to_vec()].concat())
            .collect();
        if !ended {
            text.pop();
        }
        text
    })
}

fn trimmed_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(text).map(<[u8]>::trim_ascii_end)
}

fn gateable() -> impl Strategy<Value = Vec<u8>> {
    any_text().prop_filter("can be gated", |text| gate(text, &Mode::Monitor).is_ok())
}

proptest! {
    #[test]
    fn a_gate_that_gives_groups_is_one_and_goes_as_it_came(text in gateable(), mode in any_mode(), then in any_mode()) {
        let with = gate_with_groups(&text, &mode).expect("gateable");
        prop_assert_eq!(state(&with), State::Gated(mode.clone()));
        prop_assert!(gives_groups(&with));
        prop_assert_eq!(&gate_with_groups(&with, &mode).expect("gateable"), &with);
        // From a gate of before, and back to one.
        let before = gate(&text, &then).expect("gateable");
        prop_assert!(!gives_groups(&before));
        prop_assert_eq!(&gate_with_groups(&before, &mode).expect("gateable"), &with);
        prop_assert_eq!(gate(&with, &then).expect("gateable"), before);
        prop_assert_eq!(ungate(&with), text);
    }

    #[test]
    fn ungate_gives_back_the_text_to_the_byte(text in gateable(), mode in any_mode()) {
        prop_assert_eq!(ungate(&gate(&text, &mode).expect("gateable")), text);
    }

    #[test]
    fn gating_twice_is_gating_once(text in gateable(), mode in any_mode()) {
        let once = gate(&text, &mode).expect("gateable");
        prop_assert_eq!(gate(&once, &mode).expect("gateable"), once);
    }

    #[test]
    fn a_change_of_mode_changes_our_lines_alone(text in gateable(), first in any_mode(), then in any_mode()) {
        let changed = gate(&gate(&text, &first).expect("gateable"), &then).expect("gateable");
        prop_assert_eq!(changed, gate(&text, &then).expect("gateable"));
    }

    #[test]
    fn what_the_lines_say_is_the_mode(text in gateable(), mode in any_mode()) {
        prop_assert_eq!(state(&gate(&text, &mode).expect("gateable")), State::Gated(mode));
        prop_assert_eq!(state(&text), State::Ungated);
    }

    #[test]
    fn lines_that_others_put_in_between_survive(text in gateable(), mode in any_mode(), at in any::<prop::sample::Index>(), tail in any::<bool>()) {
        const FOREIGN: &[u8] = b"auth required pam_foreign.so\n";
        let gated = gate(&text, &mode).expect("gateable");
        let mut starts: Vec<usize> = lines(&gated).scan(0, |offset, line| { let start = *offset; *offset += line.len(); Some(start) }).collect();
        starts.push(gated.len());
        let at = if tail { gated.len() } else { starts[at.index(starts.len())] };
        let edited = [&gated[..at], FOREIGN, &gated[at..]].concat();
        let bare = ungate(&edited);
        prop_assert!(trimmed_lines(&bare).any(|line| line == FOREIGN.trim_ascii_end()));
        let others: Vec<_> = trimmed_lines(&bare).filter(|line| *line != FOREIGN.trim_ascii_end()).collect();
        prop_assert_eq!(others, trimmed_lines(&text).collect::<Vec<_>>());
    }

    #[test]
    fn our_first_line_comes_before_every_other_module(text in gateable(), mode in any_mode()) {
        let gated = gate(&text, &mode).expect("gateable");
        let first = lines(&gated).find(|line| !line.trim_ascii().is_empty() && !line.starts_with(b"#")).map(<[u8]>::to_vec);
        prop_assert_eq!(first, Some(format!("{}\n", mode.account_line()).into_bytes()));
    }
}

#[test]
fn the_lines_are_those_of_the_contract() {
    let gated = gate(b"#%PAM-1.0\n@include common-account\n", &Mode::Monitor).expect("gateable");
    insta::assert_snapshot!(String::from_utf8(gated).expect("text"), @r"
    #%PAM-1.0
    # jit begin: managed by jitctl gate, taken out by jitctl ungate
    account optional pam_jit.so monitor
    session optional pam_jit.so monitor before
    # jit end
    @include common-account
    # jit begin: managed by jitctl gate, taken out by jitctl ungate
    session optional pam_jit.so monitor after
    # jit end
    ");
    let mode = Mode::Provisional {
        until: 905,
        boot: BOOT.parse().expect("a boot id"),
    };
    insta::assert_snapshot!(String::from_utf8(gate(b"", &mode).expect("gateable")).expect("text"), @r"
    # jit begin: managed by jitctl gate, taken out by jitctl ungate
    account requisite pam_jit.so enforce until=905 boot=3f2b9a50-6d1c-4c55-9e0e-0123456789ab
    session requisite pam_jit.so enforce until=905 boot=3f2b9a50-6d1c-4c55-9e0e-0123456789ab before
    # jit end
    # jit begin: managed by jitctl gate, taken out by jitctl ungate
    session requisite pam_jit.so enforce until=905 boot=3f2b9a50-6d1c-4c55-9e0e-0123456789ab after
    # jit end
    ");
}

#[test]
fn every_debian_file_comes_back_to_the_byte() {
    for name in [
        "sshd",
        "sudo",
        "sudo-i",
        "su",
        "su-l",
        "login",
        "vendor-polkit-1",
    ] {
        let path = format!(
            "{}/../jitctl/tests/fixtures/debian12/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read(path).expect("a fixture");
        let gated = gate(&text, &Mode::Enforce).expect("gateable");
        assert_eq!(state(&gated), State::Gated(Mode::Enforce), "{name}");
        assert_eq!(ungate(&gated), text, "{name}");
    }
}

#[test]
fn a_last_line_without_end_and_a_line_added_after_our_block_stay_two_lines() {
    let mut gated = gate(b"account required pam_unix.so", &Mode::Monitor).expect("gateable");
    gated.extend_from_slice(b"session optional pam_late.so\n");
    assert_eq!(
        ungate(&gated),
        b"account required pam_unix.so\nsession optional pam_late.so\n"
    );
    assert_eq!(state(&gated), State::Damaged(Some(Mode::Monitor)));
    let right = gate(&gated, &Mode::Monitor).expect("gateable");
    assert_eq!(
        state(&right),
        State::Gated(Mode::Monitor),
        "gating again puts the closing block last"
    );
}

#[test]
fn a_module_line_written_by_hand_is_refused_and_named() {
    let text = b"# pam_jit.so is fine in a comment\naccount sufficient pam_jit.so monitor\n";
    assert_eq!(
        gate(text, &Mode::Monitor),
        Err(TextError::Stray { line: 2 })
    );
    assert_eq!(
        ungate(text),
        text,
        "ungate takes out nothing that gate did not put in"
    );
}

#[test]
fn a_continued_last_line_is_refused() {
    assert_eq!(
        gate(b"session required pam_env.so \\\n", &Mode::Monitor),
        Err(TextError::Continued)
    );
    assert_eq!(
        gate(b"session required pam_env.so \\", &Mode::Monitor),
        Err(TextError::Continued)
    );
    assert_eq!(
        gate(b"session required pam_env.so \\  # why\n", &Mode::Monitor),
        Err(TextError::Continued)
    );
}

#[test]
fn half_of_our_lines_is_damage_and_gating_again_repairs_it() {
    let whole = gate(b"@include common-account\n", &Mode::Enforce).expect("gateable");
    let half = &whole[..whole.len() - 40];
    assert_eq!(state(half), State::Damaged(Some(Mode::Enforce)));
    let lone_marker = format!("{BEGIN}\n@include common-account\n");
    assert_eq!(state(lone_marker.as_bytes()), State::Damaged(None));
    assert_eq!(ungate(lone_marker.as_bytes()), b"@include common-account\n");
}

#[test]
fn a_copy_is_told_by_its_first_line() {
    let copy = mark_copy(b"#%PAM-1.0\n@include common-account\n", "abc123");
    assert_eq!(
        split_copy(&copy),
        Some(("abc123", &b"#%PAM-1.0\n@include common-account\n"[..]))
    );
    let gated = gate(&copy, &Mode::Monitor).expect("gateable");
    assert_eq!(ungate(&gated), copy);
    assert_eq!(split_copy(b"#%PAM-1.0\n"), None);
}

#[test]
fn the_line_for_groups_stands_first_of_auth_and_refuses_nobody() {
    let gated = gate_with_groups(b"@include common-auth\n", &Mode::Enforce).expect("gateable");
    insta::assert_snapshot!(String::from_utf8(gated).expect("text"), @r"
    # jit begin: managed by jitctl gate, taken out by jitctl ungate
    auth optional pam_jit.so enforce
    account requisite pam_jit.so enforce
    session requisite pam_jit.so enforce before
    # jit end
    @include common-auth
    # jit begin: managed by jitctl gate, taken out by jitctl ungate
    session requisite pam_jit.so enforce after
    # jit end
    ");
}

#[test]
fn a_gate_whose_lines_say_two_modes_is_none() {
    let gated = gate_with_groups(b"", &Mode::Enforce).expect("gateable");
    let text = String::from_utf8(gated).expect("text");
    let other = text.replace(
        "auth optional pam_jit.so enforce",
        "auth optional pam_jit.so monitor",
    );
    assert!(matches!(state(other.as_bytes()), State::Damaged(_)));
    assert!(!gives_groups(other.as_bytes()));
}
