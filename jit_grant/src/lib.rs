//! Grants and bundles: their types, signing, verifying, and the one place that says yes.
//!
//! Pure: no I/O, and the time is always a parameter.
#![forbid(unsafe_code)]

mod name;

pub use name::{GrantId, HostId, HostName, Login, NameError, Principal, RequestId, RoleName};
