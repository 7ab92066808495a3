//! The lines of ours in `/etc/pam.d`: what they are, and what they say. jitctl writes them, jitd watches over them. Pure.
#![forbid(unsafe_code)]

mod mode;
mod text;

pub use mode::{BootId, Mode, NotABootId};
pub use text::{
    State, TextError, gate, gate_with_groups, gives_groups, mark_copy, split_copy, state,
    stray_line, ungate,
};
