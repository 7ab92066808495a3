//! Panics end here: they are caught, print nothing, and leave nothing behind in the host program.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Once;

/// A panic was caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

/// Runs `work`; a panic in it is caught and prints nothing.
///
/// The panic hook belongs to this module's own copy of the Rust standard library, linked into pam_jit.so and visible
/// to nobody else. Setting it there, once, leaves the hook of a host written in Rust (sudo-rs) as it was. Setting it
/// for the duration of each call instead would race in hosts that run transactions in several threads.
///
/// # Errors
/// [`Panicked`].
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    static SILENCED: Once = Once::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // The default hook would print to the host's stderr, and read its environment.
        SILENCED.call_once(|| set_hook(Box::new(|_| {})));
        work()
    }));
    outcome.map_err(|payload| {
        // Dropping a payload may panic as well. Leaking one is the lesser evil.
        std::mem::forget(payload);
        Panicked
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_whatever_its_payload() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }
        assert_eq!(guarded(|| 7), Ok(7));
        assert_eq!(guarded(|| panic!("text")), Err::<(), _>(Panicked));
        assert_eq!(
            guarded(|| std::panic::panic_any(Bomb)),
            Err::<(), _>(Panicked)
        );
    }
}
