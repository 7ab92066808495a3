//! `jitctl explain`: what a code means.

use jit_grant::Code;
use serde_json::json;

use super::Here;
use crate::error::{Error, Exit};

pub(super) fn run(here: &Here, code: Option<Code>) -> Result<Exit, Error> {
    match (code, here.json) {
        (Some(code), true) => here.screen.json(&document(code)),
        (None, true) => here.screen.json(
            &Code::ALL
                .iter()
                .map(|code| document(*code))
                .collect::<Vec<_>>(),
        ),
        (Some(code), false) => {
            for line in [
                format!("{code}: {}.", code.title()),
                code.explanation().to_owned(),
                format!("What to do: {}", code.remedy()),
            ] {
                here.screen.say(line);
            }
        }
        (None, false) => {
            let rows: Vec<_> = Code::ALL
                .iter()
                .map(|code| vec![code.to_string(), code.title().to_owned()])
                .collect();
            here.screen.table(&["CODE", "MEANS"], &rows, "");
        }
    }
    Ok(Exit::Done)
}

fn document(code: Code) -> serde_json::Value {
    json!({ "code": code, "title": code.title(), "explanation": code.explanation(), "remedy": code.remedy() })
}
