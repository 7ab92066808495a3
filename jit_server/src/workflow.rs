//! Requests and grants: a state machine over events.
//!
//! Pure. [`State::apply`] takes in what happened; [`command`] says what happens when somebody wants something, or why nothing
//! does. Neither reads a clock nor stores anything.

mod asking;
mod at_once;
mod changes;
mod command;
mod enforced;
mod error;
mod explain;
mod extend;
#[cfg(test)]
mod laws;
mod lock;
mod logins;
mod own_hours;
mod restored;
mod review;
mod size;
mod span;
mod stages;
mod state;
mod until;
mod user;

pub use asking::{Rule, Wish};
pub(crate) use changes::{MOST_PENDING, PENDING_SECONDS};
pub use changes::{check_confirm, check_deny, pending_change};
pub use command::{Ask, Command, command, lapsed};
pub use error::{Because, WorkflowError};
pub use explain::{Able, Approvers, Explanation, Outcome, Told, ToldDenial, explain};
pub use restored::Unconfirmed;
pub use stages::Progress;
pub use state::{
    Calls, Change, ChangeEnd, ChangeState, Confirmed, Done, DoneOnce, Ended, Given, Grant,
    GrantState, PolicyOnRecord, Request, RequestState, Review, Said, State, Step,
};
