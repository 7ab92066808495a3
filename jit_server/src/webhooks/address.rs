//! Which addresses are called. The administrator names the host; what its name resolves to is somebody else's word. Link-local addresses
//! are where clouds keep the credentials of a machine (169.254.169.254), and nobody's receiver.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which addresses a host may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those of this machine alone: what is sent is not encrypted.
    Loopback,
    /// All but link-local ones.
    NoLinkLocal,
    /// All.
    Anywhere,
}

impl Reach {
    /// # Errors
    /// Why `address` is not called.
    pub(super) fn allows(self, address: IpAddr) -> Result<(), String> {
        let address = address.to_canonical();
        match self {
            Self::Loopback if !address.is_loopback() => Err(format!(
                "is at {address}: must begin with https://; http:// is for this machine alone"
            )),
            Self::NoLinkLocal if is_link_local(address) => Err(format!(
                "is at {address}, a link-local address; if that is meant, say link_local = true"
            )),
            _ => Ok(()),
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The address that a URL's host is, where it is one and no name.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

impl Resolve for Reach {
    /// A name of which one address is not to be called is not called at all.
    fn resolve(&self, name: Name) -> Resolving {
        let reach = *self;
        Box::pin(async move {
            let host = name.as_str();
            let found = tokio::net::lookup_host((host, 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            for address in &found {
                let allowed = reach.allows(address.ip());
                allowed.map_err(|why| format!("{host} {why}"))?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_addresses_are_called_only_where_that_is_said() {
        for text in ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"] {
            let address = text.parse().unwrap();
            assert!(Reach::NoLinkLocal.allows(address).is_err(), "{text}");
            assert!(Reach::Loopback.allows(address).is_err(), "{text}");
            assert!(Reach::Anywhere.allows(address).is_ok(), "{text}");
        }
        for text in ["127.0.0.1", "::1", "10.0.0.1", "2001:db8::1"] {
            assert!(Reach::NoLinkLocal.allows(text.parse().unwrap()).is_ok());
        }
    }

    #[tokio::test]
    async fn a_name_with_an_address_that_is_not_to_be_called_is_refused() {
        let resolved = async |reach: Reach, name: &str| {
            let found = reach.resolve(name.parse().unwrap()).await;
            found
                .map(|found| found.count())
                .map_err(|why| why.to_string())
        };
        assert!(resolved(Reach::Loopback, "localhost").await.unwrap() > 0);
        let refused = resolved(Reach::NoLinkLocal, "169.254.169.254").await;
        assert!(refused.unwrap_err().contains("link-local"));
        let refused = resolved(Reach::Loopback, "192.0.2.1").await;
        assert!(refused.unwrap_err().contains("https://"));
    }
}
