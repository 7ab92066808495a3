//! How long to wait before trying again: twice as long each time, up to a limit, and never in step with other hosts.

use std::time::Duration;

/// Waits that double from `first` to `longest`.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The next wait: anything up to all of it, as `chance` (0 to 1) has it. Hosts that lost the server at one moment come back to it
    /// evenly spread so.
    pub(crate) fn wait(&mut self, chance: f64) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.longest);
        whole.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// It worked: the next failure waits shortest again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_success() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 5 * second);
        let waits: Vec<_> = (0..5).map(|_| backoff.wait(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.wait(0.5), second / 2);
    }

    #[test]
    fn chance_spreads_a_wait_between_nothing_and_the_whole() {
        let second = Duration::from_secs(1);
        for chance in [-1.0, 0.0, 0.3, 1.0, 7.0] {
            let wait = Backoff::new(second, second).wait(chance);
            assert!(wait <= second, "{chance}: {wait:?}");
        }
    }
}
