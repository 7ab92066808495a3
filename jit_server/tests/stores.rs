//! What every store promises, tried on each.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

#[path = "common/pooler.rs"]
#[allow(unreachable_pub, reason = "other tests use it")]
mod pooler;
#[path = "common/postgres.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "other tests use the rest"
)]
mod postgres;

use std::path::PathBuf;
use std::sync::OnceLock;

use jit_grant::{HostId, SigningKey};
use jit_server::event::{Actor, Entry, Event};
use jit_server::once::Digest;
use jit_server::store::{
    Answered, CallAnswer, HostLine, HostLines, Kept, Place, PostgresStore, SqliteStore, Store,
    StoreError,
};
use pooler::Pooler;
use postgres::Postgres;
use sqlx::{Connection, PgConnection, SqliteConnection};

/// A fresh store, which can be opened again and reached past our code.
enum Fresh {
    Sqlite(tempfile::TempDir),
    Postgres(String),
    /// Where it is, and where it is found through a pooler.
    Pooled(String, String),
}

impl Fresh {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    fn file(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("jit-server.db")
    }

    fn postgres() -> Self {
        Self::Postgres(Postgres::shared().database())
    }

    fn pooled() -> Self {
        static POOLER: OnceLock<Pooler> = OnceLock::new();
        let postgres = Postgres::shared();
        let pooler = POOLER.get_or_init(|| Pooler::before(postgres, 5));
        let direct = postgres.database();
        let address = pooler.address(&direct);
        Self::Pooled(direct, address)
    }

    async fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Sqlite(folder) => Box::new(SqliteStore::open(&Self::file(folder)).await.unwrap()),
            Self::Postgres(address) | Self::Pooled(_, address) => Box::new(
                PostgresStore::open(&address.parse().unwrap())
                    .await
                    .unwrap(),
            ),
        }
    }

    /// True where the database did it.
    async fn does(&self, sql: &'static str) -> bool {
        match self {
            Self::Sqlite(folder) => {
                let url = format!("sqlite:{}", Self::file(folder).display());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                sqlx::query(sql).execute(&mut connection).await.is_ok()
            }
            Self::Postgres(address) | Self::Pooled(address, _) => {
                let mut connection = PgConnection::connect(address).await.unwrap();
                sqlx::query(sql).execute(&mut connection).await.is_ok()
            }
        }
    }
}

/// The test below it, on each store.
macro_rules! on_each {
    ($($test:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Fresh::sqlite()).await;
            })*
        }
        mod postgresql {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Fresh::postgres()).await;
            })*
        }
        mod postgresql_through_a_pooler {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Fresh::pooled()).await;
            })*
        }
    };
}

on_each! {
    what_was_appended_is_read_back_in_order_after_opening_again
    the_record_can_not_be_changed_nor_a_revision_lowered
    all_of_an_append_is_kept_or_none_of_it
    hosts_lines_share_the_numbers_and_are_kept_as_written
    what_was_open_under_a_grant_is_found_to_its_end_also_where_another_carried_it_on
    what_was_left_behind_is_found_by_host_and_grant
    a_record_takes_another_ones_name_before_it_has_begun_and_not_after
    an_answer_is_kept_for_a_day_for_one_call_and_the_newest_few_thousand_are
    of_long_lines_fewer_are_read_at_a_time_and_none_is_passed_over
}

fn entry(seq: u64) -> Entry {
    let event = Event::PolicyTaken {
        policy: "0".repeat(64),
        roles: 1,
        text: None,
        change: None,
    };
    Entry {
        via: None,
        seq,
        at: "2026-11-22T12:00:00Z".parse().unwrap(),
        actor: Actor::Server,
        event,
    }
}

fn at(last_seq: u64, writes: u64) -> Place {
    Place {
        last_seq,
        writes,
        write: None,
    }
}

fn host(digit: &str) -> HostId {
    format!("h{}", digit.repeat(32)).parse().unwrap()
}

async fn what_was_appended_is_read_back_in_order_after_opening_again(fresh: Fresh) {
    let store = fresh.open().await;
    let entries = [entry(1), entry(2)];
    store
        .append(at(0, 0), &entries, &[(host("0"), 7)])
        .await
        .unwrap();
    store.close().await;
    let loaded = fresh.open().await.load().await.unwrap();
    assert_eq!(
        (loaded.entries, loaded.revisions, loaded.place.last_seq),
        (entries.to_vec(), vec![(host("0"), 7)], 2)
    );
}

async fn the_record_can_not_be_changed_nor_a_revision_lowered(fresh: Fresh) {
    let store = fresh.open().await;
    let place = store
        .append(at(0, 0), &[entry(1)], &[(host("0"), 7)])
        .await
        .unwrap();
    store
        .append_host_lines(place, &batch("0", "web1", &[line(1, "a", "b", "g1")]))
        .await
        .unwrap();
    for change in [
        "UPDATE event SET actor = 'mallory'",
        "DELETE FROM event",
        "UPDATE host_event SET line = ''",
        "DELETE FROM host_event",
        "UPDATE bundle_revision SET revision = 6",
    ] {
        assert!(!fresh.does(change).await, "{change}");
    }
    if let Fresh::Postgres(_) | Fresh::Pooled(..) = fresh {
        for change in [
            "TRUNCATE event",
            "TRUNCATE host_event",
            "UPDATE written SET id = ''",
            "DELETE FROM written",
            "TRUNCATE written",
            "UPDATE head SET last_seq = 0, writes = 3",
            "UPDATE head SET writes = 1",
        ] {
            assert!(!fresh.does(change).await, "{change}");
        }
    }
    assert_eq!(store.load().await.unwrap().entries, [entry(1)]);
}

async fn a_record_takes_another_ones_name_before_it_has_begun_and_not_after(fresh: Fresh) {
    let store = fresh.open().await;
    let [one, other] = ["a", "b"].map(|digit| digit.repeat(32).parse().unwrap());
    store.take_identity(one).await.unwrap();
    assert_eq!(store.identity().await.unwrap(), one);
    let place = store.place().await.unwrap();
    store.append(place, &[entry(1)], &[]).await.unwrap();
    store.take_identity(other).await.unwrap();
    assert_eq!(store.identity().await.unwrap(), one);
    if !matches!(fresh, Fresh::Sqlite(_)) {
        assert!(!fresh.does("UPDATE database_id SET id = ''").await);
        assert!(!fresh.does("DELETE FROM database_id").await);
    }
}

async fn all_of_an_append_is_kept_or_none_of_it(fresh: Fresh) {
    let store = fresh.open().await;
    let place = store
        .append(at(0, 0), &[entry(1)], &[(host("0"), 7)])
        .await
        .unwrap();
    let twice = store.append(place, &[entry(2), entry(1)], &[]).await;
    assert!(twice.is_err(), "a number is given once");
    let lowered = store.append(place, &[entry(2)], &[(host("0"), 7)]).await;
    assert!(lowered.is_err());
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.entries, [entry(1)]);
    // Nothing is in the way of the next.
    store
        .append(loaded.place, &[entry(2)], &[(host("0"), 8)])
        .await
        .unwrap();
}

fn line(seq: u64, kind: &str, id: &str, grant: &str) -> HostLine {
    HostLine {
        host_seq: seq,
        head: "0".repeat(64).parse().unwrap(),
        line: format!(
            r#"{{"event":{{"seq":{seq},"kind":"{kind}","id":"{id}","grant":"{grant}"}}}}"#
        ),
    }
}

fn batch(digit: &str, name: &str, lines: &[HostLine]) -> HostLines {
    HostLines {
        host_id: host(digit),
        host: name.parse().unwrap(),
        lines: lines.to_vec(),
        checkpoint: "signed".to_owned(),
    }
}

/// Two hosts with the same lines, each of a kind, id and grant.
async fn recorded(store: &dyn Store, lines: &[(&str, &str, &str)]) -> Vec<String> {
    let lines: Vec<HostLine> = (1..)
        .zip(lines)
        .map(|(seq, (kind, id, grant))| line(seq, kind, id, grant))
        .collect();
    let mut place = at(0, 0);
    for (digit, name) in [("0", "web1"), ("1", "web2")] {
        let batch = batch(digit, name, &lines);
        place = store.append_host_lines(place, &batch).await.unwrap();
    }
    lines.into_iter().map(|line| line.line).collect()
}

async fn hosts_lines_share_the_numbers_and_are_kept_as_written(fresh: Fresh) {
    let store = fresh.open().await;
    let place = store.append(at(0, 0), &[entry(1)], &[]).await.unwrap();
    let odd = HostLine {
        line: "{ \"event\" :{\"seq\":2,\"kind\":\"session.opened\",\"id\":\"\\u0000\",\"grant\":[\"é\"]}}".to_owned(),
        ..line(2, "", "", "")
    };
    let sent = batch("0", "web1", &[line(1, "decision", "", "g1"), odd.clone()]);
    let place = store.append_host_lines(place, &sent).await.unwrap();
    assert_eq!(place.last_seq, 3);
    let place = store.append(place, &[entry(4)], &[]).await.unwrap();
    let head = store.host_head(&host("0")).await.unwrap().unwrap();
    assert_eq!(head.host_seq, 2);
    assert_eq!(store.host_head(&host("1")).await.unwrap(), None);
    let record = store.record(1, 2).await.unwrap().found;
    let of_host = |seq: u64, line: &HostLine| Kept::OfHost {
        seq,
        host: "web1".parse().unwrap(),
        line: line.line.clone(),
    };
    assert_eq!(record, [of_host(2, &sent.lines[0]), of_host(3, &odd)]);
    assert_eq!(
        store.record(3, 9).await.unwrap().found,
        [Kept::Own(Box::new(entry(4)))]
    );
    assert!(
        store.append_host_lines(place, &sent).await.is_err(),
        "a line is kept once"
    );
    let loaded = fresh.open().await.load().await.unwrap();
    assert_eq!((loaded.entries.len(), loaded.place.last_seq), (2, 4));
}

async fn what_was_open_under_a_grant_is_found_to_its_end_also_where_another_carried_it_on(
    fresh: Fresh,
) {
    let store = fresh.open().await;
    let lines = recorded(
        &*store,
        &[
            ("session.opened", "one", "g1"),
            ("elevation.opened", "two", "g3"),
            ("session.ending", "one", "g1"),
            ("elevation.closed", "two", "g3"),
            ("decision", "", "g1"),
            ("session.carried_on", "one", "g4"),
            ("session.ended", "one", "g2"),
        ],
    )
    .await;
    for grant in ["g1", "g2", "g4"] {
        let (host, grant) = ("web1".parse().unwrap(), grant.parse().unwrap());
        let found = store.sessions_of(&host, &grant, 10).await.unwrap().found;
        let of_host = |seq: u64, line: usize| Kept::OfHost {
            seq,
            host: host.clone(),
            line: lines[line].clone(),
        };
        assert_eq!(found, [of_host(7, 6), of_host(6, 5), of_host(1, 0)]);
        let newest = store.sessions_of(&host, &grant, 1).await.unwrap().found;
        assert_eq!(newest, [of_host(7, 6)]);
    }
}

async fn what_was_left_behind_is_found_by_host_and_grant(fresh: Fresh) {
    let store = fresh.open().await;
    let lines = recorded(
        &*store,
        &[
            ("elevation.residue", "one", "g1"),
            ("elevation.ended", "one", "g1"),
            ("elevation.residue", "two", "g2"),
            ("elevation.residue", "three", "g1"),
        ],
    )
    .await;
    let (host, grant) = ("web1".parse().unwrap(), "g1".parse().unwrap());
    let found = store.left_behind(&host, &grant, 10).await.unwrap().found;
    assert_eq!(found, [lines[0].clone(), lines[3].clone()]);
    let oldest = store.left_behind(&host, &grant, 1).await.unwrap().found;
    assert_eq!(oldest, [lines[0].clone()]);
}

async fn of_long_lines_fewer_are_read_at_a_time_and_none_is_passed_over(fresh: Fresh) {
    const LONG: usize = 250 << 10;
    const MANY: usize = 60;
    let store = fresh.open().await;
    let long = |seq: u64| {
        let kind = ["session.opened", "elevation.residue"][seq as usize % 2];
        let short = line(seq, kind, "one", "g1");
        let line = format!("{}{}", short.line, " ".repeat(LONG - short.line.len()));
        HostLine { line, ..short }
    };
    let lines: Vec<_> = (1..=MANY as u64).map(long).collect();
    // As many at a time as fit a call.
    let mut place = at(0, 0);
    for line in &lines {
        let one = batch("0", "web1", std::slice::from_ref(line));
        place = store.append_host_lines(place, &one).await.unwrap();
    }
    let (mut read, mut after) = (Vec::new(), 0);
    loop {
        let part = store.record(after, 1_000).await.unwrap();
        assert!(part.found.len() * LONG < 4 << 20, "{}", part.found.len());
        for kept in part.found {
            let Kept::OfHost { seq, line, .. } = kept else {
                panic!("{kept:?}")
            };
            after = seq;
            read.push(line);
        }
        if !part.cut {
            break;
        }
    }
    assert!(read.iter().eq(lines.iter().map(|line| &line.line)));
    assert!(!store.record(0, 3).await.unwrap().cut, "as was asked for");
    let (host, grant) = ("web1".parse().unwrap(), "g1".parse().unwrap());
    let sessions = store.sessions_of(&host, &grant, 1_000).await.unwrap();
    assert!(sessions.cut && sessions.found.len() * LONG < 4 << 20);
    let left = store.left_behind(&host, &grant, 1_000).await.unwrap();
    assert!(left.cut && left.found.len() * LONG < 4 << 20);
    assert_eq!(left.found[0], lines[0].line);
}

#[tokio::test]
async fn of_two_servers_that_write_after_the_same_place_one_writes_nothing() {
    let fresh = Fresh::postgres();
    let (one, other) = (fresh.open().await, fresh.open().await);
    one.append(at(0, 0), &[entry(1)], &[]).await.unwrap();
    for late in [
        other.append(at(0, 0), &[entry(1)], &[]).await,
        other.append(at(0, 0), &[entry(2)], &[]).await,
        other.append(at(1, 0), &[], &[(host("0"), 7)]).await,
        other
            .append_host_lines(at(0, 0), &batch("0", "web1", &[line(1, "a", "b", "g1")]))
            .await,
    ] {
        assert!(matches!(late, Err(StoreError::Overtaken)), "{late:?}");
    }
    let loaded = one.load().await.unwrap();
    assert_eq!((loaded.entries.len(), loaded.revisions.len()), (1, 0));
}

#[tokio::test]
async fn what_others_kept_is_read_once_with_its_revisions() {
    let fresh = Fresh::postgres();
    let (one, other) = (fresh.open().await, fresh.open().await);
    assert!(other.since(at(0, 0)).await.unwrap().is_none());
    let first = one
        .append(at(0, 0), &[entry(1)], &[(host("0"), 7), (host("1"), 7)])
        .await
        .unwrap();
    let second = one.append(first, &[], &[(host("0"), 8)]).await.unwrap();
    let news = other.since(first).await.unwrap().unwrap();
    assert!(news.entries.is_empty());
    assert_eq!((news.revisions, news.place), (vec![(host("0"), 8)], second));
    assert_eq!((second.last_seq, second.writes), (1, 2));
    assert!(other.since(second).await.unwrap().is_none());
    let of_another = Place {
        write: first.write,
        ..second
    };
    for more in [at(2, 2), at(1, 3), at(1, 2), of_another] {
        let back = other.since(more).await;
        assert!(matches!(back, Err(StoreError::WentBack { .. })), "{back:?}");
    }
}

#[tokio::test]
async fn a_turn_is_waited_for_and_what_was_written_is_told() {
    let fresh = Fresh::postgres();
    let (one, other) = (fresh.open().await, fresh.open().await);
    let turn = one.turn().await.unwrap();
    let mut waiting = tokio::spawn(async move {
        other.told().await;
        let turn = other.turn().await;
        turn.map(drop)
    });
    // Also before the other listens: it is told of everything after that.
    let mut place = at(0, 0);
    let told = loop {
        place = one
            .append(place, &[], &[(host("0"), place.writes + 1)])
            .await
            .unwrap();
        let quick = std::time::Duration::from_millis(300);
        let done = tokio::time::timeout(quick, &mut waiting).await;
        assert!(done.is_err(), "the turn is held");
        if place.writes == 3 {
            break waiting;
        }
    };
    drop(turn);
    told.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_stands_still_in_its_turn_loses_it_and_writes_nothing_after_that() {
    let fresh = Fresh::postgres();
    let (still, other) = (fresh.open().await, fresh.open().await);
    let lost = still.turn().await.unwrap();
    // Comes when the database has ended the turn that nothing was done in.
    let turn = other.turn().await.unwrap();
    other.append(at(0, 0), &[entry(1)], &[]).await.unwrap();
    drop(turn);
    let late = still.append(at(0, 0), &[entry(1)], &[]).await;
    assert!(matches!(late, Err(StoreError::Overtaken)), "{late:?}");
    drop(lost);
    drop(still.turn().await.unwrap());
}

#[tokio::test]
async fn the_first_key_is_kept_and_no_other() {
    let fresh = Fresh::postgres();
    let (one, other) = (fresh.open().await, fresh.open().await);
    let [first, second] = [(); 2].map(|()| SigningKey::generate().unwrap().public());
    assert_eq!(one.first_key(first).await.unwrap(), Some(first));
    assert_eq!(other.first_key(second).await.unwrap(), Some(first));
    assert!(!fresh.does("UPDATE first_key SET public_key = ''").await);
}

#[tokio::test]
async fn that_a_host_was_heard_by_one_server_is_known_to_all() {
    let fresh = Fresh::postgres();
    let (one, other) = (fresh.open().await, fresh.open().await);
    let first = one
        .exchange_heard(&[host("0"), host("1")], &[host("0")])
        .await;
    let first = first.unwrap();
    assert_eq!(first.len(), 1);
    let silent = other.exchange_heard(&[host("0"), host("1")], &[]).await;
    assert_eq!(silent.unwrap(), first);
    let again = other
        .exchange_heard(&[host("0"), host("1")], &[host("0")])
        .await;
    assert!(again.unwrap()[0].1 > first[0].1);
    let removed = one.exchange_heard(&[host("1")], &[]).await;
    assert!(removed.unwrap().is_empty());
}

#[tokio::test]
async fn a_commit_is_on_disk_before_it_is_acknowledged() {
    let postgres = Postgres::shared();
    let mut connection = PgConnection::connect(&postgres.database()).await.unwrap();
    for setting in ["fsync", "full_page_writes"] {
        let on: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(on, "on", "{setting} of the PostgreSQL of these tests");
    }
    let unsafe_one = Postgres::start();
    let address = unsafe_one.database();
    let mut connection = PgConnection::connect(&address).await.unwrap();
    for sql in [
        "ALTER SYSTEM SET synchronous_commit = off",
        "ALTER SYSTEM SET fsync = off",
        "SELECT pg_reload_conf()",
    ] {
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
    unsafe_one.restart();
    let refused = PostgresStore::open(&address.parse().unwrap()).await;
    assert!(matches!(refused, Err(StoreError::Unsafe("fsync"))));
}

#[tokio::test]
async fn nothing_is_written_after_a_write_that_another_copy_has() {
    let fresh = Fresh::postgres();
    let store = fresh.open().await;
    let place = store.append(at(0, 0), &[entry(1)], &[]).await.unwrap();
    let other = Fresh::postgres().open().await;
    let theirs = other.append(at(0, 0), &[entry(1)], &[]).await.unwrap();
    assert_eq!(
        (place.last_seq, place.writes),
        (theirs.last_seq, theirs.writes)
    );
    for wrong in [theirs, at(1, 1)] {
        let late = store.append(wrong, &[entry(2)], &[]).await;
        assert!(matches!(late, Err(StoreError::Overtaken)), "{late:?}");
    }
    store.append(place, &[entry(2)], &[]).await.unwrap();
}

#[tokio::test]
async fn a_database_elsewhere_is_believed_by_its_certificate_and_name() {
    let shown = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let (certificate, key) = (shown.cert.pem(), shown.signing_key.serialize_pem());
    let postgres = Postgres::start_with_tls(port, &certificate, &key);
    postgres.database();
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (folder.path().join("ours"), folder.path().join("others"));
    std::fs::write(&ours, certificate).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&others, other.cert.pem()).unwrap();
    let opened = async |host: &str, authority: &std::path::Path| {
        let authority = authority.display();
        let address = format!(
            "postgres://jit@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={authority}"
        );
        PostgresStore::open(&address.parse().unwrap()).await
    };
    let store = opened("localhost", &ours).await.unwrap();
    store.append(at(0, 0), &[entry(1)], &[]).await.unwrap();
    for (host, authority) in [("localhost", &others), ("127.0.0.1", &ours)] {
        let refused = opened(host, authority).await;
        assert!(matches!(refused, Err(StoreError::Database(_))), "{host}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said_to_be_so_at_once() {
    let began = std::time::Instant::now();
    let address = "postgres:///jit?user=jit&host=/nowhere".parse().unwrap();
    let refused = PostgresStore::open(&address).await.unwrap_err();
    let said = format!("{:#}", anyhow::Error::from(refused));
    assert_eq!(
        said.matches("No such file or directory").count(),
        1,
        "{said}"
    );
    assert!(began.elapsed() < std::time::Duration::from_secs(4));
}

async fn an_answer_is_kept_for_a_day_for_one_call_and_the_newest_few_thousand_are(fresh: Fresh) {
    let store = fresh.open().await;
    let begin: jiff::Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let of = |digit: &str, seq: u64, hours: i64| Answered {
        key: Digest::try_from(digit.repeat(64)).unwrap(),
        seq,
        at: begin + jiff::SignedDuration::from_hours(hours),
    };
    let said = |body: &str| CallAnswer {
        status: 201,
        body: body.to_owned(),
    };
    let kept = async |of: Answered| store.answer(of.key, of.seq).await.unwrap();
    let (first, later) = (of("a", 7, 0), of("a", 9, 23));
    store.keep_answer(first, &said("{}")).await.unwrap();
    assert_eq!(kept(first).await, Some(said("{}")));
    assert_eq!(kept(of("b", 7, 0)).await, None);
    // A later call of the same key takes the place of the one before, and neither is taken for the other.
    store.keep_answer(later, &said("[]")).await.unwrap();
    assert_eq!(
        (kept(first).await, kept(later).await),
        (None, Some(said("[]")))
    );
    store
        .keep_answer(of("c", 10, 24), &said("{}"))
        .await
        .unwrap();
    assert!(kept(later).await.is_some());
    store
        .keep_answer(of("d", 11, 48), &said("{}"))
        .await
        .unwrap();
    assert!(kept(later).await.is_none(), "more than a day old");
    let many = "INSERT INTO call_answer (key, seq, at, status, body) \
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
         SELECT 'x' || i, i, (SELECT max(at) FROM call_answer) + i, 200, '{}' FROM n";
    assert!(fresh.does(many).await);
    store
        .keep_answer(of("e", 12, 49), &said("{}"))
        .await
        .unwrap();
    // It fails where there is one row more or less.
    let counted = "INSERT INTO call_answer SELECT * FROM call_answer WHERE (SELECT count(*) FROM call_answer) <> 4096";
    assert!(fresh.does(counted).await);
    assert!(kept(of("e", 12, 49)).await.is_some());
    assert!(kept(of("d", 11, 48)).await.is_none(), "the oldest went");
}
