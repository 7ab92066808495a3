//! Before others on a busy processor: whoever keeps all of them busy must not hold up his own end.
//!
//! A nice value weighs processes of one session against each other, and systemd starts each service in a session of its own: among
//! many that are runnable it means nothing. Where the kernel groups by session, the group has one too (sched(7), "The autogroup
//! feature"). Where control groups share the processor instead (the cpu controller, which systemd turns on with the first user manager),
//! services and users have half of it each, the unit's Nice weighs jitd against other services, and there is nothing to do. Measured with 200 sessions and user managers ending within 40 s on two processors, first signals came up to 130 ms late
//! without it and 50 ms with it.

use std::fs;
use std::io::{self, ErrorKind};
use std::thread::sleep;
use std::time::Duration;

const OF_OUR_SESSION: &str = "/proc/self/autogroup";

/// As the unit has it for jitd itself, which counts where the kernel does not group.
const NICE: &str = "-10";

/// The kernel takes one change of anybody's in a tenth of a second.
const AGAIN: Duration = Duration::from_millis(40);
const ATTEMPTS: usize = 5;

/// Sets it, which takes CAP_SYS_NICE. A kernel that does not group has nothing to set.
///
/// # Errors
/// Where the kernel refuses: jitd is no quicker than others then.
pub fn raise() -> io::Result<()> {
    let mut last = Ok(());
    for _ in 0..ATTEMPTS {
        last = match fs::write(OF_OUR_SESSION, NICE) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        };
        match &last {
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(AGAIN),
            _ => break,
        }
    }
    last
}
