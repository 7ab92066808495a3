//! Recorded events: from jitd to the server, in order. They stay on this host as well, so nothing is lost by trying again.

use std::convert::Infallible;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::complaint::Complaint;
use crate::courier::Courier;
use crate::error::SyncError;
use crate::server::Stored;

/// Hands events over as they are recorded. Which ones the server has, it says itself.
pub(crate) async fn carry(courier: &Courier) -> Infallible {
    let (mut backoff, mut complaint) = (courier.pace.backoff(), Complaint::default());
    let mut known = None;
    loop {
        let last = known.unwrap_or_default();
        let outcome = match known {
            Some(last) => hand_over(courier, last).await,
            None => ask(courier).await,
        };
        match outcome {
            Ok(Some(Stored::UpTo(seq))) if known != Some(seq) => {
                known = Some(seq);
                backoff.reset();
                complaint.settled();
                continue;
            }
            Ok(Some(Stored::OnlyUpTo(seq))) if known != Some(seq) => {
                info!("the server has this host's events up to {seq} only, not up to {last}");
                known = Some(seq);
            }
            Ok(Some(_)) => warn!("the server did not take this host's events after {last}"),
            Ok(None) => backoff.reset(),
            Err(error) => {
                if matches!(error, SyncError::Jitd(_)) {
                    // This call waits at jitd nearly all the time, so it is the first to notice that jitd restarts. The word that it
                    // then needs waits in its socket until it is back.
                    courier.word_wanted.notify_one();
                }
                complaint.about(&error);
                sleep(courier.pace.wait_after(&error, &mut backoff)).await;
                continue;
            }
        }
        sleep(backoff.wait(fastrand::f64())).await;
    }
}

/// How far the server has this host's events: it is handed none. A server of before refuses that with the same answer.
async fn ask(courier: &Courier) -> Result<Option<Stored>, SyncError> {
    let token = courier.standing().token;
    let stored = courier.server.events(&token, &[], Some("")).await?;
    let (Stored::UpTo(seq) | Stored::OnlyUpTo(seq)) = stored;
    Ok(Some(Stored::UpTo(seq)))
}

/// None: there was nothing to hand over.
async fn hand_over(courier: &Courier, last: u64) -> Result<Option<Stored>, SyncError> {
    let events = courier.jitd.events(last).await?;
    if events.lines.is_empty() {
        return Ok(None);
    }
    let token = courier.standing().token;
    let stored = courier
        .server
        .events(&token, &events.lines, events.checkpoint.as_deref())
        .await?;
    Ok(Some(stored))
}
