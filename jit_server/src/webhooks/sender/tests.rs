//! One endpoint with a record and a receiver of the test's own, on tokio's paused clock: a day of tries takes no time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::webhooks::message::Page;

const ALL: &[&str] = &[
    "requested",
    "granted",
    "released",
    "revoked",
    "extended",
    "started",
    "expired",
];

/// The time as tokio has it, from noon.
#[derive(Clone, Copy)]
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        noon() + self.0.elapsed()
    }
}

fn noon() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// A record that whoever may can read.
#[derive(Clone)]
struct Fake(Arc<watch::Sender<(bool, Vec<Value>)>>);

impl Fake {
    fn add(&self, clock: Paused, event: Value) {
        self.0.send_modify(|(_, events)| {
            let kind = event["kind"].clone();
            events.push(json!({
                "seq": events.len() + 1, "at": clock.now(), "origin": "server", "actor": "alice", "kind": kind, "detail": event,
            }));
        });
    }
}

impl Record for Fake {
    async fn read(&self, after: u64, limit: u32, wait: Duration) -> Result<Page, Error> {
        let mut changes = self.0.subscribe();
        let deadline = sleep(wait);
        tokio::pin!(deadline);
        loop {
            let found = {
                let (allowed, events) = &*changes.borrow_and_update();
                if !allowed {
                    return Err(Error::Refused("not named in may_audit".to_owned()));
                }
                let after = usize::try_from(after).unwrap();
                let found: Vec<Value> = events
                    .iter()
                    .skip(after)
                    .take(limit as usize)
                    .cloned()
                    .collect();
                found
            };
            let last = found.last().filter(|_| found.len() == limit as usize);
            let next = last.map(|event| event["seq"].clone());
            if !found.is_empty() || deadline.is_elapsed() {
                return Ok(
                    serde_json::from_value(json!({ "events": found, "next": next })).unwrap(),
                );
            }
            tokio::select! {
                changed = changes.changed() => changed.unwrap(),
                () = &mut deadline => {}
            }
        }
    }
}

/// A receiver that answers as it is told to, and takes everything after that.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Post>>);

#[derive(Default)]
struct Post {
    answers: VecDeque<Answer>,
    came: Vec<Came>,
}

struct Came {
    /// How long after noon. Seconds.
    at: i64,
    kind: String,
    id: String,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Post> {
        self.0.lock().unwrap()
    }

    fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.lock().answers.extend(answers);
    }

    /// Of what came, in order.
    fn kinds(&self) -> Vec<String> {
        self.lock()
            .came
            .iter()
            .map(|came| came.kind.clone())
            .collect()
    }

    fn ids(&self) -> Vec<String> {
        self.lock()
            .came
            .iter()
            .map(|came| came.id.clone())
            .collect()
    }

    fn times(&self) -> Vec<i64> {
        self.lock().came.iter().map(|came| came.at).collect()
    }
}

impl Receiver for Inbox {
    async fn send(&self, message: &Message, now: Timestamp) -> Answer {
        let mut inbox = self.lock();
        inbox.came.push(Came {
            at: now.duration_since(noon()).as_secs(),
            kind: message.kind.clone(),
            id: message.id.clone(),
        });
        inbox.answers.pop_front().unwrap_or(Answer::Taken)
    }
}

fn failed() -> Answer {
    Answer::Failed("it answers 503".to_owned())
}

/// An endpoint, its sender running.
struct Running {
    folder: tempfile::TempDir,
    clock: Paused,
    record: Fake,
    inbox: Inbox,
    url: String,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn start() -> Self {
        let mut running = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Paused(Instant::now()),
            record: Fake(Arc::new(watch::Sender::new((true, Vec::new())))),
            inbox: Inbox::default(),
            url: "https://pager.example/".to_owned(),
            task: tokio::spawn(async { Ok(()) }),
        };
        running.restart().await;
        running
    }

    /// Kills the sender, and starts another.
    async fn restart(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        let wanted = Wanted {
            name: "pager".parse().unwrap(),
            url: self.url.clone(),
            events: ALL.iter().map(|&kind| kind.to_owned()).collect(),
        };
        let (record, inbox) = (self.record.clone(), self.inbox.clone());
        let clock = Box::new(self.clock);
        let sender =
            Sender::new(wanted, record, inbox, clock, Pace::default(), self.files()).unwrap();
        self.task = tokio::spawn(sender.run());
        // Whoever is new is told of what happens from the next millisecond on.
        sleep(Duration::from_secs(1)).await;
    }

    fn files(&self) -> Folder {
        Folder::open(self.folder.path()).unwrap()
    }

    fn happens(&self, event: Value) {
        self.record.add(self.clock, event);
    }

    /// alice has g1 for so many seconds from now on.
    fn granted(&self, seconds: i64) {
        let now = self.clock.now();
        self.happens(json!({
            "kind": "requested", "request": "r1", "principal": "alice", "login": "alice", "role": "web-admin",
            "hosts": ["web-1"], "actions": ["ssh"], "for_seconds": seconds, "reason": "disk full", "lapses_at": now, "policy": "",
        }));
        self.happens(json!({
            "kind": "granted", "request": "r1", "grants": [{ "grant": "g1", "host": "web-1" }],
            "not_before": now, "expires": now + SignedDuration::from_secs(seconds), "policy": "",
        }));
    }

    fn releases(&self, grant: &str) {
        self.happens(json!({ "kind": "released", "grant": grant }));
    }

    async fn after(&self, seconds: u64) -> &Inbox {
        sleep(Duration::from_secs(seconds)).await;
        &self.inbox
    }
}

const DAY: u64 = 86_400;

#[tokio::test(start_paused = true)]
async fn everything_is_told_in_order_with_starts_and_ends_when_they_come() {
    let running = Running::start().await;
    running.granted(600);
    let inbox = running.after(30).await;
    assert_eq!(inbox.kinds(), ["requested", "granted", "started"]);
    let inbox = running.after(600).await;
    assert_eq!(inbox.kinds().last().unwrap(), "expired");
    let expired = inbox.times()[3];
    assert!(
        (603..=605).contains(&expired),
        "{expired}: granted at 1 s, settled for 2 s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_was_extended_expires_then_and_one_that_was_released_does_not() {
    let running = Running::start().await;
    running.granted(600);
    running.after(60).await;
    let expires = noon() + SignedDuration::from_secs(1_200);
    running.happens(json!({
        "kind": "extended", "grant": "g1", "for_seconds": 599, "expires": expires, "reason": "more", "policy": "",
    }));
    let inbox = running.after(900).await;
    assert!(!inbox.kinds().contains(&"expired".to_owned()));
    running.releases("g1");
    let inbox = running.after(DAY).await;
    assert_eq!(
        inbox.kinds(),
        ["requested", "granted", "started", "extended", "released"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_is_told_once_whether_the_sender_was_there_or_not() {
    let mut running = Running::start().await;
    running.granted(600);
    running.after(30).await;
    running.task.abort();
    running.after(1_000).await;
    running.releases("g7");
    running.restart().await;
    running.restart().await;
    let inbox = running.after(30).await;
    let kinds = ["requested", "granted", "started", "expired", "released"];
    assert_eq!(
        inbox.kinds(),
        kinds,
        "the end comes before what happened after it"
    );
}

#[tokio::test(start_paused = true)]
async fn what_happened_before_an_endpoint_was_there_is_not_told_but_its_end_is() {
    let mut running = Running::start().await;
    running.granted(600);
    running.after(60).await;
    running.task.abort();
    running.inbox.lock().came.clear();
    std::fs::remove_file(running.folder.path().join("at/pager.json")).unwrap();
    running.restart().await;
    let inbox = running.after(DAY).await;
    assert_eq!(inbox.kinds(), ["expired"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_tried_again_and_nothing_after_it_goes_first() {
    let running = Running::start().await;
    running.inbox.answers([failed(), failed(), failed()]);
    for grant in ["g1", "g2"] {
        running.releases(grant);
    }
    let inbox = running.after(600).await;
    let ids = inbox.ids();
    assert_eq!(ids.len(), 5);
    assert!(ids[..4].iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_ne!(ids[3], ids[4]);
    // 5 s, 30 s and 2 min, each a quarter more or less.
    let times = inbox.times();
    for (pair, wait) in times.windows(2).zip([5.0, 30.0, 120.0]) {
        let waited = (pair[1] - pair[0]) as f64;
        assert!(
            (wait * 0.74 - 1.0..=wait * 1.26 + 1.0).contains(&waited),
            "{times:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_day_an_event_is_given_up_and_the_next_is_sent() {
    let running = Running::start().await;
    running.inbox.answers((0..1_000).map(|_| failed()));
    running.releases("g1");
    running.releases("g2");
    let inbox = running.after(DAY - 60).await;
    assert!((9..20).contains(&inbox.ids().len()), "{:?}", inbox.times());
    assert_eq!(running.files().dead(&"pager".parse().unwrap()).unwrap(), []);
    inbox.lock().answers.clear();
    inbox.answers([failed()]);
    let inbox = running.after(120).await;
    let dead = running.files().dead(&"pager".parse().unwrap()).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].message.id.as_str(), dead[0].why.as_str()),
        (inbox.ids()[0].as_str(), "it answers 503")
    );
    assert_ne!(inbox.ids().last(), inbox.ids().first());
}

#[tokio::test(start_paused = true)]
async fn dead_letters_put_back_are_sent_again_under_their_own_ids() {
    let running = Running::start().await;
    running.inbox.answers((0..1_000).map(|_| failed()));
    running.releases("g1");
    running.after(DAY + 60).await;
    running.inbox.lock().answers.clear();
    let id = running.inbox.ids()[0].clone();
    running.inbox.lock().came.clear();
    let name = "pager".parse().unwrap();
    assert_eq!(running.files().again(&name).unwrap(), 1);
    let inbox = running.after(60).await;
    assert_eq!(inbox.ids(), [id]);
    assert_eq!(running.files().dead(&name).unwrap(), []);
    assert_eq!(running.files().queue(&name).unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_are_not_taken_again_hold_up_others_for_a_day_at_most() {
    let running = Running::start().await;
    running.inbox.answers((0..10_000).map(|_| failed()));
    for grant in ["g1", "g2", "g3"] {
        running.releases(grant);
    }
    running.after(3 * DAY + 300).await;
    let name = "pager".parse().unwrap();
    assert_eq!(running.files().dead(&name).unwrap().len(), 3);
    running.files().again(&name).unwrap();
    running.after(DAY + 300).await;
    assert_eq!(running.files().dead(&name).unwrap().len(), 3);
    running.inbox.lock().answers.clear();
    running.inbox.lock().came.clear();
    running.releases("g4");
    assert_eq!(running.after(60).await.kinds(), ["released"]);
}

#[tokio::test(start_paused = true)]
async fn a_day_of_tries_is_one_day_whatever_restarts() {
    let mut running = Running::start().await;
    running.inbox.answers((0..1_000).map(|_| failed()));
    running.releases("g1");
    for _ in 0..10 {
        running.after(DAY / 10).await;
        running.restart().await;
    }
    running.after(60).await;
    let dead = running.files().dead(&"pager".parse().unwrap()).unwrap();
    assert_eq!(dead.len(), 1, "not ten days");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_gone_is_called_no_more_until_an_administrator_says_so() {
    let mut running = Running::start().await;
    running.inbox.answers([Answer::Gone]);
    running.releases("g1");
    running.releases("g2");
    running.after(60).await;
    running.restart().await;
    let inbox = running.after(DAY).await;
    assert_eq!(inbox.ids().len(), 1);
    assert_eq!(running.files().again(&"pager".parse().unwrap()).unwrap(), 0);
    let inbox = running.after(60).await;
    let ids = inbox.ids();
    assert_eq!(
        (ids.len(), &ids[0]),
        (3, &ids[1]),
        "nothing is lost meanwhile"
    );
    // So is one with another URL.
    inbox.answers([Answer::Gone]);
    running.releases("g3");
    running.after(60).await;
    running.url.push('2');
    running.restart().await;
    assert_eq!(running.after(60).await.ids().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_sender_killed_between_the_answer_and_its_note_sends_again_under_the_same_id() {
    let mut running = Running::start().await;
    running.releases("g1");
    let place = running.folder.path().join("at/pager.json");
    let before = std::fs::read(&place).unwrap();
    running.after(30).await;
    // As the file is where the note was not written any more.
    running.task.abort();
    std::fs::write(&place, before).unwrap();
    running.restart().await;
    let ids = running.after(30).await.ids();
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_may_not_read_goes_on_trying_and_misses_nothing() {
    let running = Running::start().await;
    running
        .record
        .0
        .send_modify(|(allowed, _)| *allowed = false);
    running.after(30).await;
    running.releases("g1");
    assert_eq!(running.after(DAY).await.ids().len(), 0);
    running.record.0.send_modify(|(allowed, _)| *allowed = true);
    assert_eq!(running.after(90).await.kinds(), ["released"]);
}

#[tokio::test(start_paused = true)]
async fn after_an_older_copy_was_put_back_what_happens_then_is_told_and_nothing_twice() {
    let running = Running::start().await;
    for grant in ["g1", "g2", "g3"] {
        running.releases(grant);
        running.after(10).await;
    }
    // The copy knows the first alone, and three other things happen before the sender looks.
    running
        .record
        .0
        .send_modify(|(_, events)| events.truncate(1));
    for grant in ["g7", "g8", "g9"] {
        running.releases(grant);
    }
    let ids = running.after(120).await.ids();
    assert_eq!(ids.len(), 6, "{ids:?}");
    let different: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(
        different.len(),
        6,
        "a number that is given again is not an id given again"
    );
}
