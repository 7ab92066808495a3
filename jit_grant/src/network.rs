//! Networks that a login may come from.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A network such as `10.0.0.0/8` or `2001:db8::/32`. An address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is something else.
    #[error("{0:?} is not a network such as \"10.0.0.0/8\" or \"2001:db8::/32\", nor an address")]
    NotANetwork(String),
    /// It could be written in several ways.
    #[error("\"{0}\" has bits beyond its length; the network is \"{trunc}\"", trunc = .0.trunc())]
    BitsBeyond(IpNet),
    /// Addresses are told as those of IPv4 where they are, so that this would never fit.
    #[error("\"{0}\" is of IPv4; write it as such")]
    OfIpv4(IpNet),
}

impl Network {
    /// True where `address` is in it. One of IPv4 that is written as one of IPv6 is that of IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
        let Some(network) = text.parse::<IpNet>().ok().or_else(one) else {
            return Err(NetworkError::NotANetwork(text.chars().take(80).collect()));
        };
        if network.trunc() != network {
            return Err(NetworkError::BitsBeyond(network));
        }
        if matches!(network, IpNet::V6(six) if six.addr().to_ipv4_mapped().is_some()) {
            return Err(NetworkError::OfIpv4(network));
        }
        Ok(Self(network))
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One to [`Networks::MOST`] networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<Network>", into = "BTreeSet<Network>")]
pub struct Networks(BTreeSet<Network>);

/// Why some networks are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} networks; there must be 1 to {most}", most = Networks::MOST)]
pub struct NetworksError(usize);

impl Networks {
    /// No more than so many.
    pub const MOST: usize = 16;

    /// True where whoever comes from `rhost` comes from one of them. Only an address does: a name is what somebody else's DNS says.
    #[must_use]
    pub fn include(&self, rhost: Option<&str>) -> bool {
        let address = rhost.and_then(|rhost| rhost.parse::<IpAddr>().ok());
        address.is_some_and(|address| self.0.iter().any(|network| network.contains(address)))
    }

    /// Each as it is written.
    #[must_use]
    pub fn listed(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl TryFrom<BTreeSet<Network>> for Networks {
    type Error = NetworksError;

    fn try_from(networks: BTreeSet<Network>) -> Result<Self, NetworksError> {
        match networks.len() {
            1..=Self::MOST => Ok(Self(networks)),
            other => Err(NetworksError(other)),
        }
    }
}

impl From<Networks> for BTreeSet<Network> {
    fn from(networks: Networks) -> Self {
        networks.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(written: &[&str]) -> Networks {
        let written = written.iter().map(|text| text.parse().unwrap());
        Networks::try_from(written.collect::<BTreeSet<Network>>()).unwrap()
    }

    #[test]
    fn an_address_is_in_a_network_that_has_it_and_a_name_in_none() {
        let office = networks(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]);
        for (from, included) in [
            (Some("10.255.255.255"), true),
            (Some("11.0.0.0"), false),
            (Some("::ffff:10.1.2.3"), true),
            (Some("::ffff:11.1.2.3"), false),
            (Some("2001:db8:ffff::1"), true),
            (Some("2001:db9::"), false),
            (Some("192.0.2.7"), true),
            (Some("192.0.2.8"), false),
            (Some("10.1.2.3.example"), false),
            (Some("office.example"), false),
            (Some("2001:db8::1%eth0"), false),
            (Some("10.0.0.0/8"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(office.include(from), included, "{from:?}");
        }
    }

    #[test]
    fn every_address_of_a_family_is_in_the_whole_of_it_alone() {
        let four = networks(&["0.0.0.0/0"]);
        assert!(four.include(Some("203.0.113.9")) && four.include(Some("::ffff:203.0.113.9")));
        assert!(!four.include(Some("2001:db8::1")));
        let six = networks(&["::/0"]);
        assert!(six.include(Some("2001:db8::1")));
        assert!(!six.include(Some("203.0.113.9")) && !six.include(Some("::ffff:203.0.113.9")));
    }

    #[test]
    fn a_network_is_written_in_one_way() {
        for wrong in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10/8",
            "",
            "socket",
            "::ffff:10.0.0.0/104",
            "host",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let told = "10.0.0.1/8".parse::<Network>().unwrap_err().to_string();
        assert!(told.contains("\"10.0.0.0/8\""), "{told}");
    }

    #[test]
    fn no_networks_and_too_many_are_refused() {
        let numbered = |count: u8| {
            let all = (0..count).map(|n| format!("10.{n}.0.0/16").parse().unwrap());
            Networks::try_from(all.collect::<BTreeSet<Network>>())
        };
        assert!(numbered(0).is_err() && numbered(17).is_err());
        assert_eq!(numbered(16).unwrap().listed().len(), 16);
        assert!(serde_json::from_str::<Networks>("[]").is_err());
        assert!(serde_json::from_str::<Networks>("[\"10.0.0.1/8\"]").is_err());
    }
}
