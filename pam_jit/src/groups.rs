//! Groups that a login has by its grants. Tested without PAM.
//!
//! sshd asks for credentials before it opens the session, and again in its child, just after that took the groups of the account and
//! while it is still root. The first time it is noted that there is such a line; the session phase then brings the groups from jitd; the
//! second time they are set. They are kept in the PAM transaction, which nobody but this process has.
//!
//! Where anything fails the login goes on without them: whoever may log in is not for this to say.

use std::ffi::CStr;

use syslog::Severity;

use crate::arguments::Line;
use crate::ask::{Boot, Outcome, enforces_now};

/// The process that credentials are set for.
pub trait Member {
    /// The running boot; None when the kernel does not say.
    fn boot(&self) -> Option<Boot>;
    /// The groups that the login is to be in. None: nothing was noted in this transaction yet.
    fn kept(&self) -> Option<Vec<u32>>;
    /// Keeps them for the transaction. False where there is no room.
    fn keep(&mut self, gids: Vec<u32>) -> bool;
    /// Groups that the process is in beside its first.
    ///
    /// # Errors
    /// The kernel's, in words.
    fn groups(&self) -> Result<Vec<u32>, String>;
    /// Puts the process into exactly these groups beside its first.
    ///
    /// # Errors
    /// The kernel's, in words.
    fn set_groups(&self, gids: &[u32]) -> Result<(), String>;
    /// Writes a line to the host's log.
    fn log(&self, severity: Severity, text: &str);
}

/// Sets the groups that are kept, where the line of `words` enforces; notes that it can where none are. `taking_away`: credentials are
/// to be deleted, which ends with the process.
pub fn set_credentials(member: &mut impl Member, words: &[&CStr], taking_away: bool) -> Outcome {
    let enforcing =
        Line::account(words).is_ok_and(|line| enforces_now(&line.mode, || member.boot()));
    if !enforcing || taking_away {
        return Outcome::Ignored;
    }
    match member.kept() {
        None => {
            member.keep(Vec::new());
            Outcome::Ignored
        }
        Some(gids) if gids.is_empty() => Outcome::Ignored,
        Some(gids) => match add(member, &gids) {
            Ok(()) => Outcome::Allowed,
            Err(why) => {
                let text = format!("the login goes on without its grant's groups: {why}");
                member.log(Severity::LOG_ERR, &text);
                Outcome::Ignored
            }
        },
    }
}

/// Root's group is never added, whatever the answer was.
fn add(member: &impl Member, gids: &[u32]) -> Result<(), String> {
    let mut all = member.groups()?;
    let before = all.len();
    for gid in gids.iter().filter(|gid| **gid != 0) {
        if !all.contains(gid) {
            all.push(*gid);
        }
    }
    if all.len() == before {
        return Ok(());
    }
    member.set_groups(&all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::ffi::CString;

    struct Fake {
        kept: Option<Vec<u32>>,
        groups: RefCell<Vec<u32>>,
        fails: bool,
        logged: RefCell<Vec<String>>,
    }

    impl Fake {
        fn with(kept: Option<Vec<u32>>) -> Self {
            Self {
                kept,
                groups: RefCell::new(vec![1000, 4]),
                fails: false,
                logged: RefCell::default(),
            }
        }
    }

    impl Member for Fake {
        fn boot(&self) -> Option<Boot> {
            None
        }

        fn kept(&self) -> Option<Vec<u32>> {
            self.kept.clone()
        }

        fn keep(&mut self, gids: Vec<u32>) -> bool {
            self.kept = Some(gids);
            true
        }

        fn groups(&self) -> Result<Vec<u32>, String> {
            Ok(self.groups.borrow().clone())
        }

        fn set_groups(&self, gids: &[u32]) -> Result<(), String> {
            if self.fails {
                return Err("EPERM".to_owned());
            }
            self.groups.replace(gids.to_vec());
            Ok(())
        }

        fn log(&self, _: Severity, text: &str) {
            self.logged.borrow_mut().push(text.to_owned());
        }
    }

    fn set(fake: &mut Fake, line: &str) -> Outcome {
        let words: Vec<_> = line
            .split(' ')
            .map(|word| CString::new(word).unwrap())
            .collect();
        let words: Vec<_> = words.iter().map(CString::as_c_str).collect();
        set_credentials(fake, &words, false)
    }

    #[test]
    fn groups_of_the_answer_are_added_to_those_that_the_process_has_but_never_root_s() {
        let mut fake = Fake::with(Some(vec![4, 33, 0, 33]));
        assert_eq!(set(&mut fake, "enforce"), Outcome::Allowed);
        assert_eq!(*fake.groups.borrow(), [1000, 4, 33]);
    }

    #[test]
    fn before_there_is_an_answer_nothing_is_set_and_it_is_noted_that_it_could_be() {
        let mut fake = Fake::with(None);
        assert_eq!(set(&mut fake, "enforce"), Outcome::Ignored);
        assert_eq!(fake.kept, Some(Vec::new()));
        assert_eq!(set(&mut fake, "enforce"), Outcome::Ignored);
        assert_eq!(*fake.groups.borrow(), [1000, 4]);
    }

    #[test]
    fn a_line_that_watches_or_is_wrong_sets_and_notes_nothing() {
        for line in ["monitor", "enforce until=5", "bogus", "enforce before"] {
            let mut fake = Fake::with(Some(vec![33]));
            assert_eq!(set(&mut fake, line), Outcome::Ignored, "{line}");
            assert_eq!(*fake.groups.borrow(), [1000, 4], "{line}");
            let mut fake = Fake::with(None);
            set(&mut fake, line);
            assert_eq!(fake.kept, None, "{line}");
        }
    }

    #[test]
    fn where_they_can_t_be_set_the_login_goes_on_without_and_the_log_says_so() {
        let mut fake = Fake::with(Some(vec![33]));
        fake.fails = true;
        assert_eq!(set(&mut fake, "enforce"), Outcome::Ignored);
        assert!(fake.logged.borrow()[0].contains("EPERM"));
    }

    #[test]
    fn credentials_that_are_deleted_add_nothing() {
        let mut fake = Fake::with(Some(vec![33]));
        let outcome = set_credentials(&mut fake, &[c"enforce"], true);
        assert_eq!((outcome, fake.groups.borrow().len()), (Outcome::Ignored, 2));
    }
}
