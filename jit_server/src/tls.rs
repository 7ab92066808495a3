//! Over the network: TLS, and who may keep a connection.
//!
//! Nothing that a host believes rests on TLS: bundles and words are signed, and hosts sign what they say. It keeps tokens and reasons
//! from others' eyes, and it stops whoever is in between from wasting the hosts' time.
//!
//! | idea | file |
//! |---|---|
//! | the server's own authority, and what it issues | `tls/authority.rs` |
//! | the certificate in use, renewed without a restart | `tls/identity.rs` |
//! | connections | `tls/answer.rs` |

mod answer;
mod authority;
mod identity;

pub use answer::Door;
pub use authority::{Authority, TlsName};
pub use identity::{Given, Identity};
