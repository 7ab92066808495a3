//! Streams that something on the way holds back, cuts or refuses: bundles are asked for one by one.

use std::process::Stdio;
use std::time::Duration;

use jitd_sync::courier::Pace;

use super::upstream::{Asked, Fate};
use super::{PATIENCE, Site, eager};

/// Doubts a stream soon, and tries none again.
fn doubting() -> Pace {
    Pace {
        first_sign: Duration::from_millis(50),
        ..eager()
    }
}

#[tokio::test]
async fn while_streams_are_held_back_bundles_are_asked_for_one_by_one() {
    let site = Site::new();
    site.upstream.streams_are(Fate::HeldBack);
    site.play(doubting(), async {
        site.upstream.asked_for_stream(0).await;
        site.asks_one_by_one().await;
        for revision in [7, 8] {
            let bundle = format!("{revision}.b.c");
            site.upstream.has_bundle(&bundle);
            assert_eq!(site.host.offered_bundle().await, bundle);
            site.host.offered_word().await;
            site.upstream.asked_for_bundle(revision, 25).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_gets_through_later_is_followed_again() {
    let site = Site::new();
    site.upstream.streams_are(Fate::HeldBack);
    let pace = Pace {
        stream_soon: Duration::from_millis(100),
        stream_again: Duration::from_millis(100),
        ..doubting()
    };
    site.play(pace, async {
        site.asks_one_by_one().await;
        // Tried again in vain, while bundles still come.
        site.upstream.asked_for_stream(0).await;
        site.upstream.has_bundle("7.b.c");
        assert_eq!(site.host.offered_bundle().await, "7.b.c");
        site.upstream.streams_are(Fate::GetThrough);
        loop {
            site.upstream.asked_for_stream(7).await;
            if site.upstream.try_to_send_bundle("8.b.c") {
                break;
            }
        }
        assert_eq!(site.host.offered_bundle().await, "8.b.c");
        site.upstream.send_bundle("9.b.c");
        assert_eq!(site.host.offered_bundle().await, "9.b.c");
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_tried_again_sooner_for_the_first_time_since_the_server_may_have_been_busy() {
    let site = Site::new();
    site.upstream.streams_are(Fate::HeldBack);
    let pace = Pace {
        stream_soon: Duration::from_millis(100),
        ..doubting()
    };
    site.play(pace, async {
        site.asks_one_by_one().await;
        site.upstream.streams_are(Fate::GetThrough);
        site.upstream.asked_for_stream(0).await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_was_held_back_once_is_only_begun_anew() {
    let site = Site::new();
    site.upstream.streams_are(Fate::HeldBackOnce);
    site.play(doubting(), async {
        for wanted in [
            Asked::Stream { held: 0 },
            Asked::Bundle { after: 0, wait: 0 },
            Asked::Stream { held: 0 },
        ] {
            assert_eq!(site.stream_or_bundle().await, wanted);
        }
        site.upstream.send_bundle("7.b.c");
        assert_eq!(site.host.offered_bundle().await, "7.b.c");
    })
    .await;
}

#[tokio::test]
async fn streams_that_open_and_are_then_held_back_don_t_get_through_either() {
    let site = Site::new();
    site.upstream.streams_are(Fate::HeldBackInside);
    let pace = Pace {
        sign_of_life: Duration::from_millis(50),
        young: PATIENCE,
        ..eager()
    };
    site.play(pace, async { site.asks_one_by_one().await })
        .await;
}

#[tokio::test]
async fn where_streams_are_cut_or_refused_again_and_again_bundles_are_asked_for_one_by_one() {
    for fate in [Fate::CutYoung, Fate::Forbidden, Fate::APage] {
        let site = Site::new();
        site.upstream.streams_are(fate);
        let pace = Pace {
            young: PATIENCE,
            ..eager()
        };
        site.play(pace, async {
            for _ in 0..3 {
                assert_eq!(site.stream_or_bundle().await, Asked::Stream { held: 0 });
            }
            // Whether the server answers so, and then in earnest.
            for wait in [0, 25] {
                let wanted = Asked::Bundle { after: 0, wait };
                assert_eq!(site.stream_or_bundle().await, wanted, "{fate:?}");
            }
            site.upstream.has_bundle("7.b.c");
            assert_eq!(site.host.offered_bundle().await, "7.b.c");
        })
        .await;
    }
}

#[tokio::test]
async fn streams_that_are_cut_are_followed_on_where_bundles_are_refused_one_by_one() {
    let site = Site::new();
    site.upstream.streams_are(Fate::CutYoung);
    site.upstream.bundles_are_refused();
    let pace = Pace {
        young: PATIENCE,
        ..eager()
    };
    site.play(pace, async {
        for _ in 0..2 {
            for _ in 0..3 {
                assert_eq!(site.stream_or_bundle().await, Asked::Stream { held: 0 });
            }
            let wanted = Asked::Bundle { after: 0, wait: 0 };
            assert_eq!(site.stream_or_bundle().await, wanted);
        }
        site.upstream.streams_are(Fate::GetThrough);
        loop {
            site.upstream.asked_for_stream(0).await;
            if site.upstream.try_to_send_bundle("7.b.c") {
                break;
            }
        }
        assert_eq!(site.host.offered_bundle().await, "7.b.c");
    })
    .await;
}

#[tokio::test]
async fn where_bundles_are_refused_one_by_one_a_stream_is_tried_again_at_once() {
    let site = Site::new();
    site.upstream.streams_are(Fate::HeldBack);
    site.play(doubting(), async {
        site.asks_one_by_one().await;
        site.upstream.streams_are(Fate::GetThrough);
        site.upstream.bundles_are_refused();
        site.upstream.has_bundle("7.b.c");
        assert_eq!(site.host.offered_bundle().await, "7.b.c");
        site.upstream.asked_for_stream(7).await;
        site.upstream.send_bundle("8.b.c");
        assert_eq!(site.host.offered_bundle().await, "8.b.c");
    })
    .await;
}

#[tokio::test]
async fn the_log_says_that_a_stream_is_followed_again_only_where_one_is() {
    let site = Site::new();
    site.upstream.streams_are(Fate::Forbidden);
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_jitd-sync"))
        .arg("--socket")
        .arg(site.path("sync.sock"))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let story = async {
        for wait in [0, 25] {
            site.upstream.asked_for_bundle(0, wait).await;
        }
        site.upstream.bundles_are_refused();
        site.upstream.has_bundle("7.b.c");
        site.upstream.asked_for_stream(7).await;
    };
    tokio::time::timeout(PATIENCE, story).await.unwrap();
    program.start_kill().unwrap();
    let said = program.wait_with_output().await.unwrap().stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("streams don't get through"), "{said}");
    assert!(!said.contains("following a stream"), "{said}");
}

#[tokio::test]
async fn where_calls_that_last_are_cut_as_well_the_server_waits_less_until_one_gets_through() {
    let site = Site::new();
    site.upstream.streams_are(Fate::NothingLasts);
    site.play(doubting(), async {
        site.asks_one_by_one().await;
        for wait in [12, 6] {
            site.upstream.asked_for_bundle(0, wait).await;
        }
        site.upstream.has_bundle("7.b.c");
        assert_eq!(site.host.offered_bundle().await, "7.b.c");
        site.upstream.asked_for_bundle(7, 25).await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_answers_nothing_is_not_taken_for_one_whose_stream_is_held_back() {
    let site = Site::new();
    site.upstream.streams_are(Fate::AllHeldBack);
    let pace = Pace {
        silence: Duration::from_millis(200),
        ..doubting()
    };
    site.play(pace, async {
        site.upstream.asked_for_bundle(0, 0).await;
        site.upstream.streams_are(Fate::GetThrough);
        // It was the server, and it is back.
        site.upstream.asked_for_stream(0).await;
        site.upstream.send_bundle("7.b.c");
        assert_eq!(site.host.offered_bundle().await, "7.b.c");
    })
    .await;
}

#[tokio::test]
async fn a_refused_word_has_everything_sent_anew_also_where_streams_are_held_back() {
    let site = Site::new();
    site.upstream.streams_are(Fate::HeldBack);
    site.play(doubting(), async {
        site.asks_one_by_one().await;
        site.upstream.has_bundle("7.b.c");
        site.upstream.asked_for_bundle(7, 25).await;
        site.host.refuse_words(true);
        site.upstream.has_bundle("8.b.c");
        site.upstream.asked_for_bundle(8, 25).await;
        site.upstream.asked_for_bundle(0, 25).await;
    })
    .await;
}
