//! As many sessions as fit one message, so that a host with a thousand of them can be looked at.

use jit_local::limits::MESSAGE_BYTES;
use jit_local::message::control::{Session, Sessions};

use crate::session::SessionId;

/// Bytes of sessions in one reply; the rest of a message is for what stands around them.
const PAGE_BYTES: usize = MESSAGE_BYTES - 1024;

/// Scopes told of one session, so that it fits a message whatever was opened in it: `sudo su -` adds one each time.
const MOST_SCOPES: usize = 128;

/// Groups told of one session, for the same reason.
const MOST_GROUPS: usize = 64;

/// The first of `sessions` that come after `after`.
pub(super) fn page(mut sessions: Vec<Session>, after: Option<&SessionId>) -> Sessions {
    sessions.retain(|session| after.is_none_or(|after| session.id.as_str() > after.as_str()));
    sessions.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let mut page = Sessions::default();
    let mut room = PAGE_BYTES;
    for session in sessions.into_iter().map(fitting) {
        match room.checked_sub(bytes(&session)) {
            Some(left) => room = left,
            None => {
                page.next = page.sessions.last().map(|last: &Session| last.id.clone());
                break;
            }
        }
        page.sessions.push(session);
    }
    page
}

/// The same, small enough for a message.
pub(super) fn fitting(mut session: Session) -> Session {
    session.scopes.truncate(MOST_SCOPES);
    session.groups.truncate(MOST_GROUPS);
    session
}

/// With the comma behind it. A session always has a JSON form.
fn bytes(session: &Session) -> usize {
    serde_json::to_vec(session).map_or(PAGE_BYTES, |json| json.len() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::session;
    use jit_local::call::Reply;
    use jit_local::frame::encode;

    fn many(count: usize) -> Vec<Session> {
        let letters = |number: usize| {
            let mut bytes = [0; 10];
            bytes[..8].copy_from_slice(&number.to_be_bytes().map(|byte| byte % 32));
            bytes[8] = u8::try_from(number / 32 % 32).unwrap();
            bytes[9] = u8::try_from(number / 1024).unwrap();
            SessionId::from_bytes(bytes).to_string()
        };
        let session = |number| Session {
            id: letters(number),
            scopes: vec![format!("session-{number}.scope"); 3],
            ..session("ada", Some("ada@example.org"))
        };
        (0..count).map(session).collect()
    }

    /// Asks until there is no more, as jitctl does.
    fn all(sessions: &[Session]) -> (Vec<Session>, usize) {
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let reply = page(sessions.to_vec(), after.as_ref());
            assert!(encode(&Reply::done(&reply).unwrap()).is_ok());
            found.extend(reply.sessions);
            pages += 1;
            match reply.next {
                Some(next) => after = Some(next.parse().unwrap()),
                None => return (found, pages),
            }
        }
    }

    #[test]
    fn a_thousand_sessions_are_told_of_once_each_in_as_many_messages_as_they_take() {
        let sessions = many(1000);
        let (found, pages) = all(&sessions);
        let mut expected = sessions;
        expected.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        assert_eq!(found, expected);
        assert!(pages > 3, "{pages}");
    }

    #[test]
    fn few_sessions_are_one_page_and_none_are_an_empty_one() {
        assert_eq!(all(&many(20)).1, 1);
        assert_eq!(all(&[]), (vec![], 1));
    }

    #[test]
    fn a_session_with_any_number_of_scopes_fits_a_message() {
        let crowded = Session {
            scopes: vec!["jit-elevation-aaaaaaaaaa.scope".to_owned(); 10_000],
            ..session("ada", None)
        };
        let (found, pages) = all(&[crowded]);
        assert_eq!((found.len(), pages), (1, 1));
        assert_eq!(found[0].scopes.len(), MOST_SCOPES);
    }

    #[test]
    fn a_session_that_opens_or_ends_between_two_pages_moves_no_other() {
        let mut sessions = many(400);
        sessions.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let first = page(sessions.clone(), None);
        let next: SessionId = first.next.unwrap().parse().unwrap();
        let told = first.sessions.len();
        sessions.remove(told - 1);
        sessions.remove(0);
        let second = page(sessions.clone(), Some(&next));
        assert_eq!(second.sessions.first(), sessions.get(told - 2));
    }
}
