//! The limits and addresses of the local protocol. PROTOCOL.md repeats them; a change here is a change there.

use std::time::Duration;

/// Bytes of one message, its closing NUL not counted.
pub const MESSAGE_BYTES: usize = 64 * 1024;

/// Descriptors that may come with one message.
pub const DESCRIPTORS: usize = 1;

/// How long a PAM module waits for a decision, from before it connects to the last byte of the answer.
pub const DECISION_TIME: Duration = Duration::from_secs(3);

/// How long a PAM module waits for an answer that nothing depends on, in monitor mode: three lines speak in one login, and a jitd
/// that hangs must not be felt there.
pub const WATCHED_TIME: Duration = Duration::from_millis(500);

/// How long jitd keeps a caller on `pam.sock` that says nothing (T20).
pub const PAM_IDLE_TIME: Duration = Duration::from_secs(1);

/// How long `io.jit.Sync.Events` may wait for an event before it answers with none.
pub const EVENTS_WAIT: Duration = Duration::from_secs(30);

/// Bytes of event lines in one reply of `io.jit.Sync.Events`, so that escaping and the checkpoint still fit a message.
pub const EVENTS_BYTES: usize = 32 * 1024;

/// Where PAM modules find jitd. Root only.
pub const PAM_SOCKET: &str = "/run/jit/pam.sock";

/// Where people's commands find jitd. Anyone; each method is authorised from the caller's uid.
pub const CONTROL_SOCKET: &str = "/run/jit/ctl.sock";

/// Where jitd-sync finds jitd. Root and group `jit-sync`.
pub const SYNC_SOCKET: &str = "/run/jit/sync.sock";
