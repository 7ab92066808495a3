//! What a person on another machine is known by to the server. It says nothing to hosts and grants nothing by itself.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::enrolment::Secret;
use crate::key::KeyError;
use crate::name::SecretHash;

const PREFIX: &str = "jit-user.";

/// A text is no user's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a user's token: it looks like jit-user.SECRET, in one line as `jit-server user token` printed it"
)]
pub struct NotAUserToken;

/// A user's token. As text `jit-user.SECRET`: whoever has it is that user to the server, until it ends. Its Debug form hides it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserToken(Secret);

impl UserToken {
    /// A new one from the kernel's random generator.
    ///
    /// # Errors
    /// [`KeyError::NotGenerated`].
    pub fn generate() -> Result<Self, KeyError> {
        Secret::generate().map(Self)
    }

    /// What the server keeps of it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        self.0.hash()
    }

    /// The secret text.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", String::from(self.0.clone()))
    }
}

impl FromStr for UserToken {
    type Err = NotAUserToken;

    fn from_str(text: &str) -> Result<Self, NotAUserToken> {
        let secret = text.strip_prefix(PREFIX).ok_or(NotAUserToken)?;
        let secret = Secret::try_from(secret.to_owned());
        secret.map(Self).map_err(|_| NotAUserToken)
    }
}

impl TryFrom<String> for UserToken {
    type Error = NotAUserToken;

    fn try_from(text: String) -> Result<Self, NotAUserToken> {
        text.parse()
    }
}

impl From<UserToken> for String {
    fn from(token: UserToken) -> Self {
        token.reveal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_being_carried_as_text_and_hides_in_logs() {
        let token = UserToken::generate().unwrap();
        let text = token.reveal();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&text[PREFIX.len()..]));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let whole = UserToken::generate().unwrap().reveal();
        let enrolment = format!("jit-enrol.{}.a", &whole[PREFIX.len()..]);
        for text in [
            "",
            "jit-user.",
            &enrolment,
            &whole[1..],
            &whole[..whole.len() - 1],
            &format!("{whole}a"),
            &format!("{whole}\n"),
        ] {
            assert_eq!(text.parse::<UserToken>(), Err(NotAUserToken), "{text:?}");
        }
    }
}
