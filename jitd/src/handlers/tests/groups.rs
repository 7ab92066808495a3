//! Groups of grants: which logins get them, and what refuses those that can't be given.

use jit_gate::Mode;
use jit_grant::{Groups, Limits};

use super::*;

const GROUP: &str = "root:x:0:\nadm:x:4:\nwheel:x:0:\n";

/// ada's grant g1 with these groups.
async fn ada_with(groups: &[&str]) -> Fixture {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("group"), GROUP).unwrap();
    let grant = with_groups(&fixture, 1, groups);
    fixture.granting(vec![grant]).await
}

fn with_groups(fixture: &Fixture, number: u32, groups: &[&str]) -> Grant {
    let groups: std::collections::BTreeSet<_> =
        groups.iter().map(|name| name.parse().unwrap()).collect();
    Grant {
        limits: Limits {
            groups: Groups::try_from(groups).unwrap(),
            ..Limits::default()
        },
        crit: vec!["groups".to_owned()],
        ..fixture.grant(number, "ada")
    }
}

fn login(sets_groups: bool) -> PamCall {
    PamCall {
        sets_groups,
        ..pam("sshd", "ada")
    }
}

#[tokio::test]
async fn a_login_is_told_the_numbers_of_its_groups_in_the_last_session_line_alone() {
    let fixture = ada_with(&["adm"]).await;
    *fixture.fake().groups.lock().unwrap() = vec!["adm".to_owned()];
    let call = login(true);
    for method in [Method::Account, Method::OpenBefore] {
        let (verdict, _) = ask(&fixture, method, &call, 0).await;
        assert!(verdict.allow && verdict.gids.is_empty());
    }
    let (verdict, _) = ask(&fixture, Method::OpenAfter, &call, 0).await;
    assert_eq!((verdict.allow, verdict.gids), (true, vec![4]));
    let asked = fixture.fake().asked();
    assert_eq!(asked.last().unwrap(), "given_groups {4}");
}

#[tokio::test]
async fn a_group_that_is_not_there_or_is_root_s_refuses_the_login_in_every_phase_and_is_named() {
    for group in ["nosuch", "wheel"] {
        let fixture = ada_with(&["adm", group]).await;
        let call = login(true);
        let verdict = account(&fixture, &call, 0).await;
        assert_eq!(code(&verdict), Some("JIT-113"));
        assert!(verdict.message.unwrap().contains(group));
        for method in [Method::OpenBefore, Method::OpenAfter] {
            let (verdict, end) = ask(&fixture, method, &call, 0).await;
            assert!(!verdict.allow && end && verdict.gids.is_empty());
        }
        assert!(fixture.fake().openings.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn where_another_grant_opens_the_login_it_opens_without_the_group_that_is_not_there() {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("group"), GROUP).unwrap();
    let grants = vec![
        with_groups(&fixture, 1, &["nosuch"]),
        fixture.grant(2, "ada"),
    ];
    let fixture = fixture.granting(grants).await;
    let verdict = account(&fixture, &login(true), 0).await;
    assert_eq!(verdict.grant.as_deref(), Some("g2"));
}

#[tokio::test]
async fn a_gate_that_can_t_give_groups_refuses_a_grant_that_has_some() {
    let fixture = ada_with(&["adm"]).await;
    let (verdict, end) = ask(&fixture, Method::OpenBefore, &login(false), 0).await;
    assert_eq!((code(&verdict), end), (Some("JIT-113"), true));
    // In monitor mode nobody asks for credentials, and nothing is wrong with that.
    let watched = PamCall {
        enforce: false,
        ..login(false)
    };
    let (verdict, _) = ask(&fixture, Method::OpenBefore, &watched, 0).await;
    assert!(verdict.allow && verdict.gids.is_empty());
}

#[tokio::test]
async fn sudo_and_su_need_no_group_and_get_none() {
    let fixture = ada_with(&["nosuch"]).await;
    for service in ["sudo", "su"] {
        let verdict = account(&fixture, &pam(service, "ada"), ADA).await;
        assert!(verdict.allow && verdict.gids.is_empty(), "{service}");
    }
}

#[tokio::test]
async fn a_host_announces_that_it_gives_groups_where_its_gate_can_and_enforces() {
    let fixture = Fixture::new();
    let file = fixture.path("pam.d").join("sshd");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let enforce = &Mode::Enforce;
    let other = jit_gate::gate(b"", enforce).unwrap();
    let until_confirmed = Mode::Provisional {
        until: fixture.clock.boot().as_secs() + 600,
        boot: crate::fixture::BOOT.parse().unwrap(),
    };
    for (text, gives) in [
        (Vec::new(), false),
        (jit_gate::gate(b"", enforce).unwrap(), false),
        (
            jit_gate::gate_with_groups(b"", &Mode::Monitor).unwrap(),
            false,
        ),
        (jit_gate::gate_with_groups(b"", enforce).unwrap(), true),
        (
            jit_gate::gate_with_groups(b"", &until_confirmed).unwrap(),
            true,
        ),
    ] {
        std::fs::write(&file, &text).unwrap();
        // A way in that gives none refuses such grants, and takes nothing from sshd.
        std::fs::write(file.with_file_name("login"), &other).unwrap();
        let look = fixture.host.gates.look(&fixture.clock).await.unwrap();
        assert_eq!(
            super::super::groups::gives_groups(&look),
            gives,
            "{}",
            String::from_utf8_lossy(&text)
        );
    }
}

#[tokio::test]
async fn a_login_that_could_not_be_found_again_gets_no_group() {
    let fixture = ada_with(&["adm"]).await;
    *fixture.fake().no_audit_session.lock().unwrap() = true;
    let before = ask(&fixture, Method::OpenBefore, &login(true), 0).await.0;
    assert!(before.allow, "pam_loginuid comes later");
    let (verdict, end) = ask(&fixture, Method::OpenAfter, &login(true), 0).await;
    assert_eq!((code(&verdict), end), (Some("JIT-113"), true));
    assert!(fixture.fake().openings.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_group_that_goes_while_the_login_is_opened_refuses_it_and_is_named() {
    let fixture = ada_with(&["adm"]).await;
    *fixture.fake().groups.lock().unwrap() = vec!["adm".to_owned(), "went".to_owned()];
    ask(&fixture, Method::OpenBefore, &login(true), 0).await;
    let (verdict, end) = ask(&fixture, Method::OpenAfter, &login(true), 0).await;
    assert_eq!((code(&verdict), end), (Some("JIT-113"), true));
    assert!(verdict.gids.is_empty() && verdict.message.unwrap().contains("went"));
    let asked = fixture.fake().asked();
    assert!(!asked.iter().any(|asked| asked.starts_with("given")));
}

#[tokio::test]
async fn the_decision_of_the_last_line_is_by_the_grant_that_the_groups_end_with() {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("group"), GROUP).unwrap();
    let adm = with_groups(&fixture, 1, &["adm"]);
    let longer = Grant {
        expires: adm.expires + jiff::SignedDuration::from_hours(1),
        ..fixture.grant(2, "ada")
    };
    let fixture = fixture.granting(vec![adm, longer]).await;
    ask(&fixture, Method::OpenBefore, &login(true), 0).await;
    ask(&fixture, Method::OpenAfter, &login(true), 0).await;
    let openings = fixture.fake().openings.lock().unwrap();
    let standing = openings[0].standing.as_ref().unwrap();
    assert_eq!(standing.grant.as_str(), "g1");
    assert!(
        openings[0].query.groups.is_empty(),
        "they are the session's to take"
    );
}
