//! Where a call came from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The word for the server's own machine.
pub(crate) const SOCKET: &str = "socket";

/// Where a call came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Origin {
    /// The server's own machine, at its socket.
    Socket,
    /// This address, over the network: that of whoever ends TLS or translates addresses before the server, where somebody does.
    Address(IpAddr),
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == SOCKET {
            return Ok(Self::Socket);
        }
        let address = text.parse::<IpAddr>();
        address
            .map(|address| Self::Address(address.to_canonical()))
            .map_err(|_| format!("write an address such as 10.1.2.3, or {SOCKET}"))
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Socket => SOCKET.to_owned(),
            Origin::Address(address) => address.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => f.write_str("the server's own machine"),
            Self::Address(address) => address.fmt(f),
        }
    }
}
