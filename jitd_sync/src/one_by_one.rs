//! Bundles asked for one by one: each call is answered as soon as there is something newer, or after a while.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::bundles::{Tries, deliver};
use crate::courier::Courier;
use crate::error::SyncError;
use crate::server::Stream;
use crate::streamed;

/// The server waits no shorter where somebody cuts what waits longer.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Asks until a stream gets through again, and gives that one; None where another place of the server is to be tried, or such calls are
/// refused. A stream is tried for the first time after about `first_trial`.
pub(crate) async fn ask(tries: &mut Tries<'_>, first_trial: Duration) -> Option<Stream> {
    let courier = tries.courier;
    tokio::select! {
        () = ask_one_by_one(tries) => None,
        stream = open_later(courier, first_trial) => Some(stream),
    }
}

async fn ask_one_by_one(tries: &mut Tries<'_>) {
    let courier = tries.courier;
    let (place, mut wait) = (courier.server.turn(), courier.pace.poll_wait);
    let mut anew = false;
    while courier.server.turn() == place {
        // Anew: what leads to the bundle that jitd has is needed, too.
        let after = if std::mem::take(&mut anew) {
            0
        } else {
            courier.standing().held
        };
        let began = Instant::now();
        let answered = tokio::select! {
            answered = once(courier, after, wait) => answered,
            () = courier.stream_stale.notified() => {
                anew = true;
                continue;
            }
        };
        let in_vain = began.elapsed();
        match answered {
            Ok(false) if in_vain < wait / 2 => tries.failed(&SyncError::DidNotWait).await,
            Ok(_) if wait < courier.pace.poll_wait => {
                // Whoever cut longer ones may have done so once. Where not, it is no news.
                wait = courier.pace.poll_wait;
                tries.progressed();
            }
            Ok(_) => tries.went_well(),
            Err(error) if error.refuses_the_call_itself() => {
                tries.failed(&error).await;
                return;
            }
            Err(error) => {
                if in_vain >= SHORTEST_WAIT && wait > SHORTEST_WAIT {
                    // Perhaps whoever cut it lets a shorter one through, which need not be kept waiting.
                    wait = (wait / 2).max(SHORTEST_WAIT);
                    tries.progressed();
                }
                tries.failed(&error).await;
            }
        }
    }
}

/// True where the server answers such a call now, whatever jitd makes of the answer.
pub(crate) async fn answers(courier: &Courier) -> bool {
    let answered = once(courier, courier.standing().held, Duration::ZERO).await;
    matches!(answered, Ok(_) | Err(SyncError::NotTaken { .. }))
}

/// Asks for a bundle newer than `after` and hands it on. False: there was none within `wait`.
pub(crate) async fn once(courier: &Courier, after: u64, wait: Duration) -> Result<bool, SyncError> {
    let token = courier.standing().token;
    let server = &courier.server;
    let newer = server.newer(&token, after, wait, courier.pace.silence);
    let Some(mut answer) = newer.await? else {
        return Ok(false);
    };
    loop {
        match answer.next().await {
            Ok(Some(event)) => deliver(courier, &event).await.map(drop)?,
            Ok(None) => {}
            Err(SyncError::Closed) => break,
            Err(error) => return Err(error),
        }
    }
    if courier.standing().held > after {
        Ok(true)
    } else {
        Err(SyncError::Nonsense(
            "what it called a newer bundle is none".to_owned(),
        ))
    }
}

/// A stream that gets through, tried for once in a while, at no moment that other hosts have chosen, too.
async fn open_later(courier: &Courier, first_trial: Duration) -> Stream {
    let pace = &courier.pace;
    let mut trial = first_trial;
    loop {
        sleep(trial.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        trial = pace.stream_again;
        match timeout(pace.first_sign, open(courier)).await {
            Ok(Ok(stream)) => return stream,
            Ok(Err(error)) => debug!("a stream was tried: {error}"),
            Err(_) => debug!("a stream was tried, and held back"),
        }
    }
}

/// Opens a stream and waits until it has said something.
async fn open(courier: &Courier) -> Result<Stream, SyncError> {
    let mut stream = streamed::open(courier).await?;
    if let Some(event) = stream.next().await? {
        deliver(courier, &event).await?;
    }
    Ok(stream)
}
