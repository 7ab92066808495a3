//! Framing: one JSON object, then NUL. Pure: bytes in, messages out; shared by the blocking client and jitd.
//!
//! A decoder never resynchronises: what follows a malformed frame may be an attacker's (a root X client was made to
//! carry NUL-framed JSON into another program's socket, T20), so after the first error it accepts nothing more.

use std::io;

use serde::Serialize;

use crate::limits::MESSAGE_BYTES;

/// Why bytes are not a message, or a value can't become one. The connection must be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MESSAGE_BYTES`].
    #[error("message longer than {MESSAGE_BYTES} bytes")]
    TooLong,
    /// Not the bytes of one JSON object in UTF-8.
    #[error("not a message: {0}")]
    Malformed(&'static str),
    /// An earlier frame of this connection was refused, so nothing on it is believed any more.
    #[error("connection already failed on an earlier message")]
    AlreadyFailed,
    /// The text of a frame is not JSON of the expected shape, or a value has no JSON form.
    #[error("not the expected JSON: {0}")]
    Json(String),
}

impl From<serde_json::Error> for FrameError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

/// Takes bytes as they come and gives back whole messages. Holds at most [`MESSAGE_BYTES`].
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Vec<u8>,
    failed: bool,
}

impl Decoder {
    /// A decoder for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes from the front of `input` up to the end of the next message and returns that message, or takes all of
    /// `input` and returns `None` when its end has not come yet. Call it until it does.
    ///
    /// # Errors
    /// At the first byte that no message could have there. Every later call fails as well.
    pub fn take(&mut self, input: &mut &[u8]) -> Result<Option<String>, FrameError> {
        if self.failed {
            return Err(FrameError::AlreadyFailed);
        }
        let taken = self.take_unfailed(input);
        if taken.is_err() {
            self.failed = true;
            self.partial = Vec::new();
        }
        taken
    }

    /// True while a message has begun and not ended.
    pub fn in_message(&self) -> bool {
        !self.partial.is_empty()
    }

    fn take_unfailed(&mut self, input: &mut &[u8]) -> Result<Option<String>, FrameError> {
        let (chunk, rest, ended) = match input.iter().position(|&byte| byte == 0) {
            Some(end) => (&input[..end], &input[end + 1..], true),
            None => (*input, &input[input.len()..], false),
        };
        *input = rest;
        // In the order of the bytes, so that how a stream was cut up never changes which error it gives.
        let fitting = chunk.len().min(MESSAGE_BYTES - self.partial.len());
        for (index, &byte) in chunk[..fitting].iter().enumerate() {
            check_byte(byte, self.partial.is_empty() && index == 0)?;
        }
        if fitting < chunk.len() {
            return Err(FrameError::TooLong);
        }
        self.partial.extend_from_slice(chunk);
        if ended {
            self.complete().map(Some)
        } else {
            Ok(None)
        }
    }

    fn complete(&mut self) -> Result<String, FrameError> {
        let bytes = std::mem::take(&mut self.partial);
        match bytes.last() {
            None => Err(FrameError::Malformed("an empty message")),
            Some(b'}') => String::from_utf8(bytes).map_err(|_| FrameError::Malformed("not UTF-8")),
            Some(_) => Err(FrameError::Malformed("does not end as a JSON object does")),
        }
    }
}

fn check_byte(byte: u8, first: bool) -> Result<(), FrameError> {
    match byte {
        _ if first && byte != b'{' => Err(FrameError::Malformed(
            "does not begin as a JSON object does",
        )),
        b'\t' | b'\n' | b'\r' => Ok(()),
        0..0x20 => Err(FrameError::Malformed("a control byte")),
        _ => Ok(()),
    }
}

/// The bytes of a message, its closing NUL included.
///
/// # Errors
/// When it would be longer than [`MESSAGE_BYTES`], or `message` has no JSON form.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bounded = Bounded {
        bytes: Vec::with_capacity(512),
        overflowed: false,
    };
    let written = serde_json::to_writer(&mut bounded, message);
    if bounded.overflowed {
        return Err(FrameError::TooLong);
    }
    written?;
    bounded.bytes.push(0);
    Ok(bounded.bytes)
}

/// Stops at the limit, so that a huge value costs no more memory than a message.
struct Bounded {
    bytes: Vec<u8>,
    overflowed: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if more.len() > MESSAGE_BYTES - self.bytes.len() {
            self.overflowed = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything that `stream`, cut into chunks of the given lengths, gives; and the largest buffer ever held.
    fn decode(stream: &[u8], lengths: &[usize]) -> (Vec<String>, Option<FrameError>, usize) {
        let (mut decoder, mut messages, mut held) = (Decoder::new(), Vec::new(), 0);
        let (mut rest, mut lengths) = (stream, lengths.iter().cycle());
        while !rest.is_empty() {
            let length = lengths.next().copied().unwrap_or(1).clamp(1, rest.len());
            let (mut chunk, later) = rest.split_at(length);
            rest = later;
            while !chunk.is_empty() {
                match decoder.take(&mut chunk) {
                    Ok(message) => messages.extend(message),
                    Err(error) => return (messages, Some(error), held),
                }
                held = held.max(decoder.partial.len());
            }
        }
        (messages, None, held)
    }

    fn refusal(stream: &[u8]) -> Option<FrameError> {
        decode(stream, &[stream.len().max(1)]).1
    }

    #[test]
    fn a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        let at_limit = [b"{".as_slice(), &vec![b' '; MESSAGE_BYTES - 2], b"}\0"].concat();
        assert_eq!(decode(&at_limit, &[4096]).0.len(), 1);
        let above = [b"{".as_slice(), &vec![b' '; MESSAGE_BYTES - 1], b"}\0"].concat();
        assert_eq!(
            decode(&above, &[4096]),
            (vec![], Some(FrameError::TooLong), MESSAGE_BYTES)
        );
    }

    #[test]
    fn nothing_is_decoded_after_a_malformed_frame() {
        let (messages, error, _) =
            decode(b"{}\0rubbish\0{\"method\":\"io.jit.Pam.Account\"}\0", &[3]);
        assert_eq!(
            (messages, error),
            (
                vec!["{}".to_owned()],
                Some(FrameError::Malformed(
                    "does not begin as a JSON object does"
                ))
            )
        );
        let mut decoder = Decoder::new();
        assert!(decoder.take(&mut b"x".as_slice()).is_err());
        assert_eq!(
            decoder.take(&mut b"{}\0".as_slice()),
            Err(FrameError::AlreadyFailed)
        );
    }

    #[test]
    fn what_is_no_object_is_refused_at_its_first_byte() {
        for stream in [
            b"l".as_slice(),
            b"B",
            b"[",
            b" {}",
            b"GET / HTTP/1.1",
            b"\x01",
            b"\xff",
        ] {
            assert!(
                matches!(refusal(stream), Some(FrameError::Malformed(_))),
                "{stream:?}"
            );
        }
    }

    #[test]
    fn rubbish_inside_or_at_the_end_is_refused() {
        for stream in [
            b"\0".as_slice(),
            b"{\x1b}\0",
            b"{\"a\":\x01",
            b"{}x\0",
            b"{\0",
            b"{\xff}\0",
        ] {
            assert!(
                matches!(refusal(stream), Some(FrameError::Malformed(_))),
                "{stream:?}"
            );
        }
    }

    #[test]
    fn encoding_refuses_what_decoding_would() {
        assert_eq!(
            encode(&"x".repeat(MESSAGE_BYTES - 2)).map(|bytes| bytes.len()),
            Ok(MESSAGE_BYTES + 1)
        );
        assert_eq!(
            encode(&"x".repeat(MESSAGE_BYTES - 1)),
            Err(FrameError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn framing_survives_any_chunking(
            texts in prop::collection::vec(".{0,200}", 0..8),
            lengths in prop::collection::vec(1usize..300, 1..20),
        ) {
            let objects: Vec<_> = texts.iter().map(|text| serde_json::json!({ "text": text })).collect();
            let stream: Vec<u8> = objects.iter().flat_map(|object| encode(object).unwrap()).collect();
            let (messages, error, _) = decode(&stream, &lengths);
            prop_assert_eq!(error, None);
            let decoded: Vec<serde_json::Value> = messages.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(decoded, objects);
        }

        #[test]
        fn chunking_never_changes_the_outcome_of_any_bytes(
            stream in prop::collection::vec(prop_oneof![Just(0u8), Just(b'{'), Just(b'}'), any::<u8>()], 0..400),
            lengths in prop::collection::vec(1usize..50, 1..20),
        ) {
            let (whole, whole_error, _) = decode(&stream, &[usize::MAX]);
            let (cut, cut_error, _) = decode(&stream, &lengths);
            prop_assert_eq!((whole, whole_error), (cut, cut_error));
        }

        #[test]
        fn no_more_than_the_limit_is_ever_held(
            length in MESSAGE_BYTES - 3..MESSAGE_BYTES * 2,
            lengths in prop::collection::vec(1usize..20_000, 1..20),
        ) {
            let stream = [b"{".as_slice(), &vec![b'x'; length]].concat();
            let (messages, error, held) = decode(&stream, &lengths);
            prop_assert!(messages.is_empty() && held <= MESSAGE_BYTES);
            prop_assert_eq!(error.is_some(), stream.len() > MESSAGE_BYTES);
        }
    }
}
