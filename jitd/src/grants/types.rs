//! What the rest of jitd and the grants say to each other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jit_grant::Code;

use crate::trust::Trust;

/// Where things are kept, and which boot this is.
#[derive(Debug, Clone)]
pub struct Places {
    /// /var/lib/jit: survives a reboot.
    pub state: PathBuf,
    /// /run/jit: does not.
    pub run: PathBuf,
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
}

/// What taking a bundle did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is in force.
    InForce {
        /// Its revision.
        revision: u64,
        /// How many grants it has.
        grants: usize,
        /// Ids of those that this host must not honour.
        void: Vec<String>,
        /// Why it is not on disk, where it is not.
        not_stored: Option<String>,
        /// The server's newest key signed it, there are older ones, and it is on disk: they are not needed any more. This is what is
        /// to be believed then, once it is on disk, too.
        proved: Option<Arc<Trust>>,
    },
    /// It was in force already.
    Known,
}

/// How things stand, for `jitctl status`.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The server and what it calls this host.
    pub trust: Option<Arc<Trust>>,
    /// Revision of the bundle in force.
    pub revision: Option<u64>,
    /// Grants in it.
    pub grants: usize,
    /// Time since the making of the nonce that the last word answers.
    pub heard_ago: Option<Duration>,
    /// So long grants count without word.
    pub max_staleness: Duration,
    /// Where grants don't count: why.
    pub code: Option<Code>,
    /// Why the server's keys were last refused, where nothing of the server's was taken since.
    pub keys_refused: Option<Code>,
    /// What keeps jitd-sync from hearing the server, as it says.
    pub trouble: Option<String>,
}
