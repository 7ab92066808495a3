//! Runs jitctl against a jit-server and a jitd that say what the test wants, on a host that is a folder.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on says why"
)]

mod approval;
mod audit;
mod changes;
mod documents;
mod enrolment;
mod ensure;
mod host;
mod login;
mod lost;
mod people;
mod shown;
mod support;
mod waited;
