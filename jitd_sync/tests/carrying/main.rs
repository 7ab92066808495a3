//! jitd-sync between a jitd and a server that the test plays, on sockets in a temporary folder.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails in a test fails the test"
)]

mod elsewhere;
mod held_back;
mod host;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use jitd_sync::courier::{self, Pace};
use tempfile::TempDir;

use host::{Host, Offered};
use upstream::{Asked, Upstream};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Site {
    folder: TempDir,
    host: Host,
    upstream: Upstream,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let upstream = Upstream::at(&folder.path().join("api.sock"));
        let host = Host::at(&folder.path().join("sync.sock"), &upstream.address());
        Self {
            folder,
            host,
            upstream,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the server is asked next, words aside.
    async fn stream_or_bundle(&self) -> Asked {
        loop {
            match self.upstream.asked().await {
                Asked::Word { .. } => {}
                asked => return asked,
            }
        }
    }

    /// Streams were held back: it turned to asking one by one.
    async fn asks_one_by_one(&self) {
        // Whether the server answers at all, twice, and then in earnest.
        for wait in [0, 0, 25] {
            self.upstream.asked_for_bundle(0, wait).await;
        }
    }

    /// Plays `story` while jitd-sync runs.
    async fn play(&self, pace: Pace, story: impl Future<Output = ()>) {
        let socket = self.path("sync.sock");
        tokio::select! {
            never = courier::run(&socket, pace) => match never {},
            told = tokio::time::timeout(PATIENCE, story) => told.expect("the story takes too long"),
        }
    }
}

/// Retries at once, and words only when something asks for one.
fn eager() -> Pace {
    Pace {
        word_every: PATIENCE * 10,
        silence: PATIENCE * 10,
        first_sign: PATIENCE * 10,
        sign_of_life: PATIENCE * 10,
        young: Duration::ZERO,
        stream_soon: PATIENCE * 10,
        stream_again: PATIENCE * 10,
        poll_wait: Duration::from_secs(25),
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(20),
        unreached_wait: Duration::from_millis(20),
    }
}

#[tokio::test]
async fn the_servers_next_keys_reach_jitd_before_the_bundle_that_comes_after_them() {
    let site = Site::new();
    site.play(eager(), async {
        site.upstream.asked_for_stream(0).await;
        site.host.offered_word().await;
        site.upstream.send_keys(&["a.b.c", "d.e.f"]);
        site.upstream.send_bundle("7.b.c");
        let mut offered = site.host.offered().await;
        while offered == Offered::Word {
            offered = site.host.offered().await;
        }
        let chain = vec!["a.b.c".to_owned(), "d.e.f".to_owned()];
        assert_eq!(offered, Offered::Keys(chain));
        assert_eq!(site.host.offered_bundle().await, "7.b.c");
    })
    .await;
}

#[tokio::test]
async fn a_bundle_reaches_jitd_as_it_was_signed_in_a_file_that_nobody_can_change_and_a_word_follows()
 {
    let site = Site::new();
    site.play(eager(), async {
        site.upstream.asked_for_stream(0).await;
        site.host.offered_word().await;
        let bundle = format!("7.{}", "x".repeat(3 * 1024 * 1024));
        site.upstream.send_bundle(&bundle);
        assert_eq!(site.host.offered_bundle().await, bundle);
        assert!(site.host.last_bundle_was_sealed());
        site.host.offered_word().await;
    })
    .await;
}

#[tokio::test]
async fn jitd_is_told_what_keeps_the_server_from_being_heard() {
    let site = Site::new();
    let pace = Pace {
        word_every: Duration::from_millis(5),
        ..eager()
    };
    site.play(pace, async {
        site.host.offered_word().await;
        site.upstream.stop();
        let what = site.host.told_of_trouble().await;
        assert!(what.starts_with("server: "), "{what}");
    })
    .await;
}

#[tokio::test]
async fn jitd_is_told_that_people_should_know_why_it_takes_no_word() {
    let site = Site::new();
    site.play(eager(), async {
        site.host.refuse_words(true);
        let what = site.host.told_of_trouble().await;
        assert!(what.contains("word (JIT-201)"), "{what}");
    })
    .await;
}

#[tokio::test]
async fn every_word_answers_a_fresh_nonce_and_renews_the_token() {
    let site = Site::new();
    let pace = Pace {
        word_every: Duration::from_millis(5),
        ..eager()
    };
    site.play(pace, async {
        let mut seen = Vec::new();
        while seen.len() < 5 {
            if let Asked::Word {
                token,
                nonce,
                state,
            } = site.upstream.asked().await
            {
                assert_eq!(
                    token.trim_start_matches("token-"),
                    nonce.trim_start_matches("nonce-"),
                    "the newest token"
                );
                assert_eq!(
                    state.trim_start_matches("state-"),
                    nonce.trim_start_matches("nonce-"),
                    "how the host stands now"
                );
                assert!(!seen.contains(&nonce));
                seen.push(nonce);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn after_the_server_restarts_the_stream_goes_on_from_the_revision_that_jitd_holds() {
    let site = Site::new();
    site.play(eager(), async {
        site.upstream.asked_for_stream(0).await;
        site.upstream.send_bundle("7.b.c");
        site.host.offered_bundle().await;
        site.upstream.stop();
        let again = Upstream::at(&site.path("api.sock"));
        again.asked_for_stream(7).await;
        again.send_bundle("8.b.c");
        assert_eq!(site.host.offered_bundle().await, "8.b.c");
    })
    .await;
}

#[tokio::test]
async fn a_bundle_that_jitd_refuses_is_offered_again_and_holds_nothing_else_up() {
    let site = Site::new();
    site.play(eager(), async {
        site.host.refuse_bundles(true);
        site.upstream.asked_for_stream(0).await;
        for _ in 0..3 {
            site.upstream.send_bundle("7.b.c");
            site.host.offered_bundle().await;
            site.upstream.asked_for_stream(0).await;
        }
        site.host.refuse_bundles(false);
        site.upstream.send_bundle("7.b.c");
        site.host.offered_bundle().await;
        site.host.offered_word().await;
    })
    .await;
}

#[tokio::test]
async fn a_jitd_that_lost_its_state_gets_its_bundle_and_a_word_again_at_once() {
    let site = Site::new();
    site.play(eager(), async {
        site.upstream.asked_for_stream(0).await;
        site.upstream.send_bundle("7.b.c");
        site.host.offered_bundle().await;
        site.host.offered_word().await;
        site.upstream.forget_what_was_asked();
        site.host.restart_without_state();
        site.upstream.asked_for_stream(0).await;
        site.host.offered_word().await;
    })
    .await;
}

#[tokio::test]
async fn a_refused_word_begins_the_stream_anew_since_it_may_have_missed_a_bundle() {
    let site = Site::new();
    site.play(eager(), async {
        site.upstream.asked_for_stream(0).await;
        site.host.refuse_words(true);
        site.host.offered_word().await;
        site.upstream.asked_for_stream(0).await;
    })
    .await;
}

#[tokio::test]
async fn t25_a_host_whose_time_is_behind_has_its_stream_again_after_one_word() {
    let site = Site::new();
    let pace = Pace {
        first_wait: Duration::from_millis(300),
        ..eager()
    };
    site.play(pace, async {
        // The first word, and the one that a stream asks for.
        site.host.offered_word().await;
        site.host.offered_word().await;
        site.upstream.forget_what_was_asked();
        site.upstream.step_ahead();
        // A second one where the stream was tried again before the first came back.
        let mut words = 0;
        while matches!(site.upstream.asked().await, Asked::Word { .. }) {
            words += 1;
        }
        assert!((1..=3).contains(&words), "{words} words");
    })
    .await;
}

#[tokio::test]
async fn recorded_events_go_up_in_order_and_go_on_where_the_server_says() {
    let site = Site::new();
    site.play(eager(), async {
        site.host.record(5);
        site.upstream.has_events_up_to(5).await;
        site.upstream.forget_events_after(2);
        site.host.record(3);
        site.upstream.has_events_up_to(8).await;
        assert_eq!(
            site.upstream.events(),
            (1..=8)
                .map(|seq| format!("event {seq}"))
                .collect::<Vec<_>>()
        );
    })
    .await;
}

#[tokio::test]
async fn events_that_a_server_takes_no_more_of_go_up_in_order_when_it_takes_them_again() {
    let site = Site::new();
    site.play(eager(), async {
        site.host.record(3);
        site.upstream.has_events_up_to(3).await;
        site.upstream.refuse_events();
        site.host.record(3);
        site.upstream.take_events_after_refusing(3).await;
        site.host.record(1);
        site.upstream.has_events_up_to(7).await;
        assert_eq!(
            site.upstream.events(),
            (1..=7)
                .map(|seq| format!("event {seq}"))
                .collect::<Vec<_>>()
        );
    })
    .await;
}

#[tokio::test]
async fn what_comes_without_end_is_cut_off_and_the_stream_begun_anew() {
    for endless in ["x", ":\n", "data: x\n\n", "data:\n"] {
        let site = Site::new();
        site.play(eager(), async {
            site.upstream.asked_for_stream(0).await;
            site.upstream.flood_until_cut_off(endless).await;
            site.upstream.asked_for_stream(0).await;
            site.upstream.send_bundle("7.b.c");
            site.host.offered_bundle().await;
        })
        .await;
    }
}

#[tokio::test]
async fn keys_that_no_chain_can_have_are_not_carried() {
    let site = Site::new();
    site.play(eager(), async {
        site.upstream.asked_for_stream(0).await;
        site.upstream.send_keys(&vec![""; 1024 * 1024]);
        site.upstream.asked_for_stream(0).await;
        site.upstream.send_bundle("7.b.c");
        loop {
            match site.host.offered().await {
                Offered::Bundle(_) => break,
                other => assert_eq!(other, Offered::Word),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_begun_anew() {
    let site = Site::new();
    let pace = Pace {
        silence: Duration::from_millis(50),
        ..eager()
    };
    site.play(pace, async {
        site.upstream.asked_for_stream(0).await;
        site.upstream.asked_for_stream(0).await;
    })
    .await;
}

#[tokio::test]
async fn enrolled_anew_it_turns_to_the_other_server() {
    let site = Site::new();
    let pace = Pace {
        word_every: Duration::from_millis(5),
        ..eager()
    };
    let other = Upstream::at(&site.path("other.sock"));
    site.play(pace, async {
        site.upstream.asked_for_stream(0).await;
        site.host.enrol_with(&other.address());
        other.asked_for_stream(0).await;
        other.send_bundle("1.b.c");
        assert_eq!(site.host.offered_bundle().await, "1.b.c");
    })
    .await;
}

#[tokio::test]
async fn a_host_that_is_not_enrolled_yet_is_served_as_soon_as_it_is() {
    let site = Site::new();
    let address = site.upstream.address();
    site.host.enrol_with("");
    site.play(eager(), async {
        site.host.said_not_enrolled().await;
        site.host.enrol_with(&address);
        site.upstream.asked_for_stream(0).await;
        assert!(matches!(site.host.offered().await, Offered::Word));
    })
    .await;
}

#[tokio::test]
async fn a_bundle_comes_over_tls_through_the_proxy_of_the_units_environment() {
    let site = Site::new();
    let (tls, authority) = elsewhere::end_tls(&site.path("api.sock")).await;
    let (proxy, mut asked) = elsewhere::proxy(tls).await;
    site.host
        .enrol_elsewhere("https://jit.test:7443", &authority);
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_jitd-sync"))
        .arg("--socket")
        .arg(site.path("sync.sock"))
        .env("HTTPS_PROXY", format!("http://{proxy}"))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let story = async {
        site.upstream.asked_for_stream(0).await;
        site.upstream.send_bundle("7.b.c");
        assert_eq!(site.host.offered_bundle().await, "7.b.c");
    };
    tokio::time::timeout(PATIENCE, story).await.unwrap();
    // The name is the proxy's to find, and what is said to it is not for it to read.
    let asked = asked.recv().await.unwrap();
    assert_eq!(asked, "CONNECT jit.test:7443 HTTP/1.1");
    program.kill().await.unwrap();
}
