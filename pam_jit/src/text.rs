//! Text from elsewhere, made fit for a terminal and a log (T22): sudo relays what a module says as it is, escape
//! sequences and right-to-left overrides included.

/// Lines shown at most.
const LINES: usize = 6;
/// Characters of a line shown at most.
const LINE_CHARACTERS: usize = 240;

/// Text for the person at the terminal: at most [`LINES`] lines of [`LINE_CHARACTERS`] visible characters.
pub fn clean(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(clean_line)
        .filter(|line| !line.is_empty())
        .take(LINES)
        .collect();
    lines.join("\n")
}

/// Text on one line of at most [`LINE_CHARACTERS`] visible characters.
pub fn clean_line(text: &str) -> String {
    let visible = text
        .chars()
        .map(|character| {
            if character.is_whitespace() {
                ' '
            } else {
                character
            }
        })
        .filter(|&character| !hidden(character));
    visible
        .take(LINE_CHARACTERS)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// True for what moves the cursor, turns the reading direction or takes no room on the screen.
fn hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}'                        // soft hyphen
            | '\u{34f}'                     // combining grapheme joiner
            | '\u{61c}'                     // Arabic letter mark
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
            | '\u{17b4}' | '\u{17b5}'       // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}'       // Mongolian selectors
            | '\u{200b}'..='\u{200f}'       // zero width, direction marks
            | '\u{2028}'..='\u{202e}'       // separators, direction embeddings and overrides
            | '\u{2060}'..='\u{206f}'       // invisible operators, direction isolates
            | '\u{fe00}'..='\u{fe0f}'       // variation selectors
            | '\u{feff}'                    // byte order mark
            | '\u{fff9}'..='\u{fffb}'       // interlinear annotation
            | '\u{1d173}'..='\u{1d17a}'     // musical formatting
            | '\u{e0000}'..='\u{e0fff}'     // tags
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn t22_escapes_and_overrides_lose_their_power() {
        assert_eq!(
            clean("\u{1b}[2Jno\u{9b}31m \u{202e}grant\u{200b}\x07"),
            "[2Jno31m grant"
        );
        assert_eq!(
            clean("one\r\ntwo\n\n\u{1b}\nthree\ttabs"),
            "one\ntwo\nthree tabs"
        );
        assert_eq!(clean_line("one\ntwo\u{2028}three"), "one two three");
    }

    #[test]
    fn words_of_any_language_stay() {
        assert_eq!(
            clean("Zugriff für Ädä abgelehnt – 拒绝"),
            "Zugriff für Ädä abgelehnt – 拒绝"
        );
    }

    proptest! {
        #[test]
        fn t22_nothing_hidden_passes_and_the_size_is_bounded(text in any::<String>()) {
            let cleaned = clean(&text);
            prop_assert!(cleaned.lines().count() <= LINES);
            for line in cleaned.split('\n') {
                prop_assert!(line.chars().count() <= LINE_CHARACTERS);
                prop_assert!(!line.chars().any(|character| character.is_control() || hidden(character)));
            }
            prop_assert_eq!(clean(&cleaned), cleaned);
        }

        #[test]
        fn control_bytes_never_pass(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let cleaned = clean(&String::from_utf8_lossy(&bytes));
            prop_assert!(cleaned.bytes().all(|byte| byte == b'\n' || (byte >= 0x20 && byte != 0x7f)));
        }
    }
}
