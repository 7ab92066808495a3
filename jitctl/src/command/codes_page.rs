//! jit-codes(7): every code that a person may meet, from the one table of them.

use clap_mangen::roff::{Inline, Roff, bold, line_break, roman};
use jit_grant::Code;

/// The page's file name.
pub(super) const FILE: &str = "jit-codes.7";

/// What the hundreds stand for, as [`Code`] divides them.
const SECTIONS: [(&str, &str); 3] = [
    ("JIT-1", "WHY SOMETHING WAS REFUSED"),
    ("JIT-2", "WHY A SIGNED DOCUMENT WAS REFUSED"),
    ("JIT-3", "WHY A SESSION ENDED"),
];

/// The page in roff.
pub(super) fn page() -> String {
    let mut page = Roff::new();
    let version = concat!("jit ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["jit-codes", "7", "", version, "Miscellaneous"]);
    page.control("SH", ["NAME"]);
    page.text([roman("jit-codes - what the codes of jit mean")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman("What jit refuses and what it ends comes with a code. The numbers are stable. "),
        bold("jitctl explain"),
        roman(" CODE shows one of these on the terminal."),
    ]);
    for (prefix, title) in SECTIONS {
        page.control("SH", [title]);
        for code in Code::ALL {
            if code.as_str().starts_with(prefix) {
                describe(&mut page, *code);
            }
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text(see_also(&[
        ("jitctl", "1"),
        ("jitctl-explain", "1"),
        ("jitd", "8"),
        ("pam_jit", "8"),
    ]));
    page.render()
}

fn describe(page: &mut Roff, code: Code) {
    page.control("TP", []);
    page.text([bold(code.as_str()), roman(format!(" {}", code.title()))]);
    page.text([
        roman(code.explanation()),
        line_break(),
        bold("What to do:"),
        roman(format!(" {}", code.remedy())),
    ]);
}

fn see_also(pages: &[(&str, &str)]) -> Vec<Inline> {
    let mut text = Vec::new();
    for (name, section) in pages {
        if !text.is_empty() {
            text.push(roman(", "));
        }
        text.extend([bold(*name), roman(format!("({section})"))]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As roff's output is read: dashes, backslashes and apostrophes unescaped again.
    fn readable(page: &str) -> String {
        page.replace("\\-", "-")
            .replace("\\*(Aq", "'")
            .replace("\\\\", "\\")
    }

    #[test]
    fn every_code_stands_in_the_page_with_its_title_explanation_and_remedy() {
        let page = readable(&page());
        for code in Code::ALL {
            for text in [
                code.as_str(),
                code.title(),
                code.explanation(),
                code.remedy(),
            ] {
                assert!(page.contains(text), "{code}: {text}");
            }
        }
        assert_eq!(page.matches(".TP").count(), Code::ALL.len());
    }

    #[test]
    fn no_text_of_the_table_is_taken_for_a_command_of_roff() {
        let page = page();
        let commands = [
            ".ie", ".el", ".TH ", ".SH ", ".TP", ".br", ".\\\"", ".ds", ".if",
        ];
        for line in page.lines() {
            let is_command = line.starts_with(['.', '\'']);
            assert!(
                !is_command || commands.iter().any(|command| line.starts_with(command)),
                "{line}"
            );
        }
    }
}
