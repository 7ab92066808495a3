//! A grant for one login opens one, whatever happens to jitd and to its disk.

use super::*;
use crate::session::Standing;

/// ada's grant for one login, in force and fresh.
async fn once(host: &Host) -> Arc<Grants> {
    let grants = host.start();
    host.say(&grants, 0).unwrap();
    grants.keep_uses().unwrap();
    grants.take_bundle(bundle(host, 7, &["g1"])).await.unwrap();
    host.say(&grants, 7).unwrap();
    grants
}

fn bundle(host: &Host, revision: u64, ids: &[&str]) -> Vec<u8> {
    let now = host.clock.now();
    let grant = |id: &&str| Grant {
        id: id.parse().unwrap(),
        limits: Limits {
            single_use: true,
            ..Limits::default()
        },
        ..host.grant_at("ada", now)
    };
    let grants = ids.iter().map(grant).collect();
    host.bundle_of(host_id(), revision, now, grants)
}

fn code(standing: Standing) -> Result<String, Code> {
    match standing {
        Standing::Live(live) => Ok(live.grant.to_string()),
        Standing::Over { code, .. } => Err(code),
    }
}

fn opens(grants: &Grants, login: &str) -> Result<String, Code> {
    code(grants.open(&mut query(), login))
}

fn goes_on(grants: &Grants, login: &str) -> Result<String, Code> {
    let query = Query {
        within: Some(login.to_owned()),
        ..query()
    };
    code(grants.standing(&query))
}

fn used() -> Result<String, Code> {
    Err(Code::UsedUp)
}

/// The machine starts again, and hears its server.
fn reboot(host: &mut Host) -> Arc<Grants> {
    host.boot_id = "boot-2".to_owned();
    let grants = host.start();
    host.say(&grants, 7).unwrap();
    grants
}

#[tokio::test]
async fn what_is_used_up_stays_so_over_a_restart_and_a_reboot_and_its_login_goes_on() {
    let mut host = Host::new();
    let grants = once(&host).await;
    assert_eq!(ask(&grants), Ok("g1".into()), "asking uses nothing up");
    assert_eq!(opens(&grants, "first"), Ok("g1".into()));
    grants.keep_uses().unwrap();
    assert_eq!((ask(&grants), opens(&grants, "second")), (used(), used()));
    drop(grants);
    let grants = host.start();
    assert_eq!(goes_on(&grants, "first"), Ok("g1".into()));
    assert_eq!(
        (opens(&grants, "second"), goes_on(&grants, "second")),
        (used(), used())
    );
    drop(grants);
    let grants = reboot(&mut host);
    assert_eq!(opens(&grants, "third"), used());
}

#[tokio::test]
async fn killed_before_it_was_written_down_nobody_was_let_in_and_the_grant_is_left() {
    let host = Host::new();
    let grants = once(&host).await;
    assert_eq!(opens(&grants, "first"), Ok("g1".into()));
    drop(grants);
    let grants = host.start();
    assert_eq!(goes_on(&grants, "first"), used(), "it never had its yes");
    assert_eq!(opens(&grants, "second"), Ok("g1".into()));
}

#[tokio::test]
async fn of_logins_that_race_exactly_one_gets_in() {
    let host = Host::new();
    let grants = once(&host).await;
    let logins: Vec<String> = (0..16).map(|n| format!("login{n}")).collect();
    let let_in = std::thread::scope(|scope| {
        let each = logins.iter().map(|login| {
            let grants = &grants;
            scope.spawn(move || opens(grants, login).is_ok() && grants.keep_uses().is_ok())
        });
        let each: Vec<_> = each.collect();
        let came = each.into_iter().map(|login| login.join().unwrap());
        came.filter(|let_in| *let_in).count()
    });
    assert_eq!(let_in, 1);
}

#[tokio::test]
async fn with_its_file_lost_a_host_opens_nothing_that_began_before_and_what_begins_later() {
    let mut host = Host::new();
    let grants = once(&host).await;
    assert_eq!(opens(&grants, "first"), Ok("g1".into()));
    grants.keep_uses().unwrap();
    drop(grants);
    let file = host.state().join("state/uses.json");
    host.readings.pass(Duration::from_secs(1));
    for lost in [None, Some(""), Some("{}"), Some("not JSON")] {
        match lost {
            None => fs::remove_file(&file).unwrap(),
            Some(text) => fs::write(&file, text).unwrap(),
        }
        let grants = reboot(&mut host);
        assert_eq!(
            (opens(&grants, "second"), goes_on(&grants, "first")),
            (used(), used()),
            "{lost:?}"
        );
    }
    host.readings.pass(Duration::from_secs(60));
    let grants = reboot(&mut host);
    grants.keep_uses().unwrap();
    host.readings.pass(Duration::from_secs(60));
    let mut both = vec![host.grant_at("ada", host.clock.now() - HOUR)];
    both.push(Grant {
        id: "g2".parse().unwrap(),
        ..host.grant_at("ada", host.clock.now())
    });
    for grant in &mut both {
        grant.limits.single_use = true;
    }
    let bundle = host.bundle_of(host_id(), 8, host.clock.now(), both);
    grants.take_bundle(bundle).await.unwrap();
    assert_eq!(opens(&grants, "second"), Ok("g2".into()));
    assert_eq!(opens(&grants, "third"), used());
    drop(grants);
    // What was learnt of the loss is kept, too.
    assert_eq!(goes_on(&host.start(), "second"), used());
}

#[tokio::test]
async fn with_its_file_lost_the_login_that_is_open_by_it_goes_on_and_no_other_opens() {
    let mut host = Host::new();
    let grants = once(&host).await;
    assert_eq!(opens(&grants, "first"), Ok("g1".into()));
    grants.keep_uses().unwrap();
    drop(grants);
    fs::remove_file(host.state().join("state/uses.json")).unwrap();
    let grants = host.start();
    assert_eq!(goes_on(&grants, "first"), used());
    grants.recall(&"g1".parse().unwrap(), "first");
    for _ in 0..2 {
        assert_eq!(goes_on(&grants, "first"), Ok("g1".into()));
        assert_eq!(opens(&grants, "second"), used());
        host.say(&grants, 7).unwrap();
    }
    grants.keep_uses().unwrap();
    drop(grants);
    let grants = reboot(&mut host);
    assert_eq!(goes_on(&grants, "first"), Ok("g1".into()));
    assert_eq!(opens(&grants, "second"), used());
}

#[tokio::test]
async fn where_nothing_was_lost_nobody_says_what_is_used_up() {
    let host = Host::new();
    let grants = once(&host).await;
    drop(grants);
    let grants = host.start();
    grants.recall(&"g1".parse().unwrap(), "never let in");
    assert_eq!(goes_on(&grants, "never let in"), used());
    assert_eq!(opens(&grants, "second"), Ok("g1".into()));
}

#[tokio::test]
async fn an_old_word_tells_nothing_of_when_memory_was_lost() {
    let host = Host::new();
    let old = host.word(host.start().new_nonce().unwrap(), 7);
    host.readings.pass(Duration::from_secs(60));
    let grants = host.start();
    grants.take_bundle(bundle(&host, 7, &["g1"])).await.unwrap();
    assert_eq!(grants.take_word(&old), Err(DocumentRefused::NotOurNonce));
    assert!(!grants.has_unkept_uses());
}

#[tokio::test]
async fn on_a_disk_that_takes_nothing_it_is_not_kept_and_given_back_it_is_left() {
    let host = Host::new();
    let grants = once(&host).await;
    let file = host.state().join("state/uses.json");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(opens(&grants, "first"), Ok("g1".into()));
    grants.keep_uses().unwrap_err();
    let g1 = "g1".parse().unwrap();
    grants.give_back(&g1, "second");
    assert_eq!(opens(&grants, "second"), used());
    grants.give_back(&g1, "first");
    fs::remove_dir(&file).unwrap();
    assert_eq!(opens(&grants, "second"), Ok("g1".into()));
    grants.keep_uses().unwrap();
    // What is on disk may have let somebody in.
    grants.give_back(&g1, "second");
    assert_eq!(opens(&grants, "third"), used());
}

#[test]
fn what_another_login_took_while_the_disk_wrote_is_not_on_it_yet() {
    let g1: jit_grant::GrantId = "g1".parse().unwrap();
    let mut book = UseBook::default();
    book.take(g1.clone(), "first");
    let (_, written) = book.to_keep();
    book.give_back(&g1, "first");
    book.take(g1, "second");
    book.kept(&written);
    assert!(book.is_unkept());
}

#[tokio::test]
async fn what_is_over_is_forgotten_and_the_file_stays_small() {
    let host = Host::new();
    let grants = once(&host).await;
    assert_eq!(opens(&grants, "first"), Ok("g1".into()));
    grants.keep_uses().unwrap();
    host.readings.pass(Duration::from_secs(1));
    grants.take_bundle(bundle(&host, 8, &["g2"])).await.unwrap();
    assert_eq!(opens(&grants, "second"), Ok("g2".into()));
    grants.keep_uses().unwrap();
    let text = fs::read_to_string(host.state().join("state/uses.json")).unwrap();
    assert!(text.contains("g2") && !text.contains("g1"), "{text}");
}

#[tokio::test]
async fn another_server_s_uses_say_nothing_of_this_one_s_grants() {
    let host = Host::new();
    let grants = once(&host).await;
    assert_eq!(opens(&grants, "first"), Ok("g1".into()));
    grants.keep_uses().unwrap();
    let file = host.state().join("state/uses.json");
    let text = fs::read_to_string(&file).unwrap();
    let other = format!("h{}", "1".repeat(32));
    fs::write(&file, text.replace(host_id().as_str(), &other)).unwrap();
    host.readings.pass(Duration::from_secs(1));
    let grants = host.start();
    assert_eq!(opens(&grants, "second"), used(), "it counts as lost");
    host.say(&grants, 7).unwrap();
    assert_eq!(opens(&grants, "second"), used());
    assert_eq!(goes_on(&grants, "first"), used());
}
