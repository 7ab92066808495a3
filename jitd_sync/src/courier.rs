//! The three errands, run side by side, and what they share.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use jit_local::message::sync::Hello;
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;
use tracing::info;

use crate::backoff::Backoff;
use crate::complaint::Complaint;
use crate::error::SyncError;
use crate::jitd::Jitd;
use crate::place::Place;
use crate::server::Server;
use crate::{bundles, events, words};

/// How often and how long.
#[derive(Debug, Clone)]
pub struct Pace {
    /// A word is asked for at least this often. Each also renews the host's token, which is good for five minutes.
    pub word_every: Duration,
    /// A stream silent for longer is given up; the server says something every 15 s.
    pub silence: Duration,
    /// A stream that has said nothing for so long after it was asked for is doubted; the server says something at once.
    pub first_sign: Duration,
    /// The same later on; a sign of life is due every 15 s.
    pub sign_of_life: Duration,
    /// Streams that end sooner, several in a row, don't get through.
    pub young: Duration,
    /// Where streams don't get through one is tried again after so long, give or take a quarter: the server may only have been busy.
    pub stream_soon: Duration,
    /// The same for each further one, and where the one before got through for a short time only.
    pub stream_again: Duration,
    /// For how long the server is asked to wait for a newer bundle then.
    pub poll_wait: Duration,
    /// The first wait after a failure; each further one doubles it.
    pub first_wait: Duration,
    /// The longest wait after failures.
    pub longest_wait: Duration,
    /// The longest wait where the server was not even reached: that costs it nothing, and the host is to be current soon after
    /// whatever is in between heals.
    pub unreached_wait: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            word_every: Duration::from_secs(30),
            silence: Duration::from_secs(45),
            first_sign: Duration::from_secs(4),
            sign_of_life: Duration::from_secs(20),
            young: Duration::from_secs(60),
            stream_soon: Duration::from_secs(60),
            stream_again: Duration::from_secs(600),
            poll_wait: Duration::from_secs(25),
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(30),
            unreached_wait: Duration::from_millis(250),
        }
    }
}

impl Pace {
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.first_wait, self.longest_wait)
    }

    /// How long until a stream is tried again that doesn't get through; `before`: how long ago that was so the last time.
    pub(crate) fn first_trial(&self, before: Option<Duration>) -> Duration {
        if before.is_none_or(|before| before > 2 * self.stream_again) {
            self.stream_soon
        } else {
            self.stream_again
        }
    }

    /// How long to wait after `error`.
    pub(crate) fn wait_after(&self, error: &SyncError, backoff: &mut Backoff) -> Duration {
        let chance = fastrand::f64();
        if error.is_unreachable() {
            self.unreached_wait.mul_f64(chance)
        } else {
            backoff.wait(chance)
        }
    }
}

/// Carries between the jitd behind `socket` and the server that it names, for as long as the process lives.
pub async fn run(socket: &Path, pace: Pace) -> Infallible {
    let jitd = Jitd::at(socket);
    let (mut backoff, mut complaint) = (pace.backoff(), Complaint::default());
    loop {
        match Courier::begin(&jitd, &pace).await {
            Ok(courier) => {
                backoff.reset();
                complaint.settled();
                courier.carry().await;
            }
            Err(error) => {
                complaint.about(&error);
                sleep(pace.wait_after(&error, &mut backoff)).await;
            }
        }
    }
}

/// What the errands share while this host is enrolled with one server.
pub(crate) struct Courier {
    pub(crate) jitd: Jitd,
    pub(crate) server: Server,
    pub(crate) pace: Pace,
    place: Place,
    host_id: String,
    standing: RefCell<Standing>,
    /// Held around a call to jitd that tells or changes which bundle it has, so that `standing` follows in the same order.
    pub(crate) turn: Mutex<()>,
    /// Somebody wants a word now.
    pub(crate) word_wanted: Notify,
    /// The stream was refused, perhaps for the host's time: once a word has told it that, its token has to be made anew.
    pub(crate) shut_out: Cell<bool>,
    /// The stream should begin anew, from the revision that jitd now has.
    pub(crate) stream_stale: Notify,
}

/// What jitd last said.
#[derive(Clone)]
pub(crate) struct Standing {
    /// The host's token.
    pub(crate) token: String,
    /// Revision of the bundle that jitd holds, 0 for none.
    pub(crate) held: u64,
}

impl Courier {
    async fn begin(jitd: &Jitd, pace: &Pace) -> Result<Self, SyncError> {
        let hello = jitd.hello().await?;
        let place = Place::from(&hello);
        let server = Server::at(&place)?;
        info!(
            "carrying between jitd and {place}; jitd holds revision {}",
            hello.revision
        );
        Ok(Self {
            jitd: jitd.clone(),
            server,
            pace: pace.clone(),
            place,
            host_id: hello.host_id,
            standing: RefCell::new(Standing {
                token: hello.token,
                held: hello.revision,
            }),
            turn: Mutex::new(()),
            word_wanted: Notify::new(),
            shut_out: Cell::new(false),
            stream_stale: Notify::new(),
        })
    }

    /// Runs the errands until jitd names another server or host id.
    async fn carry(&self) {
        tokio::select! {
            () = words::carry(self) => info!("this host is enrolled anew"),
            _ = bundles::carry(self) => {}
            _ = events::carry(self) => {}
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Says what went wrong, to jitd too where it keeps the server from being heard: to the host's record and `jitctl status` it goes
    /// from there.
    pub(crate) async fn complain(&self, complaint: &mut Complaint, error: &SyncError) {
        if complaint.about(error) && error.keeps_the_server_away() {
            // A jitd of before knows no such call, and nothing depends on it.
            let _ = self.jitd.trouble(error.to_string()).await;
        }
    }

    /// jitd now holds `revision`. Call it in `turn`.
    pub(crate) fn holds(&self, revision: u64) {
        self.standing.borrow_mut().held = revision;
    }

    /// Notes what jitd said. False: it speaks for another host or server than this courier. Call it in `turn`.
    pub(crate) fn heard(&self, hello: &Hello) -> bool {
        let mut standing = self.standing.borrow_mut();
        if hello.revision < standing.held {
            // It lost its state; what was carried already is needed again.
            self.stream_stale.notify_one();
        }
        *standing = Standing {
            token: hello.token.clone(),
            held: hello.revision,
        };
        Place::from(hello) == self.place && hello.host_id == self.host_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_tried_soon_unless_streams_did_not_get_through_a_while_ago_either() {
        let pace = Pace::default();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(pace.first_trial(None), minutes(1));
        assert_eq!(pace.first_trial(Some(minutes(20))), minutes(10));
        assert_eq!(pace.first_trial(Some(minutes(21))), minutes(1));
    }
}
