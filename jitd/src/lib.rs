//! jitd: believes signed bundles, answers PAM, holds sessions and elevations, ends them, records all of it.
//!
//! Read `server.rs` for how a call comes in, `handlers/` for what each method does, `grants.rs` for what is believed and
//! `session/` for how a session is held and ended.
#![forbid(unsafe_code)]

pub mod access;
pub mod accounts;
mod at_job;
pub mod atomic;
mod boot;
pub mod clock;
pub mod config;
pub mod daemon;
#[cfg(test)]
pub(crate) mod fixture;
pub mod gates;
pub mod grants;
pub mod groups;
pub mod handlers;
pub mod host_key;
pub mod peer;
pub mod priority;
pub mod record;
pub(crate) mod residue;
pub mod server;
pub mod session;
pub mod subject;
pub mod trust;
pub mod wire;
