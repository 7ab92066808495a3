//! Which lines of hosts are about how logins, elevations and jobs began and ended.

/// Their kinds. The indices of migrations/sqlite/0004_carried_on.sql have the same, in this order.
pub(super) const SESSION_LINES: [&str; 12] = [
    "session.opened",
    "session.carried_on",
    "session.ended",
    "session.closed",
    "elevation.opened",
    "elevation.carried_on",
    "elevation.ended",
    "elevation.closed",
    "job.opened",
    "job.carried_on",
    "job.ended",
    "job.closed",
];
