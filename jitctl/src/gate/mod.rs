//! The lines in `/etc/pam.d`: the only thing on a host that jitctl edits besides `/etc/jit`.
#![allow(dead_code)]

mod mode;
mod text;
