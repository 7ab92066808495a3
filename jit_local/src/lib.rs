//! The local protocol between the processes of one host: messages, framing, limits, a blocking client.
//!
//! `PROTOCOL.md` beside this crate has the whole of it; `interfaces/` has what `varlinkctl` can introspect.
#![forbid(unsafe_code)]

pub mod call;
pub mod client;
pub mod descriptor;
pub mod frame;
pub mod interface;
pub mod limits;
pub mod message;
mod protocol;
