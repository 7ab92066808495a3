//! Who may call what: one table. Identity is the kernel's word about the other end of the socket.

use jit_local::call::ServiceError;
use jit_local::interface::{self, Interface};
use jit_local::message::{control, pam, sync};

/// A socket of ours. Its file mode decides who may connect at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Socket {
    /// `pam.sock`, 0600: PAM modules.
    Pam,
    /// `ctl.sock`, 0666: people's commands.
    Control,
    /// `sync.sock`, 0660 root:jit-sync: jitd-sync.
    Sync,
}

impl Socket {
    /// The interface that it speaks.
    #[must_use]
    pub fn interface(self) -> Interface {
        match self {
            Self::Pam => interface::PAM,
            Self::Control => interface::CONTROL,
            Self::Sync => interface::SYNC,
        }
    }
}

/// Who may call a method, beyond being able to connect to its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Effective uid 0.
    Root,
    /// Whoever the socket's mode lets in.
    Anyone,
    /// Anyone, but only root is answered about others.
    Own,
}

/// Every method there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "named as in jit_local::message, which says what each does"
)]
pub enum Method {
    Account,
    OpenBefore,
    OpenAfter,
    Close,
    Status,
    Sessions,
    Whoami,
    Reload,
    Enroll,
    Gated,
    Hello,
    Bundle,
    Word,
    Keys,
    Trouble,
    Events,
}

const TABLE: [(&str, Socket, Who, Method); 16] = [
    (pam::ACCOUNT, Socket::Pam, Who::Root, Method::Account),
    (pam::OPEN_BEFORE, Socket::Pam, Who::Root, Method::OpenBefore),
    (pam::OPEN_AFTER, Socket::Pam, Who::Root, Method::OpenAfter),
    (pam::CLOSE, Socket::Pam, Who::Root, Method::Close),
    (
        control::STATUS,
        Socket::Control,
        Who::Anyone,
        Method::Status,
    ),
    (
        control::SESSIONS,
        Socket::Control,
        Who::Own,
        Method::Sessions,
    ),
    (control::WHOAMI, Socket::Control, Who::Own, Method::Whoami),
    (control::RELOAD, Socket::Control, Who::Root, Method::Reload),
    (control::ENROLL, Socket::Control, Who::Root, Method::Enroll),
    (control::GATED, Socket::Control, Who::Root, Method::Gated),
    (sync::HELLO, Socket::Sync, Who::Anyone, Method::Hello),
    (sync::BUNDLE, Socket::Sync, Who::Anyone, Method::Bundle),
    (sync::WORD, Socket::Sync, Who::Anyone, Method::Word),
    (sync::KEYS, Socket::Sync, Who::Anyone, Method::Keys),
    (sync::TROUBLE, Socket::Sync, Who::Anyone, Method::Trouble),
    (sync::EVENTS, Socket::Sync, Who::Anyone, Method::Events),
];

/// The method called `name` on `socket`, where a caller of effective uid `uid` may call it.
///
/// # Errors
/// What to reply instead.
pub fn method(socket: Socket, name: &str, uid: u32) -> Result<Method, ServiceError> {
    let entry = TABLE
        .iter()
        .find(|(known, at, _, _)| *known == name && *at == socket);
    match entry {
        None => Err(ServiceError::MethodNotFound {
            method: name.chars().take(80).collect(),
        }),
        Some((_, _, Who::Root, _)) if uid != 0 => Err(ServiceError::PermissionDenied {}),
        Some((_, _, _, method)) => Ok(*method),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_may_ask_for_decisions_or_change_anything() {
        for (name, socket, _, method_itself) in TABLE {
            assert_eq!(method(socket, name, 0), Ok(method_itself));
            let others = method(socket, name, 1000).is_ok();
            let harmless = matches!(
                method_itself,
                Method::Status | Method::Sessions | Method::Whoami
            ) || socket == Socket::Sync;
            assert_eq!(others, harmless, "{name}");
        }
    }

    #[test]
    fn a_method_is_known_on_its_own_socket_only() {
        for (name, home, _, _) in TABLE {
            for socket in [Socket::Pam, Socket::Control, Socket::Sync] {
                assert_eq!(method(socket, name, 0).is_ok(), socket == home, "{name}");
            }
        }
        assert!(matches!(
            method(Socket::Control, "io.jit.Control.Fly", 0),
            Err(ServiceError::MethodNotFound { .. })
        ));
    }
}
