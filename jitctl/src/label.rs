//! Labels of hosts as people type them: `KEY=VALUE`.

/// Longer is no label.
const LONGEST: usize = 63;

/// Reads one; which labels there are, the server knows.
pub(crate) fn parse(text: &str) -> Result<(String, String), String> {
    let part = |text: &str| {
        let first = text.bytes().next();
        text.len() <= LONGEST
            && first.is_some_and(|b| b.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    match text.split_once('=') {
        Some((key, value)) if part(key) && part(value) => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, such as env=prod".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_label_is_a_key_and_a_value() {
        let label = ("env".to_owned(), "prod-2".to_owned());
        assert_eq!(parse("env=prod-2"), Ok(label));
        for wrong in ["", "env", "=prod", "env=", "a=b=c", "a b=c", "env=\u{202e}"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
