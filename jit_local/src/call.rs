//! Varlink's calls and replies, and the errors that every Varlink service knows.
//!
//! Fields that we don't know are ignored, so that versions N and N−1 understand each other.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::frame::FrameError;
use crate::protocol::{self, Versioned};

/// A call: `{"method": …, "parameters": {…}}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// Interface and method, such as `io.jit.Pam.Account`.
    pub method: String,
    /// The parameters, not yet parsed: an object, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Box<RawValue>>,
    /// The caller takes several replies. No method of ours sends more than one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// The caller wants no reply: none may be sent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oneway: bool,
}

impl Call {
    /// A call that expects one reply. `parameters` must serialise to an object.
    ///
    /// # Errors
    /// When `parameters` has no JSON form.
    pub fn new(method: &str, parameters: &impl Serialize) -> Result<Self, FrameError> {
        Ok(Self {
            method: method.to_owned(),
            parameters: Some(to_raw_value(&Versioned::new(parameters))?),
            more: false,
            oneway: false,
        })
    }

    /// Reads a message as a call.
    ///
    /// # Errors
    /// When it isn't one. The connection must be closed: whoever sent it does not speak our protocol.
    pub fn parse(message: &str) -> Result<Self, FrameError> {
        Ok(serde_json::from_str(an_object(message)?)?)
    }

    /// The parameters, as the method's type. Absent parameters are an empty object.
    ///
    /// # Errors
    /// [`ServiceError::InvalidParameter`], to be sent as the reply.
    pub fn parameters<T: DeserializeOwned>(&self) -> Result<T, ServiceError> {
        let text = self.parameters.as_ref().map_or("{}", |raw| raw.get());
        let invalid = |error: FrameError| ServiceError::InvalidParameter {
            parameter: error.to_string(),
        };
        let object = an_object(text).map_err(invalid)?;
        protocol::check(object).map_err(invalid)?;
        serde_json::from_str(object).map_err(|error| invalid(error.into()))
    }
}

/// A reply: `{"parameters": {…}}`, with `error` where the call failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply {
    /// What is answered, not yet parsed; with `error`, the details of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Box<RawValue>>,
    /// The full name of an error, such as `io.jit.Sync.NotEnrolled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// More replies follow. Never set by us.
    #[serde(default, skip_serializing_if = "is_false")]
    pub continues: bool,
}

impl Reply {
    /// A reply to a call that was done. `parameters` must serialise to an object.
    ///
    /// # Errors
    /// When `parameters` has no JSON form.
    pub fn done(parameters: &impl Serialize) -> Result<Self, FrameError> {
        Self::as_it_is(&Versioned::new(parameters))
    }

    /// The same of a method that every Varlink service has, whose parameters are not ours to add to.
    pub(crate) fn as_it_is(parameters: &impl Serialize) -> Result<Self, FrameError> {
        Ok(Self {
            parameters: Some(to_raw_value(parameters)?),
            error: None,
            continues: false,
        })
    }

    /// A reply to a call that failed, with an error of our own interfaces that has no parameters.
    pub fn failed(error: &str) -> Self {
        Self {
            parameters: None,
            error: Some(error.to_owned()),
            continues: false,
        }
    }

    /// Reads a message as a reply.
    ///
    /// # Errors
    /// When it isn't one: neither `parameters` nor `error` is there, or it isn't an object.
    pub fn parse(message: &str) -> Result<Self, FrameError> {
        let reply: Self = serde_json::from_str(an_object(message)?)?;
        match reply {
            Self {
                parameters: None,
                error: None,
                ..
            } => Err(FrameError::Malformed(
                "a reply with neither parameters nor error",
            )),
            reply => Ok(reply),
        }
    }

    /// What was answered, as the method's type.
    ///
    /// # Errors
    /// When it doesn't have that shape.
    pub fn parameters<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        let text = self.parameters.as_ref().map_or("{}", |raw| raw.get());
        let object = an_object(text)?;
        protocol::check(object)?;
        Ok(serde_json::from_str(object)?)
    }
}

/// For calls and replies that carry nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// The errors that `org.varlink.service` defines for every service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(untagged)]
pub enum ServiceError {
    /// The socket has no such interface.
    #[error("no interface {interface} here")]
    InterfaceNotFound {
        /// The interface asked for.
        interface: String,
    },
    /// The interface has no such method.
    #[error("no method {method}")]
    MethodNotFound {
        /// The method asked for.
        method: String,
    },
    /// The parameters are not the method's.
    #[error("invalid parameter: {parameter}")]
    InvalidParameter {
        /// Which one, and why.
        parameter: String,
    },
    /// The caller may not call this method.
    #[error("permission denied")]
    PermissionDenied {},
}

impl ServiceError {
    /// The name that goes over the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InterfaceNotFound { .. } => "org.varlink.service.InterfaceNotFound",
            Self::MethodNotFound { .. } => "org.varlink.service.MethodNotFound",
            Self::InvalidParameter { .. } => "org.varlink.service.InvalidParameter",
            Self::PermissionDenied {} => "org.varlink.service.PermissionDenied",
        }
    }
}

impl From<ServiceError> for Reply {
    fn from(error: ServiceError) -> Self {
        Self {
            parameters: to_raw_value(&error).ok(),
            error: Some(error.name().to_owned()),
            continues: false,
        }
    }
}

/// Serde would fill a struct from an array of its fields in order, too; Varlink has objects alone, and `[true]` is no answer.
fn an_object(json: &str) -> Result<&str, FrameError> {
    if json.trim_ascii_start().starts_with('{') {
        Ok(json)
    } else {
        Err(FrameError::Malformed(
            "something else where an object belongs",
        ))
    }
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::pam;

    #[test]
    fn unknown_fields_are_ignored_everywhere() {
        let call = Call::parse(r#"{"method":"a.b.C","upgrade":false,"new":1,"parameters":{"service":"sshd","user":"ada","enforce":true,"new":[]}}"#).unwrap();
        assert_eq!(call.parameters::<pam::Call>().unwrap().user, "ada");
        let reply = Reply::parse(r#"{"new":{},"parameters":{"allow":true,"new":null}}"#).unwrap();
        assert!(reply.parameters::<pam::Verdict>().unwrap().allow);
    }

    #[test]
    fn a_message_says_its_version_and_one_of_a_later_version_is_none() {
        let call = Call::new("a.b.C", &Nothing {}).unwrap();
        assert_eq!(call.parameters.as_ref().unwrap().get(), r#"{"protocol":1}"#);
        let verdict = |protocol: &str| {
            let text = format!(r#"{{"parameters":{{"allow":true{protocol}}}}}"#);
            Reply::parse(&text).unwrap().parameters::<pam::Verdict>()
        };
        for known in ["", r#","protocol":1"#, r#","protocol":null"#] {
            assert!(verdict(known).unwrap().allow, "{known}");
        }
        for unknown in ["0", "2", "-1", "\"1\"", "1.5", "18446744073709551616"] {
            let unknown = format!(r#","protocol":{unknown}"#);
            assert!(verdict(&unknown).is_err(), "{unknown}");
        }
        let later = Call::parse(r#"{"method":"a.b.C","parameters":{"protocol":2}}"#).unwrap();
        assert!(matches!(
            later.parameters::<Nothing>(),
            Err(ServiceError::InvalidParameter { .. })
        ));
    }

    #[test]
    fn what_is_no_call_or_reply_is_refused() {
        for text in [
            "{}",
            r#"{"method":1}"#,
            r#"{"method":"a","method":"b"}"#,
            r#"{"method":"a"}{}"#,
            "[]",
            r#"["a.b.C"]"#,
        ] {
            assert!(Call::parse(text).is_err(), "{text}");
        }
        for text in [
            "{}",
            r#"{"parameters":null}"#,
            r#"{"error":5}"#,
            r#"{"parameters":{}}x"#,
            r#"[{"allow":true}]"#,
        ] {
            assert!(Reply::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_array_in_the_order_of_the_fields_is_no_answer_and_no_question() {
        let reply = Reply::parse(r#"{"parameters":[true]}"#).unwrap();
        assert!(reply.parameters::<pam::Verdict>().is_err());
        let call = Call::parse(r#"{"method":"a.b.C","parameters":["sshd","ada"]}"#).unwrap();
        assert!(matches!(
            call.parameters::<pam::Call>(),
            Err(ServiceError::InvalidParameter { .. })
        ));
    }

    #[test]
    fn a_verdict_without_allow_is_no_verdict() {
        assert!(
            Reply::parse(r#"{"parameters":{}}"#)
                .unwrap()
                .parameters::<pam::Verdict>()
                .is_err()
        );
        assert!(
            Reply::parse(r#"{"parameters":{"allow":"true"}}"#)
                .unwrap()
                .parameters::<pam::Verdict>()
                .is_err()
        );
        assert!(
            Reply::parse(r#"{"parameters":{"allow":false,"allow":true}}"#)
                .unwrap()
                .parameters::<pam::Verdict>()
                .is_err()
        );
    }

    #[test]
    fn standard_errors_carry_their_parameters() {
        let reply = Reply::from(ServiceError::MethodNotFound {
            method: "io.jit.Pam.Fly".into(),
        });
        assert_eq!(
            serde_json::to_string(&reply).unwrap(),
            r#"{"parameters":{"method":"io.jit.Pam.Fly"},"error":"org.varlink.service.MethodNotFound"}"#
        );
        let denied = Reply::from(ServiceError::PermissionDenied {});
        assert_eq!(
            serde_json::to_string(&denied).unwrap(),
            r#"{"parameters":{},"error":"org.varlink.service.PermissionDenied"}"#
        );
    }
}
