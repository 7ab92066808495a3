//! jitd-sync: carries signed bundles and words from jit-server to jitd, and recorded events back.
//!
//! It has no key and no say: jitd believes signatures only, so all that this process could do, taken over, is to withhold, and
//! that is bounded by `max_staleness`.
//!
//! | idea | file |
//! |---|---|
//! | what runs, and what it shares | `courier.rs` |
//! | the three errands: bundles down, words down, events up | `bundles.rs`, `words.rs`, `events.rs` |
//! | the two ways in which bundles come down | `streamed.rs`, `one_by_one.rs` |
//! | what jitd is asked | `jitd.rs` |
//! | where the server is, and whom it must be vouched for by | `place.rs` |
//! | what the server is asked | `server.rs` |
//! | when it is tried again, and what the log says | `backoff.rs`, `complaint.rs` |
//! | server-sent events, bounded | `event_stream.rs` |
#![forbid(unsafe_code)]

mod backoff;
mod bundles;
mod complaint;
pub mod courier;
mod error;
mod event_stream;
mod events;
mod jitd;
mod one_by_one;
mod place;
mod server;
mod streamed;
mod words;

pub use error::SyncError;
