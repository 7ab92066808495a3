//! What users are beside their groups, such as `on_call = true` or `team = "payments"`: the policy may ask for it.

mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::AttributeText;

/// Attributes of one user, or that the policy asks for at one place, at most.
pub const MOST_ATTRIBUTES: usize = 32;

/// What an attribute is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttributeName(String);

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AttributeValue", into = "AttributeValue")]
pub enum Attribute {
    /// Whether something is so.
    Flag(bool),
    /// A word or a few.
    Text(AttributeText),
}

/// The same as documents have it: true, false or a short text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "an attribute is true, false or a short text")]
pub enum AttributeValue {
    /// Whether something is so.
    Flag(bool),
    /// A word or a few.
    Text(String),
}

/// Why something is no attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAttribute {
    /// Not written as one.
    #[error("{0:?} is not an attribute: it is NAME=VALUE, the value true, false or a short text")]
    Form(String),
    /// Not a name.
    #[error(
        "{0:?} is not an attribute's name: 1 to 63 of a-z A-Z 0-9 . _ -, beginning with a letter or digit"
    )]
    Name(String),
    /// A text that looks like what it is not.
    #[error("true and false are no texts here: write them without quotes")]
    Quoted,
    /// Not a text to show.
    #[error(transparent)]
    Text(#[from] crate::text::TextError),
    /// More of them than anybody needs.
    #[error("there are {MOST_ATTRIBUTES} attributes at most")]
    TooMany,
}

/// Attributes by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<AttributeName, Attribute>")]
pub struct Attributes(BTreeMap<AttributeName, Attribute>);

/// An attribute as people type it: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named(pub AttributeName, pub Attribute);

impl Attributes {
    /// True where each of `wanted` is among them, and says the same.
    #[must_use]
    pub fn have(&self, wanted: &Self) -> bool {
        wanted
            .0
            .iter()
            .all(|(name, value)| self.0.get(name) == Some(value))
    }

    /// True where there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each in words, such as `on_call=true`, in the order of their names.
    pub fn each(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}"))
    }

    /// As documents have them.
    #[must_use]
    pub fn listed(&self) -> BTreeMap<String, AttributeValue> {
        let all = self.0.iter();
        all.map(|(name, value)| (name.to_string(), value.clone().into()))
            .collect()
    }
}

impl TryFrom<BTreeMap<AttributeName, Attribute>> for Attributes {
    type Error = NotAnAttribute;

    fn try_from(all: BTreeMap<AttributeName, Attribute>) -> Result<Self, NotAnAttribute> {
        if all.len() > MOST_ATTRIBUTES {
            return Err(NotAnAttribute::TooMany);
        }
        Ok(Self(all))
    }
}

impl fmt::Display for Attributes {
    /// Such as `on_call=true, team=payments`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.each().collect::<Vec<_>>().join(", "))
    }
}

impl TryFrom<AttributeValue> for Attribute {
    type Error = NotAnAttribute;

    fn try_from(value: AttributeValue) -> Result<Self, NotAnAttribute> {
        match value {
            AttributeValue::Flag(flag) => Ok(Self::Flag(flag)),
            AttributeValue::Text(text) => {
                let text = AttributeText::try_from(text)?;
                // Nobody tells `"true"` from `true` who reads it.
                if ["true", "false"].contains(&text.as_str().to_ascii_lowercase().as_str()) {
                    return Err(NotAnAttribute::Quoted);
                }
                Ok(Self::Text(text))
            }
        }
    }
}

impl From<Attribute> for AttributeValue {
    fn from(attribute: Attribute) -> Self {
        match attribute {
            Attribute::Flag(flag) => Self::Flag(flag),
            Attribute::Text(text) => Self::Text(text.into()),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl FromStr for Named {
    type Err = NotAnAttribute;

    fn from_str(text: &str) -> Result<Self, NotAnAttribute> {
        let parts = text.split_once('=');
        let (name, value) = parts.ok_or_else(|| NotAnAttribute::Form(brief(text)))?;
        let value = match value {
            "true" => Attribute::Flag(true),
            "false" => Attribute::Flag(false),
            text => AttributeValue::Text(text.to_owned()).try_into()?,
        };
        Ok(Self(name.to_owned().try_into()?, value))
    }
}

impl TryFrom<String> for AttributeName {
    type Error = NotAnAttribute;

    fn try_from(text: String) -> Result<Self, NotAnAttribute> {
        let first = text.bytes().next();
        let valid = text.len() <= 63
            && first.is_some_and(|b| b.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if valid {
            Ok(Self(text))
        } else {
            Err(NotAnAttribute::Name(brief(&text)))
        }
    }
}

impl From<AttributeName> for String {
    fn from(name: AttributeName) -> Self {
        name.0
    }
}

impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn brief(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Attributes {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn whoever_is_asked_for_has_every_attribute_with_that_value_and_may_have_more() {
        let user = of(r#"{"on_call":true,"team":"payments","level":"2"}"#);
        for (wanted, has) in [
            ("{}", true),
            (r#"{"on_call":true}"#, true),
            (r#"{"on_call":true,"team":"payments"}"#, true),
            (r#"{"on_call":false}"#, false),
            (r#"{"team":"Payments"}"#, false),
            (r#"{"team":"payments","night":true}"#, false),
        ] {
            assert_eq!(user.have(&of(wanted)), has, "{wanted}");
        }
        assert!(!Attributes::default().have(&of(r#"{"on_call":false}"#)));
    }

    #[test]
    fn what_is_typed_is_what_files_and_documents_say() {
        for (typed, json) in [
            ("on_call=true", r#"{"on_call":true}"#),
            ("on_call=false", r#"{"on_call":false}"#),
            ("team=the night shift", r#"{"team":"the night shift"}"#),
            ("query=a=b", r#"{"query":"a=b"}"#),
        ] {
            let Named(name, value) = typed.parse().unwrap();
            let typed = Attributes::try_from(BTreeMap::from([(name, value)])).unwrap();
            assert_eq!(typed, of(json));
            assert_eq!(serde_json::to_string(&typed).unwrap(), json);
        }
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        for wrong in [
            "",
            "team",
            "=x",
            "team=",
            "on call=true",
            "team=\u{1b}[2J",
            "on_call=True",
            &format!("team={}", "x".repeat(65)),
            &format!("{}=x", "k".repeat(64)),
        ] {
            assert!(wrong.parse::<Named>().is_err(), "{wrong:?}");
        }
        for wrong in [
            r#"{"on_call":"true"}"#,
            r#"{"on_call":1}"#,
            r#"{"on_call":null}"#,
            r#"{"on_call":["a"]}"#,
            r#"{"":"x"}"#,
        ] {
            assert!(
                serde_json::from_str::<Attributes>(wrong).is_err(),
                "{wrong}"
            );
        }
        let many: Vec<String> = (0..33).map(|n| format!(r#""k{n}":true"#)).collect();
        let many = format!("{{{}}}", many.join(","));
        assert!(serde_json::from_str::<Attributes>(&many).is_err());
    }
}
