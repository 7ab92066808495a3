//! Grants and bundles: their types, signing, verifying, and the one place that says yes.
//!
//! Pure: no I/O, and the time is always a parameter.
#![forbid(unsafe_code)]

mod bundle;
mod code;
mod decide;
mod enrolment;
mod envelope;
mod fingerprint;
mod groups;
mod host_state;
mod idle;
mod key;
mod limits;
mod name;
mod network;
mod protocol;
mod refusal;
mod rotation;
mod signed;
mod token;
mod user_token;
mod uses;

pub use bundle::{Action, Allow, Approval, Bundle, Grant, RequestNote, VoidGrant};
pub use code::{Code, UnknownCode};
pub use decide::{Allowed, Credential, Decision, Query, deadline, decide, holders};
pub use enrolment::{EnrolmentToken, NotAToken, Possession, Secret};
pub use envelope::{DocumentRefused, NotSigned};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use groups::{Groups, GroupsError, decide_login, groups_of_login};
pub use host_state::{GateChange, GateMode, Gates, HostState};
pub use idle::{IdleTime, IdleTimeError, Idling, idling};
pub use key::{KeyError, PublicKey, SigningKey, TrustedKeys};
pub use limits::Limits;
pub use name::{
    ChainHead, ChangeId, GrantId, GroupName, HostId, HostName, Login, NameError, Nonce, Principal,
    RequestId, RoleName, SecretHash, Service, TokenId, UserTokenId,
};
pub use network::{Network, NetworkError, Networks, NetworksError};
pub use refusal::Refusal;
pub use rotation::NextKey;
pub use signed::ENFORCED;
pub use token::{Checkpoint, HostToken, Word};
pub use user_token::{NotAUserToken, UserToken};
pub use uses::{Opening, Uses, decide_opening};
