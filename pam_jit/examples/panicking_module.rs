//! A module that panics in its account phase, built and linked exactly as pam_jit.so is: the tests load it to see that
//! the panic is caught, with the unwinder that was linked in, and becomes a denial.

use std::ffi::CStr;

use pam::constants::{PamFlag, PamResultCode};
use pam::module::{PamHandle, PamHooks};

// The file rather than the crate, whose entry points would be linked in beside ours.
#[allow(unreachable_pub, reason = "public in the crate that it is from")]
#[path = "../src/guard.rs"]
mod guard;

struct Panicking;

#[allow(missing_docs, reason = "the names and their meaning are PAM's")]
mod entry_points {
    use super::Panicking;
    pam::pam_hooks!(Panicking);
}

impl PamHooks for Panicking {
    fn acct_mgmt(_: &mut PamHandle, arguments: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        guard::guarded(|| {
            // Through frames that have something to drop, and only at run time.
            let kept = arguments
                .iter()
                .map(|argument| argument.to_owned())
                .collect::<Vec<_>>();
            assert!(kept.len() > 100, "as asked");
            PamResultCode::PAM_SUCCESS
        })
        .unwrap_or(PamResultCode::PAM_PERM_DENIED)
    }
}
