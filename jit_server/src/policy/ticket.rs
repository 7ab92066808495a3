//! The ticket that a role asks for.

use regex::{Regex, RegexBuilder};

use crate::text::Ticket;

/// The word for any ticket.
const REQUIRED: &str = "required";
/// A pattern is no larger in memory; a person's takes a hundredth of this. Bytes.
const MOST_MEMORY: usize = 256 * 1024;

/// Which ticket a request for a role must name.
#[derive(Debug, Clone)]
pub struct TicketRule {
    written: String,
    /// None: any.
    pattern: Option<Regex>,
}

impl PartialEq for TicketRule {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for TicketRule {}

impl TicketRule {
    /// True where `ticket`, as a whole, is one.
    #[must_use]
    pub fn fits(&self, ticket: &Ticket) -> bool {
        let pattern = self.pattern.as_ref();
        pattern.is_none_or(|pattern| pattern.is_match(ticket.as_str()))
    }

    /// As policies write it.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Such as `a ticket like OPS-[0-9]+`.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self.pattern {
            None => "a ticket".to_owned(),
            Some(_) => format!("a ticket like {}", self.written),
        }
    }
}

impl TryFrom<String> for TicketRule {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        if written == REQUIRED {
            return Ok(Self {
                written,
                pattern: None,
            });
        }
        // People are shown it, and it is as long as a ticket at most.
        let shown = Ticket::try_from(written.clone()).map_err(|error| error.to_string())?;
        if shown.as_str() != written {
            return Err("has white space that no ticket has".to_owned());
        }
        let built = |pattern: &str| {
            let built = RegexBuilder::new(pattern).size_limit(MOST_MEMORY).build();
            built.map_err(|error| {
                let told = error.to_string();
                let last = told.lines().last().unwrap_or_default();
                let last = last.trim_start_matches("error: ");
                format!("is neither \"{REQUIRED}\" nor a regular expression: {last}")
            })
        };
        // By itself first: what closes a group that is not its own would not be held at its ends.
        built(&written)?;
        let pattern = built(&format!("^(?:{written})$"))?;
        Ok(Self {
            written,
            pattern: Some(pattern),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(rule: &str, ticket: &str) -> bool {
        let rule = TicketRule::try_from(rule.to_owned()).unwrap();
        rule.fits(&ticket.to_owned().try_into().unwrap())
    }

    #[test]
    fn a_ticket_fits_a_pattern_as_a_whole() {
        for (rule, ticket, whether) in [
            ("OPS-[0-9]+", "OPS-17", true),
            ("OPS-[0-9]+", "see OPS-17", false),
            ("OPS-[0-9]+", "OPS-17 or not", false),
            ("OPS-[0-9]+", "ops-17", false),
            ("OPS-1|DB-2", "OPS-1", true),
            ("OPS-1|DB-2", "DB-2", true),
            ("OPS-1|DB-2", "OPS-1x", false),
            ("OPS-1|DB-2", "xDB-2", false),
            ("(?m)^OPS$", "OPS", true),
            ("required", "anything", true),
        ] {
            assert_eq!(fits(rule, ticket), whether, "{rule} {ticket}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_is_too_large_or_leaves_its_group_is_refused() {
        let long = "a".repeat(201);
        for wrong in [
            "OPS-[0-9",
            "OPS-(",
            "a)|(?:.*",
            "(?x)OPS #",
            "((a{1000}){1000}){1000}",
            "a\u{202e}",
            " OPS",
            "",
            &long,
        ] {
            assert!(TicketRule::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
