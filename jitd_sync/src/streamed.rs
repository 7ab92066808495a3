//! The server's stream, followed for as long as streams get through. A middle box may hold an answer back until it is whole, or cut every
//! answer that lasts: neither must keep a host from its bundles.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::bundles::{Tries, deliver};
use crate::courier::Courier;
use crate::error::SyncError;
use crate::one_by_one;
use crate::server::Stream;

/// So many streams in a row that were cut young, and no further one is tried at once.
const CUT_YOUNG: u32 = 3;

/// Follows stream after stream, `stream` first, until they don't get through; tells why.
pub(crate) async fn follow(tries: &mut Tries<'_>, mut stream: Option<Stream>) -> SyncError {
    let pace = &tries.courier.pace;
    let mut cut = 0;
    loop {
        let opened = match stream.take() {
            Some(stream) => Ok(stream),
            None => doubted(tries.courier, pace.first_sign, open(tries.courier)).await,
        };
        let began = Instant::now();
        let error = match opened {
            Err(error) => error,
            Ok(stream) => match listen(tries, stream).await {
                Ok(()) => continue,
                Err(error) => {
                    let young = began.elapsed() < pace.young;
                    cut = if error.is_a_cut() && young {
                        cut + 1
                    } else {
                        0
                    };
                    if began.elapsed() > pace.longest_wait {
                        tries.went_well();
                    }
                    error
                }
            },
        };
        if matches!(error, SyncError::HeldBack(_)) || cut >= CUT_YOUNG {
            return error;
        }
        tries.failed(&error).await;
    }
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
    let held = courier.standing().held;
    let asked = pin!(one_by_one::once(courier, held, Duration::ZERO));
    tokio::select! {
        biased;
        said = &mut stream => said,
        Ok(_) = asked => Err(SyncError::HeldBack(patience)),
    }
}
