//! The PAM transaction that we are called in. The only file with unsafe code: what pam-bindings doesn't offer.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use jit_local::client::{self, ClientError};
use jit_local::message::pam::{Call, Verdict};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Gid, getgroups, setgroups};
use pam::constants::PAM_ERROR_MSG;
use pam::conv::Conv;
use pam::items::{Item, RHost, RUser, Service, Tty, User};
use pam::module::{PamHandle, PamResult};
use syslog::Severity;

use crate::arguments::BootId;
use crate::ask::{Boot, Host};
use crate::failure::Failure;
use crate::groups::Member;
use crate::log;

#[link(name = "pam")]
unsafe extern "C" {
    /// pam_getenv(3): a value of the transaction's own environment, or null.
    fn pam_getenv(handle: *mut PamHandle, name: *const c_char) -> *const c_char;
}

/// A PAM transaction, from inside one of its modules.
pub(crate) struct Transaction<'handle> {
    handle: &'handle mut PamHandle,
}

impl<'handle> Transaction<'handle> {
    pub(crate) fn new(handle: &'handle mut PamHandle) -> Self {
        Self { handle }
    }

    fn item<'item, T>(&'item self) -> PamResult<Option<&'item CStr>>
    where
        T: Item<'item> + Deref<Target = &'item CStr>,
    {
        Ok(self.handle.get_item::<T>()?.map(|item| *item))
    }

    /// A variable of the PAM environment, which modules and sshd set; never the process's, which its caller sets.
    fn variable(&self, name: &CStr) -> Option<&CStr> {
        let handle = ptr::from_ref::<PamHandle>(self.handle).cast_mut();
        // SAFETY: pam_getenv(3) takes a handle, ours is libpam's own and valid for this call, and a NUL-terminated
        // name; it only reads both. No other reference to what lies behind the opaque handle exists in Rust.
        let value = unsafe { pam_getenv(handle, name.as_ptr()) };
        // SAFETY: where not null, the value is a NUL-terminated string that libpam owns and keeps until the variable is
        // set again (pam_getenv(3)), which nobody can do while we are borrowed from.
        (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
    }
}

impl Host for Transaction<'_> {
    fn facts(&self) -> Result<Call, Failure> {
        Ok(Call {
            service: required(self.item::<Service>(), "PAM_SERVICE")?,
            user: required(self.item::<User>(), "PAM_USER")?,
            ruser: optional(self.item::<RUser>(), "PAM_RUSER")?,
            rhost: optional(self.item::<RHost>(), "PAM_RHOST")?,
            tty: optional(self.item::<Tty>(), "PAM_TTY")?,
            auth_info: optional(Ok(self.variable(c"SSH_AUTH_INFO_0")), "SSH_AUTH_INFO_0")?,
            logind_session: optional(Ok(self.variable(c"XDG_SESSION_ID")), "XDG_SESSION_ID")?,
            enforce: true,
            sets_groups: Member::kept(self).is_some(),
        })
    }

    fn boot(&self) -> Option<Boot> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let elapsed = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
        Some(Boot {
            id: BootId::parse(id.trim_end())?,
            seconds: u64::try_from(elapsed.tv_sec()).ok()?,
        })
    }

    fn owner(&self, path: &Path) -> Option<u32> {
        std::fs::metadata(path).ok().map(|found| found.uid())
    }

    fn call(
        &self,
        socket: &Path,
        method: &str,
        call: &Call,
        time: Duration,
    ) -> Result<Verdict, ClientError> {
        client::call(socket, method, call, time)
    }

    fn show(&self, text: &str) {
        // Also under PAM_SILENT, which sudo sets for the account phase. An application that cannot show it, or that
        // leaves the answer to a message empty (CONV_ERR), changes nothing about the decision.
        if let Ok(Some(conversation)) = self.handle.get_item::<Conv>() {
            let _ = conversation.send(PAM_ERROR_MSG, text);
        }
    }

    fn log(&self, severity: Severity, text: &str) {
        log::note(severity, text);
    }
}

/// What the transaction keeps the groups of its login under.
const GROUPS: &str = "jit_groups";

impl Member for Transaction<'_> {
    fn boot(&self) -> Option<Boot> {
        Host::boot(self)
    }

    fn kept(&self) -> Option<Vec<u32>> {
        // SAFETY: only `keep` below puts anything under this name, and it is of this type. libpam keeps it until it is replaced or the
        // transaction ends, and we are borrowed from for as long as the reference lives.
        let kept = unsafe { self.handle.get_data::<Vec<u32>>(GROUPS) };
        kept.ok().cloned()
    }

    fn keep(&mut self, gids: Vec<u32>) -> bool {
        self.handle.set_data(GROUPS, Box::new(gids)).is_ok()
    }

    fn groups(&self) -> Result<Vec<u32>, String> {
        let groups = getgroups().map_err(|errno| errno.to_string())?;
        Ok(groups.into_iter().map(Gid::as_raw).collect())
    }

    fn set_groups(&self, gids: &[u32]) -> Result<(), String> {
        let gids: Vec<Gid> = gids.iter().copied().map(Gid::from_raw).collect();
        setgroups(&gids).map_err(|errno| errno.to_string())
    }

    fn log(&self, severity: Severity, text: &str) {
        log::note(severity, text);
    }
}

fn required(found: PamResult<Option<&CStr>>, name: &'static str) -> Result<String, Failure> {
    optional(found, name)?.ok_or(Failure::Item(name))
}

/// None where it is not set or empty.
fn optional(
    found: PamResult<Option<&CStr>>,
    name: &'static str,
) -> Result<Option<String>, Failure> {
    let Some(value) = found.map_err(|_| Failure::Item(name))? else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| Failure::Item(name))?;
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
