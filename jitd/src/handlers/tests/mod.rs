mod control;
mod groups;
mod keys;
mod limits;

use super::*;
use crate::fixture::{ADA, Fixture, TinyDisk, caller, only, session};
use jit_grant::{Action, Code, Credential, Fingerprint, Grant};
use jit_local::message::pam::{Call as PamCall, Verdict};
use serde_json::json;

const KEY: &str =
    "publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

fn fingerprint() -> Fingerprint {
    Fingerprint::of_public_key_line(KEY.strip_prefix("publickey ").unwrap()).unwrap()
}

fn pam(service: &str, user: &str) -> PamCall {
    PamCall {
        service: service.into(),
        user: user.into(),
        enforce: true,
        ..PamCall::default()
    }
}

async fn ask(fixture: &Fixture, method: Method, call: &PamCall, real_uid: u32) -> (Verdict, bool) {
    let frame = Call::new("io.jit.Pam.X", call).unwrap();
    let answer = fixture
        .host
        .answer(method, &frame, Received::default(), &caller(real_uid))
        .await;
    (answer.reply.parameters().unwrap(), answer.end_connection)
}

async fn account(fixture: &Fixture, call: &PamCall, real_uid: u32) -> Verdict {
    ask(fixture, Method::Account, call, real_uid).await.0
}

fn code(verdict: &Verdict) -> Option<&str> {
    assert_eq!(verdict.allow, verdict.code.is_none());
    verdict.code.as_deref()
}

async fn ada() -> Fixture {
    let fixture = Fixture::new();
    let grant = fixture.grant(1, "ada");
    fixture.granting(vec![grant]).await
}

#[tokio::test]
async fn without_a_grant_a_login_is_refused_with_what_to_do() {
    let fixture = Fixture::new().granting(vec![]).await;
    let verdict = account(&fixture, &pam("sshd", "ada"), 0).await;
    assert_eq!(code(&verdict), Some("JIT-101"));
    let message = verdict.message.unwrap();
    assert!(
        message.contains("ada") && message.contains("web1") && message.contains("jitctl request"),
        "{message}"
    );
}

#[tokio::test]
async fn with_a_grant_a_login_is_allowed_until_its_end() {
    let fixture = ada().await;
    let verdict = account(&fixture, &pam("sshd", "ada"), 0).await;
    assert_eq!(
        (verdict.grant.as_deref(), verdict.until.as_deref()),
        (Some("g1"), Some("2026-11-22T13:00:00Z"))
    );
    let event = fixture.last_event("decision");
    assert_eq!(
        (&event["allow"], &event["grant"], &event["mode"]),
        (&json!(true), &json!("g1"), &json!("enforce"))
    );
}

#[tokio::test]
async fn nobody_else_and_nothing_else_is_allowed() {
    let fixture = Fixture::new();
    let grant = Grant {
        allow: only(Action::Ssh),
        ..fixture.grant(1, "ada")
    };
    let fixture = fixture.granting(vec![grant]).await;
    assert_eq!(
        code(&account(&fixture, &pam("sshd", "bob"), 0).await),
        Some("JIT-101")
    );
    assert_eq!(
        code(&account(&fixture, &pam("sudo", "ada"), ADA).await),
        Some("JIT-104")
    );
    assert_eq!(
        code(&account(&fixture, &pam("su", "root"), ADA).await),
        Some("JIT-104")
    );
}

#[tokio::test]
async fn in_monitor_mode_the_verdict_is_what_it_would_have_been_and_nothing_is_moved_or_ended() {
    let fixture = Fixture::new().granting(vec![]).await;
    for (service, user, uid) in [("sshd", "ada", 0), ("sudo", "ada", ADA)] {
        let call = PamCall {
            enforce: false,
            ..pam(service, user)
        };
        assert_eq!(code(&account(&fixture, &call, uid).await), Some("JIT-101"));
        assert_eq!(fixture.last_event("decision")["mode"], "monitor");
        let (verdict, end) = ask(&fixture, Method::OpenBefore, &call, uid).await;
        assert_eq!((verdict.allow, end), (false, false));
        assert!(!ask(&fixture, Method::OpenAfter, &call, uid).await.1);
    }
    // The login is listed all the same.
    let asked = fixture.fake().asked();
    assert!(
        asked
            .iter()
            .all(|call| ["confirm_elevation", "open_login"].contains(&call.as_str())),
        "{asked:?}"
    );
    let openings = fixture.fake().openings.lock().unwrap();
    assert!(openings.len() == 1 && !openings[0].enforce && openings[0].standing.is_none());
}

#[tokio::test]
async fn a_shared_login_opens_only_to_the_key_of_the_principal_whose_grant_it_is() {
    let fixture = Fixture::new();
    let grant = Grant {
        shared: true,
        keys: vec![fingerprint()],
        ..fixture.grant(1, "ops")
    };
    let fixture = fixture.granting(vec![grant]).await;
    let call = |info: &str| PamCall {
        auth_info: Some(info.into()),
        ..pam("sshd", "ops")
    };
    // The account phase does not know the key yet.
    assert!(account(&fixture, &call(""), 0).await.allow);
    let other = "publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8hs9oBxmZ3nmGnSUnOKM1vXxG1s1Hb0+sXbcuoJbAp";
    for info in [
        other,
        "password",
        "",
        "publickey ssh-ed25519-cert-v01@openssh.com AAAA",
    ] {
        for method in [Method::OpenBefore, Method::OpenAfter] {
            let (verdict, end) = ask(&fixture, method, &call(info), 0).await;
            assert!(
                !verdict.allow && end,
                "{info}: a refused session must end its connection"
            );
        }
    }
    assert!(fixture.fake().asked().is_empty());
    assert!(
        ask(&fixture, Method::OpenBefore, &call(KEY), 0)
            .await
            .0
            .allow
    );
    assert!(
        ask(&fixture, Method::OpenAfter, &call(KEY), 0)
            .await
            .0
            .allow
    );
    let openings = fixture.fake().openings.lock().unwrap();
    assert_eq!(openings[0].query.credential, Credential::Key(fingerprint()));
}

/// pam_env reads ~/.pam_environment between our two lines on Debian 12, and a shared login's home is everybody's (T2).
#[tokio::test]
async fn a_key_that_is_claimed_after_the_first_session_line_is_nobody_s() {
    let fixture = Fixture::new();
    let grant = Grant {
        shared: true,
        keys: vec![fingerprint()],
        ..fixture.grant(1, "ops")
    };
    let mine = "publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8hs9oBxmZ3nmGnSUnOKM1vXxG1s1Hb0+sXbcuoJbAp";
    let lesser = Grant {
        keys: vec![
            Fingerprint::of_public_key_line(mine.strip_prefix("publickey ").unwrap()).unwrap(),
        ],
        shared: true,
        allow: only(Action::Ssh),
        ..fixture.grant(2, "ops")
    };
    let fixture = fixture.granting(vec![grant, lesser]).await;
    let call = |info: &str| PamCall {
        auth_info: Some(info.into()),
        ..pam("sshd", "ops")
    };
    let before = ask(&fixture, Method::OpenBefore, &call(mine), 0).await.0;
    let after = ask(&fixture, Method::OpenAfter, &call(KEY), 0).await.0;
    assert_eq!(before.grant.as_deref(), Some("g2"));
    assert_eq!(after.grant.as_deref(), Some("g2"));
    let held = fixture.fake().openings.lock().unwrap()[0]
        .standing
        .clone()
        .unwrap();
    assert_eq!(held.principal.as_str(), "p2");
    // Said once: a last line without a first one says nothing of anybody.
    let (alone, end) = ask(&fixture, Method::OpenAfter, &call(KEY), 0).await;
    assert_eq!((code(&alone), end), (Some("JIT-120"), true));
}

#[tokio::test]
async fn a_login_that_cannot_be_held_to_its_end_is_refused_and_its_connection_ended() {
    let fixture = ada().await;
    *fixture.fake().refuse.lock().unwrap() = Some(Refused {
        code: Code::NoScope,
        message: "no scope".into(),
    });
    let call = pam("sshd", "ada");
    assert!(ask(&fixture, Method::OpenBefore, &call, 0).await.0.allow);
    let (verdict, end) = ask(&fixture, Method::OpenAfter, &call, 0).await;
    assert_eq!((code(&verdict), end), (Some("JIT-130"), true));
    assert_eq!(fixture.last_event("refused")["code"], "JIT-130");
}

#[tokio::test]
async fn sudo_is_answered_yes_only_once_its_elevation_is_held() {
    let fixture = ada().await;
    *fixture.fake().containing.lock().unwrap() = Some(session("ada", Some("p1")));
    let call = PamCall {
        ruser: Some("ada".into()),
        ..pam("sudo", "ada")
    };
    assert!(account(&fixture, &call, ADA).await.allow);
    {
        let openings = fixture.fake().openings.lock().unwrap();
        assert_eq!(
            openings[0].query.credential,
            Credential::Principal("p1".parse().unwrap())
        );
        assert_eq!(
            openings[0].parent.as_ref().map(SessionId::as_str),
            Some("bbbbbbbbbb")
        );
    }
    assert!(ask(&fixture, Method::OpenBefore, &call, ADA).await.0.allow);
    assert!(ask(&fixture, Method::OpenAfter, &call, ADA).await.0.allow);
    assert_eq!(
        fixture.fake().asked(),
        [
            "open_elevation",
            "confirm_elevation",
            "goes_on_as ada",
            "adopt_scope"
        ]
    );
    *fixture.fake().refuse.lock().unwrap() = Some(Refused {
        code: Code::EndNotArmed,
        message: "no".into(),
    });
    assert_eq!(code(&account(&fixture, &call, ADA).await), Some("JIT-131"));
    // By then sudo may not stop at a refusal.
    assert!(ask(&fixture, Method::OpenAfter, &call, ADA).await.1);
}

#[tokio::test]
async fn the_decision_is_recorded_before_anything_is_opened() {
    let fixture = ada().await;
    *fixture.fake().hang.lock().unwrap() = true;
    account(&fixture, &pam("sudo", "ada"), ADA).await;
    let events = fixture.events();
    let place = |kind: &str| {
        events
            .iter()
            .position(|event| event["kind"] == kind)
            .unwrap()
    };
    assert!(place("decision") < place("refused"));
}

#[tokio::test]
async fn a_session_phase_without_an_account_phase_is_decided_and_held_all_the_same() {
    let fixture = ada().await;
    assert!(
        ask(&fixture, Method::OpenBefore, &pam("sudo", "root"), ADA)
            .await
            .0
            .allow
    );
    assert_eq!(
        fixture.fake().asked(),
        [
            "confirm_elevation",
            "open_elevation",
            "confirm_elevation",
            "goes_on_as root"
        ]
    );
    let fixture = Fixture::new().granting(vec![]).await;
    assert!(
        !ask(&fixture, Method::OpenBefore, &pam("su", "root"), ADA)
            .await
            .0
            .allow
    );
}

#[tokio::test]
async fn somebody_elses_login_session_vouches_for_nobody_but_its_principal() {
    let fixture = ada().await;
    *fixture.fake().containing.lock().unwrap() = Some(session("ada", Some("p2")));
    assert!(!account(&fixture, &pam("sudo", "ada"), ADA).await.allow);
}

#[tokio::test]
async fn root_itself_is_recorded_and_never_refused_by_su_and_sudo() {
    let fixture = Fixture::new();
    for service in ["su", "su-l", "sudo", "sudo-i", "polkit-1"] {
        for method in [Method::Account, Method::OpenBefore, Method::OpenAfter] {
            assert!(
                ask(&fixture, method, &pam(service, "ada"), 0).await.0.allow,
                "{service}"
            );
        }
        assert_eq!(fixture.last_event("decision")["login"], "root");
    }
    assert!(fixture.fake().openings.lock().unwrap().is_empty());
}

#[tokio::test]
async fn root_over_ssh_can_never_be_granted() {
    let fixture = ada().await;
    assert_eq!(
        code(&account(&fixture, &pam("sshd", "root"), 0).await),
        Some("JIT-120")
    );
}

#[tokio::test]
async fn a_caller_whose_names_disagree_is_refused_and_the_record_says_why() {
    let fixture = ada().await;
    let call = PamCall {
        ruser: Some("root".into()),
        ..pam("sudo", "ada")
    };
    assert_eq!(code(&account(&fixture, &call, ADA).await), Some("JIT-120"));
    assert!(
        fixture.last_event("decision")["why"]
            .as_str()
            .unwrap()
            .contains("PAM_RUSER")
    );
}

#[tokio::test]
async fn a_gated_service_that_stands_for_nothing_is_refused() {
    let fixture = ada().await;
    assert_eq!(
        code(&account(&fixture, &pam("ftpd", "ada"), 0).await),
        Some("JIT-121")
    );
}

#[tokio::test]
async fn polkits_helper_is_answered_without_being_moved_and_pkexec_is_held() {
    let fixture = ada().await;
    let call = pam("polkit-1", "root");
    assert!(account(&fixture, &call, ADA).await.allow);
    assert!(fixture.fake().asked().is_empty());
    assert!(ask(&fixture, Method::OpenBefore, &call, ADA).await.0.allow);
    assert_eq!(
        fixture.fake().asked(),
        [
            "confirm_elevation",
            "open_elevation",
            "confirm_elevation",
            "goes_on_as root"
        ]
    );
}

#[tokio::test]
async fn a_decision_that_takes_too_long_is_a_refusal() {
    let fixture = ada().await;
    *fixture.fake().hang.lock().unwrap() = true;
    assert_eq!(
        code(&account(&fixture, &pam("sudo", "ada"), ADA).await),
        Some("JIT-151")
    );
}

#[tokio::test]
async fn what_cannot_be_recorded_is_refused_but_a_kill_goes_on() {
    let Some(disk) = TinyDisk::mount(64 * 1024) else {
        return;
    };
    let events = disk.path().join("events");
    let fixture = Fixture::recording_in(Some(&events));
    let grant = fixture.grant(1, "ada");
    let fixture = fixture.granting(vec![grant]).await;
    disk.fill();
    let mut verdict = account(&fixture, &pam("sshd", "ada"), 0).await;
    for _ in 0..2000 {
        if !verdict.allow {
            break;
        }
        verdict = account(&fixture, &pam("sshd", "ada"), 0).await;
    }
    assert_eq!(code(&verdict), Some("JIT-140"));
    assert!(
        account(&fixture, &pam("su", "ada"), 0).await.allow,
        "root must be able to make room"
    );
    fixture
        .host
        .grants
        .take_bundle(fixture.bundle(8, vec![]))
        .await
        .unwrap();
    assert_eq!(fixture.host.grants.overview().grants, 0);
}

#[tokio::test]
async fn grants_that_go_stale_end_sessions() {
    let fixture = ada().await;
    // The timer is the kernel's, and what is left is told by the test's clock: it rings in 20 ms, and again while that stands still.
    fixture.readings.pass(Duration::from_millis(3_599_980));
    let alarm = Alarm::new().unwrap();
    let watch = tokio::spawn(Arc::clone(&fixture.host).watch_freshness(alarm));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(fixture.fake().asked().is_empty());
    fixture.readings.pass(Duration::from_secs(1));
    let reconsidered = async {
        while fixture.fake().asked() != ["reconsider"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reconsidered)
        .await
        .unwrap();
    assert_eq!(fixture.last_event("grants.stale")["max_staleness_s"], 3600);
    watch.abort();
}
