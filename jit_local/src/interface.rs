//! The interfaces as texts, and the answers of `org.varlink.service` that `varlinkctl` introspects a socket with.

use serde::{Deserialize, Serialize};

use crate::call::{Call, Reply, ServiceError};
use crate::frame::FrameError;

/// What every Varlink service answers.
pub const SERVICE: Interface = Interface {
    name: "org.varlink.service",
    description: include_str!("../interfaces/org.varlink.service.varlink"),
};
/// What PAM modules ask, on `pam.sock`.
pub const PAM: Interface = Interface {
    name: "io.jit.Pam",
    description: include_str!("../interfaces/io.jit.Pam.varlink"),
};
/// What people's commands ask, on `ctl.sock`.
pub const CONTROL: Interface = Interface {
    name: "io.jit.Control",
    description: include_str!("../interfaces/io.jit.Control.varlink"),
};
/// What jitd-sync says, on `sync.sock`.
pub const SYNC: Interface = Interface {
    name: "io.jit.Sync",
    description: include_str!("../interfaces/io.jit.Sync.varlink"),
};

/// One interface: its name and its description in Varlink's own language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Such as `io.jit.Pam`.
    pub name: &'static str,
    /// The text that `GetInterfaceDescription` answers.
    pub description: &'static str,
}

/// Reply of `org.varlink.service.GetInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Who makes it.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Where to read more; empty.
    pub url: String,
    /// The interfaces of this socket.
    pub interfaces: Vec<String>,
}

/// Answers `call` where it is one of `org.varlink.service`'s, for a socket that serves `interface`; `None` where it
/// is for somebody else. These tell nothing that isn't public, so anyone who may connect may call them.
pub fn introspect(call: &Call, interface: Interface, version: &str) -> Option<Reply> {
    let method = call.method.strip_prefix("org.varlink.service.")?;
    let reply = match method {
        "GetInfo" => Reply::as_it_is(&info(interface, version)).map_err(no_json),
        "GetInterfaceDescription" => describe(call, interface),
        _ => Err(ServiceError::MethodNotFound {
            method: call.method.clone(),
        }),
    };
    Some(reply.unwrap_or_else(Reply::from))
}

fn info(interface: Interface, version: &str) -> Info {
    Info {
        vendor: "jit".to_owned(),
        product: "jitd".to_owned(),
        version: version.to_owned(),
        url: String::new(),
        interfaces: vec![SERVICE.name.to_owned(), interface.name.to_owned()],
    }
}

fn describe(call: &Call, interface: Interface) -> Result<Reply, ServiceError> {
    #[derive(Deserialize)]
    struct Wanted {
        interface: String,
    }
    #[derive(Serialize)]
    struct Description {
        description: &'static str,
    }
    let wanted: Wanted = call.parameters()?;
    let found = [SERVICE, interface]
        .into_iter()
        .find(|known| known.name == wanted.interface)
        .ok_or(ServiceError::InterfaceNotFound {
            interface: wanted.interface,
        })?;
    Reply::as_it_is(&Description {
        description: found.description,
    })
    .map_err(no_json)
}

fn no_json(error: FrameError) -> ServiceError {
    ServiceError::InvalidParameter {
        parameter: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Nothing;

    fn ask(method: &str, parameters: &impl Serialize) -> Reply {
        let call = Call::new(method, parameters).unwrap();
        introspect(&call, PAM, "1.2.3").unwrap()
    }

    #[test]
    fn info_names_the_interfaces_of_the_socket() {
        let info: Info = ask("org.varlink.service.GetInfo", &Nothing {})
            .parameters()
            .unwrap();
        assert_eq!(info.interfaces, ["org.varlink.service", "io.jit.Pam"]);
        assert_eq!(info.version, "1.2.3");
    }

    #[test]
    fn descriptions_are_those_of_this_socket_only() {
        let method = "org.varlink.service.GetInterfaceDescription";
        let wanted = |name: &str| serde_json::json!({ "interface": name });
        let found: serde_json::Value = ask(method, &wanted("io.jit.Pam")).parameters().unwrap();
        assert_eq!(found["description"], PAM.description);
        assert_eq!(
            ask(method, &wanted("io.jit.Sync")).error.as_deref(),
            Some("org.varlink.service.InterfaceNotFound")
        );
        assert_eq!(
            ask(method, &Nothing {}).error.as_deref(),
            Some("org.varlink.service.InvalidParameter")
        );
    }

    #[test]
    fn calls_of_other_interfaces_are_left_alone() {
        let call = Call::new("io.jit.Pam.Account", &Nothing {}).unwrap();
        assert!(introspect(&call, PAM, "1").is_none());
    }
}
