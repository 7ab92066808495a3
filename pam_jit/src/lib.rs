//! `pam_jit.so`: asks jitd whether a login, sudo or su may go on, and shows its answer. It decides nothing.
//!
//! This file has PAM's entry points and nothing else. [`arguments`] reads the PAM line, [`ask`] holds the rules and is
//! tested without PAM, `ffi` is the only file with unsafe code.
#![deny(unsafe_code)]

pub mod arguments;
pub mod ask;
pub mod failure;
mod ffi;
pub mod groups;
pub mod guard;
mod log;
pub mod text;

use std::ffi::CStr;

use pam::constants::{PAM_DELETE_CRED, PamFlag, PamResultCode};
use pam::module::{PamHandle, PamHooks};
use syslog::Severity;

use crate::ask::{Phase, answer};
use crate::ffi::Transaction;
use crate::groups::{Member, set_credentials};
use crate::guard::guarded;

struct PamJit;

#[allow(missing_docs, reason = "the names and their meaning are PAM's")]
mod entry_points {
    use super::PamJit;
    pam::pam_hooks!(PamJit);
}

impl PamHooks for PamJit {
    fn acct_mgmt(handle: &mut PamHandle, arguments: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        enter(handle, Phase::Account, &arguments)
    }

    fn sm_open_session(handle: &mut PamHandle, arguments: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        enter(handle, Phase::Open, &arguments)
    }

    fn sm_close_session(
        handle: &mut PamHandle,
        arguments: Vec<&CStr>,
        _: PamFlag,
    ) -> PamResultCode {
        enter(handle, Phase::Close, &arguments)
    }

    /// Never authenticates (T4).
    fn sm_authenticate(_: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        PamResultCode::PAM_IGNORE
    }

    /// Sets the groups of a login's grants. Whatever comes of it, it must not be the reason for setting other credentials to fail.
    fn sm_setcred(handle: &mut PamHandle, arguments: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        let taking_away = flags & PAM_DELETE_CRED != 0;
        let _ = guarded(|| set_credentials(&mut Transaction::new(handle), &arguments, taking_away));
        PamResultCode::PAM_SUCCESS
    }
}

fn enter(handle: &mut PamHandle, phase: Phase, arguments: &[&CStr]) -> PamResultCode {
    let answered = guarded(|| {
        let mut transaction = Transaction::new(handle);
        let answer = answer(&transaction, phase, arguments);
        if !answer.gids.is_empty() && !transaction.keep(answer.gids) {
            let text = "the login goes on without its grant's groups: there is no room for them";
            log::note(Severity::LOG_ERR, text);
        }
        answer.outcome.code()
    });
    answered.unwrap_or(PamResultCode::PAM_PERM_DENIED)
}
