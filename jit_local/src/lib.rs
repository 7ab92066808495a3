//! The local protocol between the processes of one host: messages, framing, limits, a blocking client.
#![forbid(unsafe_code)]

pub mod message;
