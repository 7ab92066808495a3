//! What a grant is limited to beside its login, actions and time.

use jit_grant::Limits;

use super::*;

async fn ada_from_the_office() -> Fixture {
    let fixture = Fixture::new();
    let grant = Grant {
        limits: Limits {
            login_from: Some(serde_json::from_value(json!(["10.0.0.0/8"])).unwrap()),
            ..Limits::default()
        },
        crit: vec!["login_from".to_owned()],
        ..fixture.grant(1, "ada")
    };
    fixture.granting(vec![grant]).await
}

fn from(rhost: Option<&str>, service: &str, user: &str) -> PamCall {
    PamCall {
        rhost: rhost.map(str::to_owned),
        ..pam(service, user)
    }
}

/// ada's sudo or su, within a login that came from `rhost`.
async fn elevates(fixture: &Fixture, service: &str, rhost: Option<&str>) -> Verdict {
    let mut parent = session("ada", Some("p1"));
    parent.rhost = rhost.map(str::to_owned);
    *fixture.fake().containing.lock().unwrap() = Some(parent);
    // What PAM says there is what sudo was told, and that is not where the person is.
    let call = from(Some("10.1.2.3"), service, "ada");
    account(fixture, &call, ADA).await
}

#[tokio::test]
async fn a_login_from_another_network_is_refused_in_every_phase_and_not_told_which_would_do() {
    let fixture = ada_from_the_office().await;
    for rhost in [Some("192.0.2.7"), Some("office.example"), Some(""), None] {
        let call = from(rhost, "sshd", "ada");
        let verdict = account(&fixture, &call, 0).await;
        assert_eq!(code(&verdict), Some("JIT-108"), "{rhost:?}");
        let message = verdict.message.unwrap();
        assert!(!message.contains("10."), "{message}");
        for method in [Method::OpenBefore, Method::OpenAfter] {
            let (verdict, end) = ask(&fixture, method, &call, 0).await;
            assert!(!verdict.allow && end, "{rhost:?}");
        }
    }
    assert!(fixture.fake().openings.lock().unwrap().is_empty());
    for rhost in ["10.1.2.3", "::ffff:10.1.2.3"] {
        let call = from(Some(rhost), "sshd", "ada");
        assert!(account(&fixture, &call, 0).await.allow, "{rhost}");
    }
}

#[tokio::test]
async fn a_sudo_and_a_su_come_from_where_their_login_does_and_not_from_where_pam_says() {
    let fixture = ada_from_the_office().await;
    for service in ["sudo", "su"] {
        assert!(elevates(&fixture, service, Some("10.1.2.3")).await.allow);
        for elsewhere in [Some("192.0.2.7"), None] {
            let verdict = elevates(&fixture, service, elsewhere).await;
            assert_eq!(code(&verdict), Some("JIT-108"), "{service} {elsewhere:?}");
        }
    }
    // Kept with the elevation, which is judged by it for as long as it lives.
    let openings = fixture.fake().openings.lock().unwrap();
    let kept = openings
        .iter()
        .map(|opening| opening.query.rhost.as_deref());
    assert_eq!(kept.collect::<Vec<_>>(), [Some("10.1.2.3"); 2]);
}

#[tokio::test]
async fn an_elevation_without_a_login_and_a_job_come_from_nowhere() {
    let fixture = ada_from_the_office().await;
    for (service, uid) in [("sudo", ADA), ("cron", 0)] {
        let call = from(Some("10.1.2.3"), service, "ada");
        let verdict = account(&fixture, &call, uid).await;
        assert_eq!(code(&verdict), Some("JIT-108"), "{service}");
    }
}

#[tokio::test]
async fn a_user_manager_runs_for_whoever_may_log_in_from_somewhere() {
    let fixture = ada_from_the_office().await;
    let verdict = account(&fixture, &from(None, "systemd-user", "ada"), 0).await;
    assert!(verdict.allow, "{verdict:?}");
}
