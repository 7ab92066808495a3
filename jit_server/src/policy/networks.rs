//! Where a role may be asked for from.

use std::collections::BTreeSet;

use jit_grant::NetworkError;

use crate::origin::{Origin, SOCKET};

/// Entries of one role at most.
pub(super) const MOST_NETWORKS: usize = 64;

/// Networks, and the server's own machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(BTreeSet<Network>);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Network {
    /// Calls at the socket.
    Socket,
    /// Calls over the network from these addresses.
    Addresses(jit_grant::Network),
}

impl Networks {
    pub(super) fn new(networks: BTreeSet<Network>) -> Self {
        Self(networks)
    }

    /// True where what comes from `origin` comes from one of them.
    #[must_use]
    pub fn include(&self, origin: Origin) -> bool {
        let takes = |network: &Network| match (network, origin) {
            (Network::Socket, Origin::Socket) => true,
            (Network::Addresses(network), Origin::Address(address)) => network.contains(address),
            _ => false,
        };
        self.0.iter().any(takes)
    }

    /// As policies write them.
    #[must_use]
    pub fn listed(&self) -> Vec<String> {
        let written = self.0.iter().map(|network| match network {
            Network::Socket => SOCKET.to_owned(),
            Network::Addresses(network) => network.to_string(),
        });
        written.collect()
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == SOCKET {
            return Ok(Self::Socket);
        }
        match text.parse() {
            Ok(network) => Ok(Self::Addresses(network)),
            Err(NetworkError::NotANetwork(text)) => Err(format!(
                "{text:?} is not a network such as \"10.0.0.0/8\" or \"2001:db8::/32\", an address, or \"{SOCKET}\""
            )),
            Err(other) => Err(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(written: &[&str]) -> Networks {
        let written = written.iter().map(|text| (*text).to_owned());
        Networks::new(written.map(|text| text.try_into().unwrap()).collect())
    }

    #[test]
    fn a_call_is_from_a_network_that_has_its_address_and_from_the_socket_only_where_that_is_said() {
        let office = networks(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]);
        for (from, included) in [
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("socket", false),
        ] {
            assert_eq!(office.include(from.parse().unwrap()), included, "{from}");
        }
        let socket = networks(&["socket"]);
        assert!(socket.include(Origin::Socket));
        assert!(!socket.include("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_network_is_written_in_one_way() {
        for wrong in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10/8",
            "",
            "Socket",
            "::ffff:10.0.0.0/104",
            "host",
        ] {
            assert!(Network::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
        let told = Network::try_from("10.0.0.1/8".to_owned()).unwrap_err();
        assert!(told.contains("\"10.0.0.0/8\""), "{told}");
    }
}
