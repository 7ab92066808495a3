//! What libpam would run for a service, as far as gating must know: who includes whom, and whether something that runs earlier
//! could skip a line of ours (T10). Follows `_pam_parse_conf_file` of Linux-PAM: `@include`, `include`, `substack`, continued lines.

use std::collections::BTreeMap;

/// Included deeper than this, libpam gives up.
const DEEPEST: usize = 32;
/// More inclusions than this in one service are a circle.
const MOST_FILES: usize = 1_000;

/// The text of each service file, by its name.
pub(crate) type Texts = BTreeMap<String, Vec<u8>>;

/// A phase that our lines stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// May this account be used now?
    Account,
    /// Opening and closing a session.
    Session,
}

impl Phase {
    pub(crate) const BOTH: [Phase; 2] = [Phase::Account, Phase::Session];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Phase::Account => "account",
            Phase::Session => "session",
        }
    }
}

/// How a service comes by the lines of another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It never runs them.
    Never,
    /// In every phase, and nothing that runs before can skip them.
    Covered,
    /// It runs them in one phase only, or an earlier line could skip them: says which.
    Leaky(String),
}

/// Whether running `service` always runs the account and session lines of `file`.
pub(crate) fn reach(service: &str, file: &str, texts: &Texts) -> Reach {
    let found = Phase::BOTH.map(|phase| first_of(&flatten(service, file, phase, texts)));
    match &found {
        [First::Absent, First::Absent] => Reach::Never,
        [First::Reached, First::Reached] => Reach::Covered,
        _ => Reach::Leaky(
            Phase::BOTH
                .iter()
                .zip(&found)
                .find_map(|(phase, first)| first.complaint(service, file, *phase))
                .unwrap_or_default(),
        ),
    }
}

/// The session line of `service` that could skip a line after all of them, where one could.
pub(crate) fn skips_the_end(service: &str, texts: &Texts) -> Option<String> {
    let mut items = flatten(service, "", Phase::Session, texts);
    items.push(Item {
        sought: true,
        line: String::new(),
        jump: Jump::Nothing,
        substacks: Vec::new(),
    });
    match first_of(&items) {
        First::SkippedBy(line) => Some(line),
        First::Absent | First::Reached => None,
    }
}

enum First {
    Absent,
    Reached,
    SkippedBy(String),
}

impl First {
    fn complaint(&self, service: &str, file: &str, phase: Phase) -> Option<String> {
        match self {
            First::Reached => None,
            First::Absent => Some(format!(
                "{service} does not take its {} lines from {file}",
                phase.word()
            )),
            First::SkippedBy(line) => Some(format!(
                "in {service}, the line `{line}` can skip the {} lines of {file}",
                phase.word()
            )),
        }
    }
}

/// One module line in the order that libpam runs them, or the beginning of the file that is looked for.
struct Item {
    sought: bool,
    line: String,
    jump: Jump,
    /// The substacks it stands in, outermost first.
    substacks: Vec<usize>,
}

/// What a module's result may do to the lines after it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Jump {
    Nothing,
    /// `done`: ends the stack, or the substack it stands in.
    Done,
    /// Skips at most so many lines.
    Over(usize),
}

fn first_of(items: &[Item]) -> First {
    let Some(ours) = items.iter().position(|item| item.sought) else {
        return First::Absent;
    };
    let skips = |(index, item): &(usize, &Item)| match item.jump {
        Jump::Nothing => false,
        Jump::Done => items[ours].substacks.starts_with(&item.substacks),
        // A substack counts as one line for a jump over it, as many here: any substack in between makes a jump suspect.
        Jump::Over(count) => {
            index + count >= ours
                || items[*index..ours]
                    .iter()
                    .any(|other| other.substacks != item.substacks)
        }
    };
    match items.iter().enumerate().take(ours).find(skips) {
        Some((_, item)) => First::SkippedBy(item.line.clone()),
        None => First::Reached,
    }
}

fn flatten(service: &str, sought: &str, phase: Phase, texts: &Texts) -> Vec<Item> {
    let mut walk = Walk {
        sought,
        phase,
        texts,
        items: Vec::new(),
        substacks: 0,
        files: 0,
    };
    walk.file(service, &[], DEEPEST);
    walk.items
}

struct Walk<'a> {
    sought: &'a str,
    phase: Phase,
    texts: &'a Texts,
    items: Vec<Item>,
    substacks: usize,
    files: usize,
}

impl Walk<'_> {
    fn file(&mut self, name: &str, substacks: &[usize], depth: usize) {
        let (Some(text), Some(depth)) = (self.texts.get(name), depth.checked_sub(1)) else {
            return;
        };
        self.files += 1;
        if self.files > MOST_FILES {
            return;
        }
        if name == self.sought {
            self.items.push(Item {
                sought: true,
                line: String::new(),
                jump: Jump::Nothing,
                substacks: substacks.to_vec(),
            });
        }
        for line in logical_lines(text) {
            match parse(&line) {
                Some(Parsed::AtInclude(included)) => self.file(included, substacks, depth),
                Some(Parsed::Module {
                    phase,
                    control,
                    module,
                }) if phase.eq_ignore_ascii_case(self.phase.word()) => {
                    match control.to_ascii_lowercase().as_str() {
                        "include" => self.file(module, substacks, depth),
                        "substack" => {
                            self.substacks += 1;
                            let inner = [substacks, &[self.substacks]].concat();
                            self.file(module, &inner, depth);
                        }
                        _ => self.items.push(Item {
                            sought: false,
                            line: line.split_whitespace().collect::<Vec<_>>().join(" "),
                            jump: jump(&control.to_ascii_lowercase()),
                            substacks: substacks.to_vec(),
                        }),
                    }
                }
                _ => {}
            }
        }
    }
}

enum Parsed<'a> {
    AtInclude(&'a str),
    Module {
        phase: &'a str,
        control: &'a str,
        module: &'a str,
    },
}

fn parse(line: &str) -> Option<Parsed<'_>> {
    let line = line.trim();
    let (first, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    if first == "@include" {
        return Some(Parsed::AtInclude(service_name(rest)));
    }
    let phase = first.strip_prefix('-').unwrap_or(first);
    let (control, module) = if rest.starts_with('[') {
        rest.split_at(rest.find(']')? + 1)
    } else {
        rest.split_once(char::is_whitespace)?
    };
    Some(Parsed::Module {
        phase,
        control,
        module: service_name(module),
    })
}

/// The first word, without the folder that libpam would look in anyway.
fn service_name(text: &str) -> &str {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.strip_prefix("/etc/pam.d/").unwrap_or(word)
}

fn jump(control: &str) -> Jump {
    if control == "sufficient" {
        return Jump::Done;
    }
    let Some(actions) = control
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return Jump::Nothing;
    };
    let mut jump = Jump::Nothing;
    for action in actions
        .split_whitespace()
        .filter_map(|pair| Some(pair.split_once('=')?.1))
    {
        jump = match (action, action.parse::<usize>(), jump) {
            ("done", _, _) | (_, _, Jump::Done) => Jump::Done,
            (_, Ok(count), Jump::Over(most)) => Jump::Over(count.max(most)),
            (_, Ok(count), Jump::Nothing) => Jump::Over(count),
            (_, Err(_), unchanged) => unchanged,
        };
    }
    jump
}

/// Lines without comments, with continued ones joined.
fn logical_lines(text: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut held = String::new();
    for line in String::from_utf8_lossy(text).lines() {
        let line = line.split('#').next().unwrap_or_default().trim_end();
        match line.strip_suffix('\\') {
            Some(start) => {
                held.push_str(start);
                held.push(' ');
            }
            None => {
                held.push_str(line);
                lines.push(std::mem::take(&mut held));
            }
        }
    }
    lines.push(held);
    lines.retain(|line| !line.trim().is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> Texts {
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
            .collect()
    }

    fn debian() -> Texts {
        let folder = format!("{}/tests/fixtures/debian12", env!("CARGO_MANIFEST_DIR"));
        let entries = std::fs::read_dir(folder).expect("fixtures");
        entries
            .map(|entry| entry.expect("an entry"))
            .map(|entry| {
                (
                    entry.file_name().into_string().expect("a name"),
                    std::fs::read(entry.path()).expect("a file"),
                )
            })
            .collect()
    }

    #[test]
    fn on_debian_su_l_runs_the_lines_of_su_and_nothing_else_does() {
        assert_eq!(reach("su-l", "su", &debian()), Reach::Covered);
        for service in [
            "sshd",
            "sudo",
            "sudo-i",
            "login",
            "other",
            "runuser",
            "runuser-l",
        ] {
            assert_eq!(reach(service, "su", &debian()), Reach::Never, "{service}");
        }
    }

    #[test]
    fn at_include_is_followed_through_files() {
        let texts = texts(&[
            ("a", "@include b\n"),
            ("b", "@include c\n"),
            ("c", "account required x.so\nsession required x.so\n"),
        ]);
        assert_eq!(reach("a", "c", &texts), Reach::Covered);
    }

    #[test]
    fn a_sufficient_line_before_the_include_can_skip_us() {
        let texts = texts(&[
            (
                "su-l",
                "account sufficient pam_rootok.so\naccount include su\nsession include su\n",
            ),
            ("su", "account required x.so\nsession required x.so\n"),
        ]);
        let Reach::Leaky(why) = reach("su-l", "su", &texts) else {
            panic!("not told")
        };
        assert_eq!(
            why,
            "in su-l, the line `account sufficient pam_rootok.so` can skip the account lines of su"
        );
    }

    #[test]
    fn a_sufficient_line_inside_a_substack_ends_that_substack_only() {
        let texts = texts(&[
            (
                "a",
                "account substack inner\naccount include su\nsession include su\n",
            ),
            ("inner", "account sufficient pam_permit.so\n"),
            ("su", "account required x.so\nsession required x.so\n"),
        ]);
        assert_eq!(reach("a", "su", &texts), Reach::Covered);
    }

    #[test]
    fn a_jump_skips_us_only_where_it_reaches_past_our_line() {
        let with = |jump: &str| {
            let first = format!(
                "account [success={jump} default=ignore] pam_unix.so\naccount required pam_deny.so\naccount include su\nsession include su\n"
            );
            reach(
                "a",
                "su",
                &texts(&[
                    ("a", &first),
                    ("su", "account required x.so\nsession required x.so\n"),
                ]),
            )
        };
        assert_eq!(with("1"), Reach::Covered);
        assert!(matches!(with("2"), Reach::Leaky(_)));
        assert!(matches!(with("done"), Reach::Leaky(_)));
    }

    #[test]
    fn one_phase_alone_is_not_enough() {
        let texts = texts(&[
            ("a", "account include su\n"),
            ("su", "account required x.so\nsession required x.so\n"),
        ]);
        assert_eq!(
            reach("a", "su", &texts),
            Reach::Leaky("a does not take its session lines from su".to_owned())
        );
    }

    #[test]
    fn continued_lines_and_circles_do_no_harm() {
        let texts = texts(&[
            (
                "a",
                "account \\\n  include \\\n  a\n@include a\n@include su\n",
            ),
            ("su", "account required x.so\nsession required x.so\n"),
        ]);
        assert_eq!(reach("a", "su", &texts), Reach::Covered);
    }
}
