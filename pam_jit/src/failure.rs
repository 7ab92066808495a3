//! What keeps the module from getting a decision, and the stable code of each. All of them deny in enforce mode.

use jit_local::client::ClientError;

use crate::arguments::ArgumentError;
use crate::guard::Panicked;

/// jitd could not be reached.
pub const UNREACHABLE: &str = "JIT-150";
/// jitd did not answer in time.
pub const TIMED_OUT: &str = "JIT-151";
/// jitd's answer makes no sense.
pub const BAD_ANSWER: &str = "JIT-152";
/// The PAM line is wrong.
pub const BAD_ARGUMENTS: &str = "JIT-153";
/// The module itself failed.
pub const MODULE_FAILED: &str = "JIT-154";

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The line in /etc/pam.d is not one that `jitctl gate` writes.
    #[error("PAM line: {0}")]
    Arguments(#[from] ArgumentError),
    /// The program that loaded us gave something that we cannot work with.
    #[error("{0} is missing or not UTF-8")]
    Item(&'static str),
    /// jitd gave no answer that could be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A panic was caught: a bug in this module.
    #[error("a bug in pam_jit: please report it")]
    Panicked,
}

impl From<Panicked> for Failure {
    fn from(_: Panicked) -> Self {
        Self::Panicked
    }
}

impl Failure {
    /// The code that the person sees.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Arguments(_) => BAD_ARGUMENTS,
            Self::Item(_) | Self::Panicked | Self::Client(ClientError::Unsendable(_)) => {
                MODULE_FAILED
            }
            Self::Client(ClientError::Unreachable { .. } | ClientError::Closed) => UNREACHABLE,
            Self::Client(ClientError::TimedOut(_)) => TIMED_OUT,
            Self::Client(
                ClientError::Nonsense(_) | ClientError::TooLarge | ClientError::Refused { .. },
            ) => BAD_ANSWER,
        }
    }

    /// What the person at the terminal is told. The details are for the log.
    pub fn message(&self) -> String {
        let what = match self.code() {
            UNREACHABLE => "jitd, which decides on this host, cannot be reached",
            TIMED_OUT => "jitd, which decides on this host, did not answer in time",
            BAD_ANSWER => "jitd, which decides on this host, gave an answer that makes no sense",
            BAD_ARGUMENTS => "the line of pam_jit in /etc/pam.d is wrong",
            _ => "the PAM module pam_jit failed",
        };
        let code = self.code();
        format!(
            "Refused ({code}): {what}.\nNobody gets in while that is so. Tell an administrator of this host: jitctl doctor"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_grant::Code;

    #[test]
    fn every_code_of_ours_is_in_the_table_of_all_codes() {
        let ours = [
            UNREACHABLE,
            TIMED_OUT,
            BAD_ANSWER,
            BAD_ARGUMENTS,
            MODULE_FAILED,
        ];
        let theirs: Vec<_> = Code::ALL
            .iter()
            .map(|code| code.as_str())
            .filter(|code| code.starts_with("JIT-15"))
            .collect();
        assert_eq!(theirs, ours);
    }

    #[test]
    fn each_failure_of_the_client_has_the_code_that_tells_what_to_look_at() {
        let cases = [
            (
                ClientError::Unreachable {
                    path: "/x".into(),
                    why: String::new(),
                },
                UNREACHABLE,
            ),
            (ClientError::Closed, UNREACHABLE),
            (ClientError::TimedOut(std::time::Duration::ZERO), TIMED_OUT),
            (ClientError::Nonsense(String::new()), BAD_ANSWER),
            (ClientError::TooLarge, BAD_ANSWER),
            (
                ClientError::Refused {
                    error: String::new(),
                    detail: None,
                },
                BAD_ANSWER,
            ),
            (
                ClientError::Unsendable(jit_local::frame::FrameError::TooLong),
                MODULE_FAILED,
            ),
        ];
        for (error, code) in cases {
            assert_eq!(Failure::from(error).code(), code);
        }
    }
}
