//! Bundles: from the server's stream to jitd, each as soon as it comes.

use std::convert::Infallible;

use jit_local::message::sync::Taken;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::backoff::Backoff;
use crate::complaint::Complaint;
use crate::courier::Courier;
use crate::error::SyncError;
use crate::event_stream::Event;

/// Bytes of the documents that lead from key to key: what a call to jitd holds.
const KEYS_BYTES: usize = 48 * 1024;

/// Keeps a stream open. A bundle that jitd does not take is asked for again later: its clock or the server's may be set by then.
pub(crate) async fn carry(courier: &Courier) -> Infallible {
    let (mut backoff, mut complaint) = (courier.pace.backoff(), Complaint::default());
    loop {
        let began = Instant::now();
        if let Err(error) = follow(courier, &mut backoff).await {
            if began.elapsed() > courier.pace.longest_wait {
                // It went well for long.
                backoff.reset();
                complaint.settled();
            }
            complaint.about(&error);
            if error.may_be_for_the_time() {
                courier.shut_out.set(true);
                courier.word_wanted.notify_one();
            }
            sleep(courier.pace.wait_after(&error, &mut backoff)).await;
        }
    }
}

/// Follows one stream to its end. Ok: it should begin anew at once.
async fn follow(courier: &Courier, backoff: &mut Backoff) -> Result<(), SyncError> {
    let standing = courier.standing();
    let mut stream = courier
        .server
        .stream(&standing.token, standing.held, courier.pace.silence)
        .await?;
    courier.word_wanted.notify_one();
    loop {
        let event = tokio::select! {
            event = stream.next() => event?,
            () = courier.stream_stale.notified() => return Ok(()),
        };
        match event.name.as_str() {
            "bundle" => {
                deliver(courier, &event).await?;
                backoff.reset();
            }
            "keys" => deliver_keys(courier, &event).await?,
            // What a later server may send.
            _ => {}
        }
    }
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

async fn deliver(courier: &Courier, event: &Event) -> Result<(), SyncError> {
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
