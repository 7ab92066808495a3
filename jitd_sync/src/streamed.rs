//! The server's stream, followed for as long as streams get through. A middle box may hold an answer back until it is whole, or cut every
//! answer that lasts, or refuse it: none of it must keep a host from its bundles.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::bundles::{Tries, deliver};
use crate::courier::Courier;
use crate::error::SyncError;
use crate::one_by_one;
use crate::server::Stream;

/// So many streams in a row that came to nothing, and the server is asked whether it answers otherwise.
const IN_VAIN: u32 = 3;

/// So many in a row that were held back, and no further one is tried at once. Not the first: a busy server takes longer for a new
/// connection than for the call on one that was open, and the next stream may have that one.
const HELD_BACK: u32 = 2;

/// Follows stream after stream, `stream` first, until they don't get through and other calls do; tells why.
pub(crate) async fn follow(tries: &mut Tries<'_>, mut stream: Option<Stream>) -> SyncError {
    let courier = tries.courier;
    let pace = &courier.pace;
    let (mut in_vain, mut held_back) = (0, 0);
    loop {
        let opened = match stream.take() {
            Some(stream) => Ok(stream),
            None => doubted(courier, pace.first_sign, open(courier)).await,
        };
        let error = match opened {
            Err(error) => error,
            Ok(stream) => {
                let began = Instant::now();
                let Err(error) = listen(tries, stream).await else {
                    continue;
                };
                if began.elapsed() > pace.longest_wait {
                    tries.went_well();
                }
                if began.elapsed() >= pace.young {
                    // It got through, whatever came before it and whatever has ended it.
                    (in_vain, held_back) = (0, 0);
                    tries.failed(&error).await;
                    continue;
                }
                error
            }
        };
        in_vain = count(in_vain, error.may_be_for_streams_alone());
        held_back = count(held_back, matches!(error, SyncError::HeldBack(_)));
        if held_back == HELD_BACK {
            return error;
        }
        if in_vain == IN_VAIN {
            if one_by_one::answers(courier).await {
                return error;
            }
            in_vain = 0;
        }
        tries.failed(&error).await;
    }
}

/// How many in a row, with one more that is of the kind or is not.
fn count(before: u32, one_more: bool) -> u32 {
    if one_more { before + 1 } else { 0 }
}

/// Opens a stream.
pub(crate) async fn open(courier: &Courier) -> Result<Stream, SyncError> {
    let standing = courier.standing();
    let stream = courier
        .server
        .stream(&standing.token, standing.held, courier.pace.silence)
        .await?;
    courier.word_wanted.notify_one();
    Ok(stream)
}

/// Listens to the end of a stream. Ok: it should begin anew at once.
async fn listen(tries: &mut Tries<'_>, mut stream: Stream) -> Result<(), SyncError> {
    let courier = tries.courier;
    loop {
        let patience = if stream.was_heard() {
            courier.pace.sign_of_life
        } else {
            courier.pace.first_sign
        };
        let said = tokio::select! {
            said = doubted(courier, patience, stream.next()) => said?,
            () = courier.stream_stale.notified() => return Ok(()),
        };
        if let Some(event) = said
            && deliver(courier, &event).await?
        {
            tries.progressed();
        }
    }
}

/// What a stream comes to. Where that is nothing for longer than `patience`, the server is asked on another connection: a server that
/// answers there does not answer here because somebody in between holds it back.
async fn doubted<T>(
    courier: &Courier,
    patience: Duration,
    stream: impl Future<Output = Result<T, SyncError>>,
) -> Result<T, SyncError> {
    let mut stream = pin!(stream);
    if let Ok(said) = timeout(patience, &mut stream).await {
        return said;
    }
    tokio::select! {
        biased;
        said = &mut stream => said,
        true = one_by_one::answers(courier) => Err(SyncError::HeldBack(patience)),
    }
}
