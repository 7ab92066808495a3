//! What hosts' lines are looked for by. It is taken out of a line when it is kept: what a host writes must not be able to make an index
//! of the database's fail.

use jit_grant::GrantId;
use serde::Deserialize;
use serde_json::Value;

use crate::store::session_lines::SESSION_LINES;

const LEFT_BEHIND: &str = "elevation.residue";
/// A host's name for a session has far fewer bytes.
const LONGEST_SESSION: usize = 256;

/// Of a line about a session or about what was left behind; of any other, nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) kind: Option<&'static str>,
    pub(super) grant: Option<String>,
    pub(super) session: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    kind: String,
    #[serde(default)]
    grant: Value,
    #[serde(default)]
    id: Value,
}

impl About {
    pub(super) fn of(line: &str) -> Self {
        let Ok(Line { event }) = serde_json::from_str(line) else {
            return Self::default();
        };
        let grant = event.grant.as_str();
        let grant = grant.filter(|grant| grant.parse::<GrantId>().is_ok());
        let grant = grant.map(str::to_owned);
        if event.kind == LEFT_BEHIND {
            return Self {
                kind: Some(LEFT_BEHIND),
                grant,
                session: None,
            };
        }
        let Some(kind) = SESSION_LINES.into_iter().find(|kind| *kind == event.kind) else {
            return Self::default();
        };
        let session = event.id.as_str();
        let session = session.filter(|id| id.len() <= LONGEST_SESSION && !id.contains('\0'));
        Self {
            kind: Some(kind),
            grant,
            session: session.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_grant_and_no_session_is_not_looked_for_by() {
        let about = |rest: &str| {
            About::of(&format!(
                r#"{{"event":{{"seq":1,"kind":"session.opened",{rest}}},"prev":""}}"#
            ))
        };
        let found = about(r#""grant":"g7","id":"a""#);
        assert_eq!(
            (found.kind, found.grant.as_deref(), found.session.as_deref()),
            (Some("session.opened"), Some("g7"), Some("a"))
        );
        let long = "x".repeat(300);
        for wrong in [
            r#""grant":"g7\u0000","id":"a\u0000""#.to_owned(),
            r#""grant":7,"id":[]"#.to_owned(),
            format!(r#""grant":"{long}","id":"{long}""#),
        ] {
            let found = about(&wrong);
            assert_eq!((found.grant, found.session), (None, None), "{wrong}");
        }
        for other in ["", "7", r#"{"event":{"kind":"decision","grant":"g1"}}"#] {
            assert_eq!(About::of(other), About::default(), "{other}");
        }
    }
}
