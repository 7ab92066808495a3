//! The systemd units that jitd has PID 1 make: scopes of elevations, and the timers behind every end.
//!
//! A timer `jit-end-ID-N.timer` starts `jit-end-ID-N.service`, whose `Conflicts=` stops the scopes: PID 1 does that by itself,
//! with nothing of jitd alive, for a scope that logind has abandoned too, and across a daemon-reexec (docs/host-notes.md). The
//! number N rises each time the end moves or a scope joins, so that the new timer stands before the old one goes.

use jiff::Timestamp;
use std::time::Duration;
use zbus::Variant;

use super::held::Kind;
use super::types::SessionId;

/// Properties of a unit, by their D-Bus names.
pub(crate) type Properties<'a> = Vec<(&'static str, Variant<'a>)>;

/// How long PID 1 waits between SIGTERM and SIGKILL when it stops an elevation. Login scopes get the same from the drop-in
/// `session-.scope.d`.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The timer fires at most this late.
const ACCURACY: Duration = Duration::from_millis(100);

/// The scope of an elevation or a job.
pub(crate) struct OwnScope<'a> {
    /// Who is moved into it.
    pub(crate) pid: u32,
    /// Where it lies, such as `user-1000.slice`.
    pub(crate) slice: &'a str,
    /// The scope that it ends with: that of the login it was started from.
    pub(crate) ends_with: Option<&'a str>,
    pub(crate) description: String,
}

impl OwnScope<'_> {
    pub(crate) fn name(kind: Kind, id: &SessionId) -> String {
        format!("jit-{}-{id}.scope", kind.as_str())
    }

    pub(crate) fn properties(&self) -> Properties<'_> {
        let mut properties = vec![
            ("Description", self.description.as_str().into()),
            ("PIDs", vec![self.pid].into()),
            ("Slice", self.slice.into()),
            ("KillMode", "control-group".into()),
            ("SendSIGHUP", true.into()),
            ("TimeoutStopUSec", microseconds(STOP_TIMEOUT).into()),
            // Gone without a trace also where something had to be killed.
            ("CollectMode", "inactive-or-failed".into()),
            // The kernel ending one command for want of memory shall not end the whole elevation.
            ("OOMPolicy", "continue".into()),
        ];
        if let Some(scope) = self.ends_with {
            // And not After=: PID 1 would stop one after the other then, and wait for each in turn.
            properties.push(("BindsTo", vec![scope].into()));
        }
        properties
    }
}

/// A timer that ends scopes.
#[derive(Debug)]
pub(crate) struct EndTimer<'a> {
    pub(crate) id: &'a SessionId,
    pub(crate) number: u32,
    /// From now, on the clock that nobody sets.
    pub(crate) after: Duration,
    /// On the wall clock, which goes on in suspend.
    pub(crate) at: Timestamp,
    pub(crate) scopes: Vec<&'a str>,
}

impl EndTimer<'_> {
    pub(crate) fn name(id: &SessionId, number: u32) -> String {
        format!("jit-end-{id}-{number}.timer")
    }

    /// A pattern for the names of all timers that stand behind `id`.
    pub(crate) fn names(id: &SessionId) -> String {
        format!("jit-end-{id}-*.timer")
    }

    /// A transient timer can only start the service of its own name (`Unit=` is not settable over D-Bus).
    pub(crate) fn service_of(timer: &str) -> String {
        timer.replace(".timer", ".service")
    }

    pub(crate) fn timer_properties(&self) -> Properties<'_> {
        // A timer of zero would have elapsed before it was armed.
        let after = microseconds(self.after).max(1);
        vec![
            (
                "Description",
                format!("End of jit session {}", self.id).into(),
            ),
            ("AccuracyUSec", microseconds(ACCURACY).into()),
            ("RemainAfterElapse", false.into()),
            (
                "TimersMonotonic",
                vec![("OnActiveSec".to_owned(), after)].into(),
            ),
            (
                "TimersCalendar",
                vec![("OnCalendar".to_owned(), calendar(self.at))].into(),
            ),
            ("DefaultDependencies", false.into()),
            // `systemctl isolate` stops what nothing needs.
            ("IgnoreOnIsolate", true.into()),
            ("CollectMode", "inactive-or-failed".into()),
        ]
    }

    pub(crate) fn service_properties(&self) -> Properties<'_> {
        let nothing = (TRUE.to_owned(), vec![TRUE.to_owned()], true);
        vec![
            ("Description", format!("End jit session {}", self.id).into()),
            ("Type", "oneshot".into()),
            // A service must run something; what ends the scopes is Conflicts=, also where this can't be run.
            ("ExecStart", vec![nothing].into()),
            ("Conflicts", self.scopes.clone().into()),
            ("DefaultDependencies", false.into()),
            ("CollectMode", "inactive-or-failed".into()),
        ]
    }
}

const TRUE: &str = "/bin/true";

/// As systemd.time(7) reads it, to the microsecond.
fn calendar(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S.%6f UTC").to_string()
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_trigger_is_absolute_utc_to_the_microsecond() {
        let at: Timestamp = "2026-11-22T19:44:48.334475Z".parse().unwrap();
        assert_eq!(calendar(at), "2026-11-22 19:44:48.334475 UTC");
    }

    #[test]
    fn a_timer_that_is_due_still_fires() {
        let id = SessionId::from_bytes([0; 10]);
        let timer = EndTimer {
            id: &id,
            number: 1,
            after: Duration::ZERO,
            at: Timestamp::UNIX_EPOCH,
            scopes: vec!["session-1.scope"],
        };
        let properties = timer.timer_properties();
        let monotonic = properties
            .iter()
            .find(|(name, _)| *name == "TimersMonotonic")
            .unwrap();
        assert_eq!(monotonic.1, vec![("OnActiveSec".to_owned(), 1_u64)].into());
    }
}
