//! Bundles: from the server to jitd, each as soon as it is made, by whichever way gets through.

use std::convert::Infallible;

use jit_local::message::sync::Taken;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::complaint::Complaint;
use crate::courier::Courier;
use crate::error::SyncError;
use crate::event_stream::Event;
use crate::{one_by_one, streamed};

/// Bytes of the documents that lead from key to key: what a call to jitd holds.
const KEYS_BYTES: usize = 48 * 1024;

/// Follows the server's stream, and asks for bundles one by one while streams don't get through.
pub(crate) async fn carry(courier: &Courier) -> Infallible {
    let mut tries = Tries::of(courier);
    let mut stream = None;
    let mut before: Option<Instant> = None;
    loop {
        let why = streamed::follow(&mut tries, stream).await;
        let first_trial = courier
            .pace
            .first_trial(before.map(|before| before.elapsed()));
        before = Some(Instant::now());
        warn!(
            "streams don't get through from the server: {why}; from now on bundles are asked for one by one, \
             and a stream again after about {} min",
            first_trial.as_secs() / 60
        );
        stream = one_by_one::ask(&mut tries, first_trial).await;
        if stream.is_some() {
            info!("following a stream of the server again");
        }
    }
}

/// The errand's failures so far.
pub(crate) struct Tries<'c> {
    pub(crate) courier: &'c Courier,
    backoff: Backoff,
    complaint: Complaint,
}

impl<'c> Tries<'c> {
    fn of(courier: &'c Courier) -> Self {
        Self {
            courier,
            backoff: courier.pace.backoff(),
            complaint: Complaint::default(),
        }
    }

    /// There was progress, so the next failure waits shortest again.
    pub(crate) fn progressed(&mut self) {
        self.backoff.reset();
    }

    /// It went well for long, so the next failure is news.
    pub(crate) fn went_well(&mut self) {
        self.backoff.reset();
        self.complaint.settled();
    }

    /// Says what went wrong and waits until it may be tried again. A bundle that jitd does not take is asked for again, too: its clock
    /// or the server's may be set by then.
    pub(crate) async fn failed(&mut self, error: &SyncError) {
        self.courier.complain(&mut self.complaint, error).await;
        if error.may_be_for_the_time() {
            self.courier.shut_out.set(true);
            self.courier.word_wanted.notify_one();
        }
        sleep(self.courier.pace.wait_after(error, &mut self.backoff)).await;
    }
}

/// Hands to jitd what the server says; true for a bundle.
pub(crate) async fn deliver(courier: &Courier, event: &Event) -> Result<bool, SyncError> {
    let is_bundle = event.name == "bundle";
    if is_bundle {
        deliver_bundle(courier, event).await?;
    } else {
        deliver_keys(courier, event).await?;
    }
    Ok(is_bundle)
}

/// The bundle that comes next may be signed by the newest of them, so it waits for jitd's answer.
async fn deliver_keys(courier: &Courier, event: &Event) -> Result<(), SyncError> {
    if event.data.len() > KEYS_BYTES {
        return Err(SyncError::TooLong(KEYS_BYTES));
    }
    let chain = event.data.lines().map(str::to_owned).collect();
    match courier.jitd.keys(chain).await? {
        Taken { taken: true, .. } => {
            courier.word_wanted.notify_one();
            Ok(())
        }
        Taken { code, .. } => Err(SyncError::NotTaken {
            what: "chain of keys",
            code: code.unwrap_or_default(),
        }),
    }
}

async fn deliver_bundle(courier: &Courier, event: &Event) -> Result<(), SyncError> {
    let revision = event
        .id
        .parse()
        .map_err(|_| SyncError::Nonsense("a bundle without its revision as id".to_owned()))?;
    {
        let _turn = courier.turn.lock().await;
        match courier.jitd.bundle(&event.data).await? {
            Taken { taken: true, .. } => courier.holds(revision),
            Taken { code, .. } => {
                return Err(SyncError::NotTaken {
                    what: "bundle",
                    code: code.unwrap_or_default(),
                });
            }
        }
    }
    info!("jitd took revision {revision}");
    courier.word_wanted.notify_one();
    Ok(())
}
