//! The text of a PAM service file with our lines in it, and without. Pure; bytes in, bytes out.
//!
//! [`gate`] puts one marked block first and one last; [`ungate`] takes out exactly what [`gate`] put in. Everything else in the
//! file is somebody else's and stays to the byte, whatever its encoding or line ends.

use crate::mode::Mode;

/// Begins a block.
const BEGIN: &str = "# jit begin: managed by jitctl gate, taken out by jitctl ungate";
/// Begins the closing block of a file whose last line had no line end: ungate takes the line end out again.
const BEGIN_UNENDED: &str = "# jit begin: managed by jitctl gate, taken out by jitctl ungate (the line above had no line end)";
/// Ends a block.
const END: &str = "# jit end";
/// The first line of a file that was copied from the vendor's folder: prefix of the SHA-256 of the original.
const COPY: &str = "# jit copy: jitctl ungate removes this file again; sha256 of the original ";
/// The line that some systems begin every PAM file with. It stays first.
const MAGIC: &[u8] = b"#%PAM-";
/// What a line of ours and any line that somebody wrote by hand for our module have in common.
const MODULE: &[u8] = b"pam_jit.so";

/// Why a text can't be gated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A line of ours that we did not write.
    #[error("line {line} names pam_jit.so outside of a marked block")]
    Stray {
        /// Counted from 1.
        line: usize,
    },
    /// Whatever follows would become a part of that line.
    #[error(
        "the last line ends with a backslash, so that a line after it would become a part of it"
    )]
    Continued,
}

/// How a text stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// None of our lines is in it.
    Ungated,
    /// Both blocks are where they belong, in one mode.
    Gated(Mode),
    /// Some of our lines are there, but not all, or not where they belong. The mode is what the first of them says, where one
    /// says it. `jitctl gate` puts that right.
    Damaged(Option<Mode>),
}

/// Whether a gate has the line through which logins get the groups of their grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Auth {
    With,
    Without,
}

/// `text` with our two blocks, in `mode`; blocks that it has already are replaced.
pub fn gate(text: &[u8], mode: &Mode) -> Result<Vec<u8>, TextError> {
    with_blocks(text, mode, Auth::Without)
}

/// [`gate`] for a service whose logins get the groups of their grants.
pub fn gate_with_groups(text: &[u8], mode: &Mode) -> Result<Vec<u8>, TextError> {
    with_blocks(text, mode, Auth::With)
}

/// True where `text` is whole as [`gate_with_groups`] makes it. One that [`gate`] made is a whole gate, too.
pub fn gives_groups(text: &[u8]) -> bool {
    match state(text) {
        State::Gated(mode) => is_as(text, &mode, Auth::With),
        State::Ungated | State::Damaged(_) => false,
    }
}

fn is_as(text: &[u8], mode: &Mode, auth: Auth) -> bool {
    with_blocks(text, mode, auth).is_ok_and(|right| right == text)
}

fn with_blocks(text: &[u8], mode: &Mode, auth: Auth) -> Result<Vec<u8>, TextError> {
    let bare = ungate(text);
    if let Some(line) = stray_line(&bare) {
        return Err(TextError::Stray { line });
    }
    if lines(&bare).last().is_some_and(is_continued) {
        return Err(TextError::Continued);
    }
    let head = header_length(&bare);
    let mut gated = Vec::with_capacity(bare.len() + 512);
    gated.extend_from_slice(&bare[..head]);
    push_lines(&mut gated, &opening(mode, auth));
    gated.extend_from_slice(&bare[head..]);
    let unended = !bare[head..].is_empty() && !bare.ends_with(b"\n");
    if unended {
        gated.push(b'\n');
    }
    push_lines(&mut gated, &closing(mode, unended));
    Ok(gated)
}

/// `text` without our blocks. Lines of others that stand inside a block are left in.
pub fn ungate(text: &[u8]) -> Vec<u8> {
    let mut bare = Vec::with_capacity(text.len());
    let mut in_block = false;
    let mut unended_at = None;
    for line in lines(text) {
        match kind_of(line) {
            Line::Begin { unended } => {
                in_block = true;
                unended_at = unended.then_some(bare.len());
            }
            Line::End => in_block = false,
            Line::Ours(_) if in_block => {}
            Line::Ours(_) | Line::Other => bare.extend_from_slice(line),
        }
    }
    // Only where nothing was added after the block: otherwise two lines would become one.
    if unended_at == Some(bare.len()) && bare.ends_with(b"\n") {
        bare.pop();
    }
    bare
}

/// How `text` stands.
pub fn state(text: &[u8]) -> State {
    if !lines(text).any(|line| !matches!(kind_of(line), Line::Other)) {
        return State::Ungated;
    }
    let mode = lines(text).find_map(|line| match kind_of(line) {
        Line::Ours(mode) => Some(mode),
        _ => None,
    });
    match mode {
        Some(mode) if is_as(text, &mode, Auth::With) || is_as(text, &mode, Auth::Without) => {
            State::Gated(mode)
        }
        mode => State::Damaged(mode),
    }
}

/// The number of the first line that names our module outside of our blocks and comments, in a text without blocks.
pub fn stray_line(bare: &[u8]) -> Option<usize> {
    lines(bare)
        .position(|line| {
            !line.trim_ascii_start().starts_with(b"#")
                && line.windows(MODULE.len()).any(|part| part == MODULE)
        })
        .map(|index| index + 1)
}

/// `text` marked as a copy of a vendor's file whose SHA-256 is `hash`, in hexadecimal.
pub fn mark_copy(text: &[u8], hash: &str) -> Vec<u8> {
    [COPY.as_bytes(), hash.as_bytes(), b"\n", text].concat()
}

/// Where `text` is marked as a copy: the SHA-256 of the original in hexadecimal, and the text without the mark.
pub fn split_copy(text: &[u8]) -> Option<(&str, &[u8])> {
    let (line, rest) = text.split_at(text.iter().position(|b| *b == b'\n')? + 1);
    let hash = line.trim_ascii_end().strip_prefix(COPY.as_bytes())?;
    Some((std::str::from_utf8(hash).ok()?, rest))
}

enum Line {
    Begin { unended: bool },
    End,
    Ours(Mode),
    Other,
}

fn kind_of(line: &[u8]) -> Line {
    let Ok(text) = std::str::from_utf8(line.trim_ascii_end()) else {
        return Line::Other;
    };
    match text {
        BEGIN => Line::Begin { unended: false },
        BEGIN_UNENDED => Line::Begin { unended: true },
        END => Line::End,
        _ => Mode::in_line(text).map_or(Line::Other, Line::Ours),
    }
}

/// The lines of `text`, each with its line end where it has one.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|b| *b == b'\n')
}

/// True where libpam would take the next line as a part of `line`: a backslash at its end, before blanks or a comment.
fn is_continued(line: &[u8]) -> bool {
    let before_comment = line.split(|b| *b == b'#').next().unwrap_or_default();
    [line, before_comment]
        .iter()
        .any(|part| part.trim_ascii_end().ends_with(b"\\"))
}

/// How much of the beginning stays before our first block: our own mark of a copy, then the `#%PAM-1.0` of some systems.
fn header_length(bare: &[u8]) -> usize {
    let mut length = 0;
    for line in lines(bare) {
        if !(line.ends_with(b"\n")
            && (line.starts_with(COPY.as_bytes()) || line.starts_with(MAGIC)))
        {
            break;
        }
        length += line.len();
    }
    length
}

fn opening(mode: &Mode, auth: Auth) -> Vec<String> {
    let mut lines = vec![BEGIN.to_owned()];
    if auth == Auth::With {
        lines.push(mode.auth_line());
    }
    lines.extend([mode.account_line(), mode.before_line(), END.to_owned()]);
    lines
}

fn closing(mode: &Mode, unended: bool) -> [String; 3] {
    let begin = if unended { BEGIN_UNENDED } else { BEGIN };
    [begin.to_owned(), mode.after_line(), END.to_owned()]
}

fn push_lines(text: &mut Vec<u8>, lines: &[String]) {
    for line in lines {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
