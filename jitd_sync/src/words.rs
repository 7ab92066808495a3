//! Signed words: the server's sign of life, without which grants stop to count. Each answers a fresh nonce of jitd's, so none
//! can be kept back and played later.

use jit_local::message::sync::{Hello, Taken};
use tokio::time::timeout;

use crate::complaint::Complaint;
use crate::courier::Courier;
use crate::error::SyncError;

/// Asks for words, every so often and whenever one is wanted. Returns when jitd speaks for another host or server.
pub(crate) async fn carry(courier: &Courier) {
    let (mut backoff, mut complaint) = (courier.pace.backoff(), Complaint::default());
    loop {
        let wait = match one(courier).await {
            Ok(Word::Taken) => {
                backoff.reset();
                complaint.settled();
                courier.pace.word_every
            }
            Ok(Word::EnrolledAnew) => return,
            Err(error) => {
                courier.complain(&mut complaint, &error).await;
                courier.pace.wait_after(&error, &mut backoff)
            }
        };
        // Either is fine: the time passed, or somebody wants one sooner.
        let _ = timeout(wait, courier.word_wanted.notified()).await;
    }
}

enum Word {
    Taken,
    EnrolledAnew,
}

async fn one(courier: &Courier) -> Result<Word, SyncError> {
    let Some(hello) = ask_for_nonce(courier).await? else {
        return Ok(Word::EnrolledAnew);
    };
    let word = courier
        .server
        .word(
            &courier.standing().token,
            &hello.nonce,
            hello.state.as_deref(),
        )
        .await?;
    let taken = courier.jitd.word(word).await?;
    // Taken or not, jitd has the time from it now, and makes its token by that.
    if courier.shut_out.replace(false) && ask_for_nonce(courier).await?.is_none() {
        return Ok(Word::EnrolledAnew);
    }
    match taken {
        Taken { taken: true, .. } => Ok(Word::Taken),
        Taken { code, .. } => {
            // Perhaps the server's revision is newer than jitd's: then the stream has missed something.
            courier.stream_stale.notify_one();
            Err(SyncError::NotTaken {
                what: "word",
                code: code.unwrap_or_default(),
            })
        }
    }
}

/// jitd's hello, noted, for its nonce and what it says of its host. None: it speaks for another host or server.
async fn ask_for_nonce(courier: &Courier) -> Result<Option<Hello>, SyncError> {
    let _turn = courier.turn.lock().await;
    let hello = courier.jitd.hello().await?;
    Ok(courier.heard(&hello).then_some(hello))
}
