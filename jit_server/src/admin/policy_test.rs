//! `jit-server policy test`.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::{print_json, say};
use crate::apply::POLICY;
use crate::cases::{self, Came, Case, Cases, Outcome};
use crate::cli::TestOptions;
use crate::error::Error;
use crate::policy::{self, Mistake, Policy, in_words};
use crate::workflow::{self, Rule};

/// A case that came out otherwise than it should.
#[derive(Debug, Serialize)]
struct Failed {
    file: String,
    line: usize,
    who: String,
    role: String,
    host: String,
    for_seconds: u32,
    expected: Outcome,
    expected_code: Option<String>,
    outcome: Outcome,
    code: Option<&'static str>,
    refusal: Option<String>,
    rules: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    rule: Rule,
    outcome: workflow::Outcome,
    words: String,
}

/// Plays the cases of a file against a policy, without a server; warnings go to `err`. True where all come out as they should.
///
/// # Errors
/// Where it can't be printed.
pub fn test_policy(
    options: &TestOptions,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<bool, Error> {
    let beside = || options.file.with_file_name(POLICY);
    let policy: PathBuf = options.policy.clone().unwrap_or_else(beside);
    let policy = read(&policy, policy::check_text, err)?;
    let cases = read(&options.file, cases::read, err)?;
    let (policy, cases) = match (policy, cases) {
        (Ok(policy), Ok(cases)) => (policy, cases),
        (policy, cases) => {
            let mistakes = [policy.err(), cases.err()];
            let mistakes: Vec<Mistake> = mistakes.into_iter().flatten().flatten().collect();
            return tell_mistakes(&mistakes, options.json, out).map(|()| false);
        }
    };
    let (failed, mistakes) = play(&options.file, &policy, &cases);
    let all = cases.cases.len();
    if options.json {
        print_json(
            out,
            &json!({ "cases": all, "failed": failed, "mistakes": mistakes }),
        )?;
    } else {
        let told = mistakes.iter().map(|mistake| format!("{mistake}\n"));
        let told: String = told.chain(failed.iter().map(Failed::text)).collect();
        let sum = match (failed.len(), mistakes.len()) {
            (0, 0) => format!("all {all} cases hold\n"),
            (some, 0) => format!("{some} of {all} cases do not hold\n"),
            (some, others) => {
                format!("{some} of {all} cases do not hold, and {others} can't be played\n")
            }
        };
        say(out, &(told + &sum))?;
    }
    Ok(failed.is_empty() && mistakes.is_empty())
}

/// What `parse` makes of the text of a file, or its mistakes.
fn read<T>(
    file: &Path,
    parse: impl Fn(&str, &str) -> Result<T, Vec<Mistake>>,
    err: &mut impl Write,
) -> Result<Result<T, Vec<Mistake>>, Error> {
    let (text, unguarded) = match policy::read_whoever_writes(file) {
        Ok(read) => read,
        Err(mistakes) => return Ok(Err(mistakes)),
    };
    if let Some(warning) = unguarded {
        say(err, &format!("warning: {warning}\n"))?;
    }
    Ok(parse(&file.display().to_string(), &text))
}

fn tell_mistakes(mistakes: &[Mistake], as_json: bool, out: &mut impl Write) -> Result<(), Error> {
    if as_json {
        return print_json(
            out,
            &json!({ "cases": 0, "failed": [], "mistakes": mistakes }),
        );
    }
    let lines = mistakes.iter().map(|mistake| format!("{mistake}\n"));
    say(out, &lines.collect::<String>())
}

/// Those that come out otherwise than they should, and what others have to say and do not.
fn play(file: &Path, policy: &Policy, cases: &Cases) -> (Vec<Failed>, Vec<Mistake>) {
    let (mut failed, mut mistakes) = (Vec::new(), Vec::new());
    for case in &cases.cases {
        match cases::run(policy, cases, case) {
            Ok(came) if came.fits(case) => {}
            Ok(came) => failed.push(Failed::of(file, case, came)),
            Err(problem) => mistakes.push(Mistake {
                file: file.display().to_string(),
                line: case.line,
                key: "case".to_owned(),
                problem,
            }),
        }
    }
    (failed, mistakes)
}

impl Failed {
    fn of(file: &Path, case: &Case, came: Came) -> Self {
        let rules = came.explained.rules.into_iter().map(|told| Line {
            rule: told.rule,
            outcome: told.outcome,
            words: told.words,
        });
        Self {
            file: file.display().to_string(),
            line: case.line,
            who: case.who.to_string(),
            role: case.role.to_string(),
            host: case.host.to_string(),
            for_seconds: came.for_seconds,
            expected: case.expected,
            expected_code: case.code.clone(),
            outcome: came.outcome,
            code: came.refusal.as_ref().map(|refusal| refusal.code().0),
            refusal: came.refusal.as_ref().map(ToString::to_string),
            rules: rules.collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}:{}: {} asks for {} on {} for {}: expected {}, came {}\n",
            self.file,
            self.line,
            self.who,
            self.role,
            self.host,
            in_words(self.for_seconds),
            named(self.expected, self.expected_code.as_deref()),
            named(self.outcome, self.code),
        );
        if let Some(refusal) = &self.refusal {
            text.push_str(&format!("  {refusal}\n"));
        }
        for Line { outcome, words, .. } in &self.rules {
            let sign = match outcome {
                workflow::Outcome::Met => "yes",
                workflow::Outcome::Failed => "no ",
                workflow::Outcome::NotAsked => "-  ",
            };
            text.push_str(&format!("  {sign} {words}\n"));
        }
        text
    }
}

fn named(outcome: Outcome, code: Option<&str>) -> String {
    let name = match outcome {
        Outcome::Pending => "pending",
        Outcome::Refused => "refused",
        Outcome::Approved => "approved",
    };
    code.map_or_else(|| name.to_owned(), |code| format!("{name} ({code})"))
}
