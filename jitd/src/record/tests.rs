use super::*;
use crate::clock::Set;
use crate::fixture::TinyDisk;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixDatagram;

struct Place {
    directory: tempfile::TempDir,
    log: UnixDatagram,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = UnixDatagram::bind(directory.path().join("log")).unwrap();
        log.set_nonblocking(true).unwrap();
        Self { directory, log }
    }

    fn events(&self) -> PathBuf {
        self.directory.path().join("events")
    }

    fn open(&self) -> Arc<Record> {
        let clock = Clock::on(Set::at(Timestamp::UNIX_EPOCH, Duration::ZERO), None);
        Record::open(&self.events(), &self.directory.path().join("log"), clock).unwrap()
    }

    fn segment(&self) -> PathBuf {
        chain::segment_path(
            &self.events(),
            *chain::segments(&self.events()).unwrap().last().unwrap(),
        )
    }

    fn logged(&self) -> Vec<String> {
        let mut datagram = [0; 16 * 1024];
        std::iter::from_fn(|| {
            self.log
                .recv(&mut datagram)
                .ok()
                .map(|n| String::from_utf8_lossy(&datagram[..n]).into_owned())
        })
        .collect()
    }
}

fn kinds(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["event"]["kind"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

fn assert_chained(lines: &[String]) {
    let mut prev = hex(&chain::NO_LINE);
    for line in lines {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["prev"], prev);
        prev = hex(&chain::hash(line.as_bytes()));
    }
}

fn signer() -> Signer {
    Arc::new(|seq, head| Some(format!("signed {seq} {head}")))
}

#[test]
fn every_line_holds_the_hash_of_the_line_before_also_across_restarts_and_segments() {
    let place = Place::new();
    let long = "x".repeat(LINE_BYTES - 300);
    for _ in 0..3 {
        let record = place.open();
        for _ in 0..250 {
            record.write("test", json!({ "text": long })).unwrap();
        }
    }
    assert!(chain::segments(&place.events()).unwrap().len() > 1);
    let record = place.open();
    let mut all = Vec::new();
    loop {
        let (lines, _) = record
            .read_after(all.len() as u64, u64::MAX, 32 * 1024)
            .unwrap();
        if lines.is_empty() {
            break;
        }
        assert!(lines.iter().map(String::len).sum::<usize>() <= 32 * 1024);
        all.extend(lines);
    }
    assert_eq!(all.len(), 750);
    assert_chained(&all);
}

#[test]
fn a_torn_last_line_is_cut_off_and_recorded_and_the_chain_goes_on() {
    let place = Place::new();
    place.open().write("first", json!({})).unwrap();
    let mut text = fs::read(place.segment()).unwrap();
    text.extend_from_slice(b"{\"event\":{\"seq\":2,\"at\"");
    fs::write(place.segment(), &text).unwrap();
    let record = place.open();
    record.write("second", json!({})).unwrap();
    let (lines, _) = record.read_after(0, u64::MAX, 32 * 1024).unwrap();
    assert_eq!(kinds(&lines), ["first", "record.torn", "second"]);
    assert_chained(&lines);
}

#[test]
fn a_tail_of_zeros_after_a_power_cut_is_cut_off() {
    let place = Place::new();
    place.open().write("first", json!({})).unwrap();
    let mut text = fs::read(place.segment()).unwrap();
    text.extend_from_slice(&[0; 4096]);
    fs::write(place.segment(), &text).unwrap();
    let (lines, _) = place.open().read_after(0, u64::MAX, 32 * 1024).unwrap();
    assert_eq!(kinds(&lines), ["first", "record.torn"]);
}

#[tokio::test]
async fn lines_that_a_checkpoint_covers_cannot_vanish_unseen() {
    let place = Place::new();
    {
        let record = place.open();
        record.sign_with(signer());
        for _ in 0..5 {
            record.write("test", json!({})).unwrap();
        }
        record.sync().await;
    }
    fs::write(place.segment(), b"").unwrap();
    let record = place.open();
    record.write("later", json!({})).unwrap();
    let (lines, _) = record.read_after(0, u64::MAX, 32 * 1024).unwrap();
    assert_eq!(kinds(&lines), ["record.lost", "later"]);
    let first: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(
        (&first["event"]["seq"], &first["event"]["checkpoint"]),
        (&json!(6), &json!(5))
    );
}

#[tokio::test]
async fn what_a_power_cut_could_take_does_not_count_as_synced() {
    let place = Place::new();
    let record = place.open();
    let synced = record.synced();
    record.write("test", json!({})).unwrap();
    assert_eq!(*synced.borrow(), 0);
    assert!(
        record
            .read_after(0, *synced.borrow(), 1200)
            .unwrap()
            .0
            .is_empty()
    );
    record.sync().await;
    record.write("later", json!({})).unwrap();
    let (lines, _) = record.read_after(0, *synced.borrow(), 1200).unwrap();
    assert_eq!(kinds(&lines), ["test"]);
    // jitd starts again; nobody knows what of it the disk has.
    assert_eq!(*place.open().synced().borrow(), 0);
}

/// A record of three segments, of which the oldest has been dropped to make room. Also the number of the first line that is left.
fn rotated(place: &Place) -> (Arc<Record>, u64) {
    let record = place.open();
    record.sign_with(signer());
    let text = "x".repeat(LINE_BYTES - 300);
    while chain::segments(&place.events()).unwrap().len() < 3 {
        record.write("test", json!({ "text": text })).unwrap();
    }
    drop_oldest(place);
    let first = chain::segments(&place.events()).unwrap()[0];
    (record, first)
}

fn drop_oldest(place: &Place) {
    let first = chain::segments(&place.events()).unwrap()[0];
    fs::remove_file(chain::segment_path(&place.events(), first)).unwrap();
}

fn event(line: &str) -> Value {
    serde_json::from_str::<Value>(line).unwrap()["event"].take()
}

#[test]
fn a_server_that_missed_what_was_dropped_is_told_so_and_goes_on_from_there() {
    let place = Place::new();
    let (record, first) = rotated(&place);
    let last = record.lock().chain.seq;
    let (lines, checkpoint) = record.read_after(5, u64::MAX, 32 * 1024).unwrap();
    let lost = event(&lines[0]);
    // What the server asks of a line after a gap: its kind, and that nothing it lacks is still there before the gap.
    assert_eq!(
        (&lost["kind"], &lost["after"], &lost["dropped_before"]),
        (&json!("record.lost"), &json!(0), &json!(first))
    );
    assert_eq!(
        (&lost["seq"], checkpoint.unwrap().seq),
        (&json!(last + 1), last + 1)
    );
    record.write("later", json!({})).unwrap();
    let (more, _) = record.read_after(last + 1, u64::MAX, 32 * 1024).unwrap();
    assert_eq!(kinds(&more), ["later"]);
    let prev = serde_json::from_str::<Value>(&more[0]).unwrap()["prev"].take();
    assert_eq!(prev, hex(&chain::hash(lines[0].as_bytes())));
}

#[test]
fn t26_what_was_dropped_is_told_of_in_one_line_whatever_is_asked_for() {
    let place = Place::new();
    let (record, _) = rotated(&place);
    drop_oldest(&place);
    let last = record.lock().chain.seq;
    for after in (0..1000).rev() {
        let (lines, _) = record.read_after(after, u64::MAX, 32 * 1024).unwrap();
        assert_eq!(kinds(&lines), ["record.lost"], "after {after}");
    }
    assert_eq!(record.lock().chain.seq, last + 1);
}

#[test]
fn a_loss_that_was_told_of_says_nothing_of_lines_that_were_dropped_after_it() {
    let place = Place::new();
    let (record, first) = rotated(&place);
    let (lines, _) = record.read_after(0, u64::MAX, 32 * 1024).unwrap();
    assert_eq!(event(&lines[0])["dropped_before"], first);
    drop_oldest(&place);
    let (lines, _) = record.read_after(first, u64::MAX, 32 * 1024).unwrap();
    let lost = event(&lines[0]);
    assert_eq!(lost["kind"], "record.lost");
    assert!(lost["dropped_before"].as_u64() > Some(first + 1), "{lost}");
}

#[test]
fn a_server_that_has_what_was_dropped_reads_on_as_if_nothing_were_gone() {
    let place = Place::new();
    let (record, first) = rotated(&place);
    let last = record.lock().chain.seq;
    let (lines, _) = record.read_after(first - 1, u64::MAX, 32 * 1024).unwrap();
    assert_eq!(event(&lines[0])["seq"], first);
    assert_eq!(record.lock().chain.seq, last, "nothing was written");
}

#[test]
fn a_reader_that_stopped_in_a_segment_dropped_since_is_told_so_too() {
    let place = Place::new();
    let (record, first) = rotated(&place);
    let (lines, _) = record.read_after(first - 1, u64::MAX, 32 * 1024).unwrap();
    drop_oldest(&place);
    let after = event(lines.last().unwrap())["seq"].as_u64().unwrap();
    let (lines, _) = record.read_after(after, u64::MAX, 32 * 1024).unwrap();
    assert_eq!(kinds(&lines)[0], "record.lost");
}

#[test]
fn a_batch_comes_with_a_checkpoint_over_its_last_line() {
    let place = Place::new();
    let record = place.open();
    record.sign_with(signer());
    for _ in 0..3 {
        record
            .write("test", json!({ "text": "x".repeat(400) }))
            .unwrap();
    }
    let (lines, checkpoint) = record.read_after(0, u64::MAX, 1200).unwrap();
    assert_eq!(lines.len(), 2);
    let checkpoint = checkpoint.unwrap();
    assert_eq!(
        (checkpoint.seq, checkpoint.head),
        (2, hex(&chain::hash(lines[1].as_bytes())))
    );
    assert_eq!(record.read_after(2, u64::MAX, 1200).unwrap().0.len(), 1);
    assert!(record.read_after(3, u64::MAX, 1200).unwrap().0.is_empty());
}

#[test]
fn every_event_is_in_the_system_log_too() {
    let place = Place::new();
    place
        .open()
        .write("test", json!({ "login": "ada" }))
        .unwrap();
    let logged = place.logged();
    assert!(
        logged[0].starts_with("<85>jitd[") && logged[0].contains(r#""login":"ada""#),
        "{logged:?}"
    );
}

#[test]
fn a_log_daemon_that_hangs_holds_nobody_up() {
    let place = Place::new();
    let record = place.open();
    // Nobody reads: the queue of a Unix datagram socket fills after a few messages.
    for _ in 0..2000 {
        record.write("test", json!({})).unwrap();
    }
    assert!(place.logged().len() < 2000);
    assert_eq!(
        record
            .read_after(1990, u64::MAX, 32 * 1024)
            .unwrap()
            .0
            .len(),
        10
    );
}

#[test]
fn an_event_too_long_for_a_line_leaves_a_note_in_its_place() {
    let place = Place::new();
    let record = place.open();
    record
        .write("test", json!({ "text": "x".repeat(LINE_BYTES) }))
        .unwrap();
    record.write("next", json!({})).unwrap();
    let (lines, _) = record.read_after(0, u64::MAX, 32 * 1024).unwrap();
    assert!(lines[0].contains("too_long_bytes"));
    assert_chained(&lines);
}

fn open_on(disk: &TinyDisk, log: &Path) -> Arc<Record> {
    let clock = Clock::on(Set::at(Timestamp::UNIX_EPOCH, Duration::ZERO), None);
    Record::open(&disk.path().join("events"), log, clock).unwrap()
}

#[test]
fn t23_a_disk_that_others_filled_still_takes_records_for_a_while() {
    let Some(disk) = TinyDisk::mount(4 * chain::SEGMENT_BYTES) else {
        return;
    };
    let record = open_on(&disk, Path::new("/nonexistent/log"));
    disk.fill();
    // One segment and its spare.
    for _ in 0..(2 * chain::SEGMENT_BYTES) / 8192 - 2 {
        record
            .write("test", json!({ "text": "x".repeat(LINE_BYTES - 300) }))
            .unwrap();
    }
    assert!(record.on_disk());
}

#[test]
fn t23_on_a_full_disk_the_system_log_is_enough_and_without_it_a_write_fails() {
    let Some(disk) = TinyDisk::mount(64 * 1024) else {
        return;
    };
    let place = Place::new();
    let record = open_on(&disk, &place.directory.path().join("log"));
    disk.fill();
    let text = "x".repeat(4000);
    while record.on_disk() {
        record.write("test", json!({ "text": text })).unwrap();
        place.logged();
    }
    drop(place.log);
    assert!(record.write("refused", json!({ "text": text })).is_err());
    fs::remove_file(disk.path().join("filler")).unwrap();
    record.write("again", json!({})).unwrap();
    assert!(record.on_disk());
    let (lines, _) = record.read_after(0, u64::MAX, 1 << 20).unwrap();
    assert_eq!(kinds(&lines)[lines.len() - 2..], ["record.missed", "again"]);
    assert_chained(&lines);
}

#[test]
fn t23_on_a_read_only_disk_jitd_starts_and_the_system_log_is_enough() {
    let Some(disk) = TinyDisk::mount(64 * 1024) else {
        return;
    };
    let place = Place::new();
    let log = place.directory.path().join("log");
    open_on(&disk, &log).write("before", json!({})).unwrap();
    place.logged();
    disk.make_read_only();
    let record = open_on(&disk, &log);
    record.write("after", json!({})).unwrap();
    assert!(!record.on_disk());
    assert!(place.logged()[0].contains("after"));
    drop(place.log);
    assert!(record.write("refused", json!({})).is_err());
    let (lines, _) = record.read_after(0, u64::MAX, 1 << 20).unwrap();
    assert_eq!(kinds(&lines), ["before"]);
}
