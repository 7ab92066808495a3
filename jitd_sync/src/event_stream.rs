//! Server-sent events (WHATWG HTML, section 9.2.6), read from bytes. Pure, and bounded whatever comes: an event that does not
//! fit fails the stream instead of growing.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type; `message` where the server named none.
    pub(crate) name: String,
    /// The last id that the server gave, in this event or one before it.
    pub(crate) id: String,
    /// Its data lines, joined by line feeds.
    pub(crate) data: String,
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("an event is longer than {0} bytes")]
    TooLong(usize),
    #[error("an event is not UTF-8")]
    NotText,
}

/// A line longer than this gets room for the longest at once: grown bit by bit it would be held twice whenever it is moved, while room
/// that nothing was written to costs no memory.
const LONG: usize = 64 * 1024;

/// Bytes of an event's type and of its id, which is a revision.
const SHORT_FIELD: usize = 64;

/// Takes bytes as they come, gives events. After an error it must not be fed again.
#[derive(Debug)]
pub(crate) struct EventStream {
    limit: usize,
    line: Vec<u8>,
    after_carriage_return: bool,
    first_line: bool,
    name: String,
    id: String,
    data: Option<String>,
}

impl EventStream {
    /// A stream whose events, and lines outside of events, have at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_carriage_return: false,
            first_line: true,
            name: String::new(),
            id: String::new(),
            data: None,
        }
    }

    /// Consumes from the front of `input` up to the end of the next event. None: all of `input` is consumed, more is needed.
    pub(crate) fn take(&mut self, input: &mut &[u8]) -> Result<Option<Event>, StreamError> {
        while !input.is_empty() {
            if !self.take_line(input)? {
                return Ok(None);
            }
            let line = std::mem::take(&mut self.line);
            let mut line = String::from_utf8(line).map_err(|_| StreamError::NotText)?;
            if std::mem::take(&mut self.first_line) && line.starts_with('\u{feff}') {
                line.remove(0);
            }
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
            } else {
                self.field(line)?;
            }
        }
        Ok(None)
    }

    /// Moves bytes into `line`; true when the line is complete. A line ends with CR, LF or both.
    fn take_line(&mut self, input: &mut &[u8]) -> Result<bool, StreamError> {
        if std::mem::take(&mut self.after_carriage_return) && input.first() == Some(&b'\n') {
            *input = &input[1..];
        }
        let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let part = &input[..end.unwrap_or(input.len())];
        if self.held() + part.len() > self.limit {
            return Err(StreamError::TooLong(self.limit));
        }
        if self.line.len() + part.len() > LONG {
            self.line.reserve_exact(self.limit - self.line.len());
        }
        self.line.extend_from_slice(part);
        match end {
            Some(end) => {
                self.after_carriage_return = input[end] == b'\r';
                *input = &input[end + 1..];
                Ok(true)
            }
            None => {
                *input = &[];
                Ok(false)
            }
        }
    }

    /// Bytes kept between calls.
    fn held(&self) -> usize {
        self.line.len()
            + self.name.len()
            + self.id.len()
            + self.data.as_ref().map_or(0, String::len)
    }

    /// True in the midst of an event or of a line.
    pub(crate) fn is_midway(&self) -> bool {
        !self.line.is_empty() || !self.name.is_empty() || self.data.is_some()
    }

    fn field(&mut self, mut line: String) -> Result<(), StreamError> {
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" | "id" if value.len() > SHORT_FIELD => {
                return Err(StreamError::TooLong(SHORT_FIELD));
            }
            "event" => self.name = value.to_owned(),
            "data" => match &mut self.data {
                Some(data) => {
                    if data.len() + value.len() >= LONG {
                        data.reserve_exact(self.limit - data.len());
                    }
                    data.push('\n');
                    data.push_str(value);
                }
                None => {
                    // A bundle is one line of megabytes: it stays where it is and is not held twice.
                    line.drain(..line.len() - value.len());
                    self.data = Some(line);
                }
            },
            "id" if !value.contains('\0') => self.id = value.to_owned(),
            // A comment, `retry`, or what a later server may send.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let data = self.data.take()?;
        Some(Event {
            name: if name.is_empty() {
                "message".to_owned()
            } else {
                name
            },
            id: self.id.clone(),
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(limit: usize, parts: &[&[u8]]) -> Result<Vec<Event>, StreamError> {
        let mut stream = EventStream::new(limit);
        let mut events = Vec::new();
        for part in parts {
            let mut rest = *part;
            while let Some(event) = stream.take(&mut rest)? {
                events.push(event);
            }
            assert!(rest.is_empty());
            assert!(stream.held() <= limit);
        }
        Ok(events)
    }

    fn event(name: &str, id: &str, data: &str) -> Event {
        Event {
            name: name.into(),
            id: id.into(),
            data: data.into(),
        }
    }

    #[test]
    fn names_ids_and_data_arrive_under_every_line_ending() {
        for ending in ["\n", "\r", "\r\n"] {
            let text = "\u{feff}: hello|event: bundle|id: 7|data: a.b.c||data:x|data|data:  y||event: empty||: alive||data||".replace('|', ending);
            let events = all(100, &[text.as_bytes()]).unwrap();
            assert_eq!(
                events,
                [
                    event("bundle", "7", "a.b.c"),
                    event("message", "7", "x\n\n y"),
                    event("message", "7", "")
                ],
                "{ending:?}"
            );
        }
    }

    #[test]
    fn an_event_that_does_not_fit_fails_the_stream_before_it_is_held() {
        for text in [
            "data: 0123456789",
            "data:01\ndata:0123456",
            "event:abc\nid:def\ndata:ghi",
            "garbage without any end",
        ] {
            assert_eq!(
                all(10, &[text.as_bytes()]),
                Err(StreamError::TooLong(10)),
                "{text:?}"
            );
        }
        assert_eq!(all(10, &[b"data:01234\n\n"]).unwrap().len(), 1);
    }

    #[test]
    fn an_event_without_its_end_is_no_event() {
        assert_eq!(all(100, &[b"event: bundle\ndata: a.b.c\n"]).unwrap(), []);
    }

    #[test]
    fn a_type_or_id_that_is_none_fails_the_stream_before_it_is_held() {
        for field in ["event", "id"] {
            let text = format!("{field}: {}\n", "x".repeat(65));
            let told = all(1000, &[text.as_bytes()]);
            assert_eq!(told, Err(StreamError::TooLong(64)));
        }
    }

    #[test]
    fn what_is_not_text_fails_the_stream() {
        assert_eq!(all(100, &[b"data: \xff\n\n"]), Err(StreamError::NotText));
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("data:".to_owned()),
            Just("event: ".to_owned()),
            Just("id:".to_owned()),
            Just("\r".to_owned()),
            Just("\n".to_owned()),
            Just("\r\n".to_owned()),
            "[a-z:é]{0,6}"
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_up_never_matters(bytes in lines(), size in 1_usize..7) {
            let parts: Vec<_> = bytes.chunks(size).collect();
            prop_assert_eq!(all(64, &[&bytes]), all(64, &parts));
        }

        #[test]
        fn no_bytes_make_it_panic_or_hold_more_than_its_limit(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 1_usize..50) {
            let parts: Vec<_> = bytes.chunks(size).collect();
            let _ = all(32, &parts);
        }
    }
}
