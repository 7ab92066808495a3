//! The clocks of this program: the one place that reads them.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use crate::gate::BootId;

/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the clocks say.
#[derive(Debug, Clone)]
pub(crate) struct Now {
    /// The wall clock.
    pub(crate) wall: Timestamp,
    /// Seconds of CLOCK_BOOTTIME, which suspending does not stop and nobody can set.
    pub(crate) boot_seconds: u64,
    /// Which boot they count in.
    pub(crate) boot: BootId,
}

impl Now {
    /// Reads the clocks.
    ///
    /// # Errors
    /// Where `/proc` is not there.
    #[allow(clippy::disallowed_methods, reason = "this is the clock module")]
    pub(crate) fn read() -> std::io::Result<Self> {
        let boot = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
        let id = std::fs::read_to_string(BOOT_ID)?;
        Ok(Self {
            wall: Timestamp::now(),
            boot_seconds: u64::try_from(boot.tv_sec()).unwrap_or_default(),
            boot: id
                .trim()
                .parse()
                .map_err(|_| std::io::Error::other(format!("{BOOT_ID} does not hold a boot id")))?,
        })
    }
}
