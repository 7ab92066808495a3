//! Which boot of the kernel this is.

use std::fs;
use std::io;

/// Where the kernel says it: random(4).
pub(crate) const PATH: &str = "/proc/sys/kernel/random/boot_id";

/// The id of this boot, made anew at each.
///
/// # Errors
/// Those of reading it.
pub(crate) fn id() -> io::Result<String> {
    Ok(fs::read_to_string(PATH)?.trim().to_owned())
}
