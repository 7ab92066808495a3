//! D-Bus spoken straight to PID 1, without a bus between.
//!
//! zbus encodes and decodes; its connections are of no use here, because systemd signs what it sends on this socket with the
//! well-known name org.freedesktop.systemd1, where zbus takes nothing but a unique name. What is needed is little: one call at
//! a time, and one kind of signal. The format is that of the D-Bus specification, "Message Protocol" and "Authentication
//! Protocol".

use std::collections::VecDeque;
use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use zbus::wire::Endian;
use zbus::wire::serialized::{Context, Data};
use zbus::{DynamicType, Message, OwnedVariant, Signature, Type};

/// Longer messages than this are not read. PID 1's signals about a unit with a large environment come to some hundred kB.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The fixed part of a header: byte order, type, flags, version, length of the body, serial, length of the fields.
const FIXED_BYTES: usize = 16;

/// The type of a message that is a signal.
const SIGNAL: u8 = 4;

/// systemd sends each of its signals to every connection: while many units come and go, hundreds are read at once.
const READ_BYTES: usize = 32 * 1024;

/// Header fields by their codes in the specification.
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const SIGNATURE: u8 = 8;

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BusError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it refused the connection: {0:?}")]
    NotAuthenticated(String),
    #[error("a message could not be written or read: {0}")]
    Format(#[from] zbus::Error),
    #[error("a message of {0} bytes was announced, more than is ever read")]
    TooLong(usize),
    #[error("it answered {name}: {text}")]
    Answered { name: String, text: String },
}

impl BusError {
    /// True for an error that was answered, by its D-Bus name.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Answered { name, .. } if name == wanted)
    }
}

/// A connection, used for one call at a time.
pub(crate) struct PrivateBus {
    stream: BufReader<UnixStream>,
    /// The only signal that is kept.
    wanted: &'static str,
    signals: VecDeque<Body>,
}

impl PrivateBus {
    /// Connects and authenticates by our uid. Signals of the member `wanted` are kept for [`PrivateBus::signal`].
    pub(crate) async fn connect(path: &str, wanted: &'static str) -> Result<Self, BusError> {
        let stream = UnixStream::connect(path).await?;
        let mut stream = BufReader::with_capacity(READ_BYTES, stream);
        // EXTERNAL takes the uid as decimal digits, written in hexadecimal.
        let uid = nix::unistd::geteuid().to_string();
        let uid: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        // In one write: systemd 252 never looks at a BEGIN that comes after its OK (docs/host-notes.md).
        let greeting = format!("\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n");
        stream.write_all(greeting.as_bytes()).await?;
        let answer = line(&mut stream).await?;
        if !answer.starts_with("OK ") {
            return Err(BusError::NotAuthenticated(answer));
        }
        Ok(Self {
            stream,
            wanted,
            signals: VecDeque::new(),
        })
    }

    /// Calls a method and returns the body of its reply.
    pub(crate) async fn call<B>(
        &mut self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Body, BusError>
    where
        B: Serialize + DynamicType,
    {
        let message = Message::method_call(path, method)
            .interface(interface)
            .build(body)?;
        let serial = message.primary_header().serial_num().get();
        self.stream.write_all(message.data().bytes()).await?;
        loop {
            let received = self.receive().await?;
            if let Some(reply) = received.filter(|received| received.reply_to == Some(serial)) {
                return reply.into_reply();
            }
        }
    }

    /// The next signal of the wanted member, waiting for it where none has come.
    pub(crate) async fn signal(&mut self) -> Result<Body, BusError> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            self.receive().await?;
        }
    }

    /// One message, where it is no signal. A wanted one is put by, others are not even looked into.
    async fn receive(&mut self) -> Result<Option<Received>, BusError> {
        let mut fixed = [0; FIXED_BYTES];
        self.stream.read_exact(&mut fixed).await?;
        let sizes = Sizes::of(&fixed)?;
        let mut rest = vec![0; sizes.fields + sizes.body];
        self.stream.read_exact(&mut rest).await?;
        let body = rest.split_off(sizes.fields);
        let is_signal = fixed[1] == SIGNAL;
        let wanted = self.wanted.as_bytes();
        if is_signal && !rest.windows(wanted.len()).any(|bytes| bytes == wanted) {
            return Ok(None);
        }
        let header = [&fixed[..], &rest].concat();
        let received = Received::parse(header, body, sizes.endian)?;
        if !is_signal {
            return Ok(Some(received));
        }
        if received.member.as_deref() == Some(self.wanted) {
            self.signals.push_back(received.body);
        }
        Ok(None)
    }
}

/// How much is to be read after the fixed part.
struct Sizes {
    endian: Endian,
    /// The rest of the header, with its padding to eight bytes.
    fields: usize,
    body: usize,
}

impl Sizes {
    fn of(fixed: &[u8; FIXED_BYTES]) -> Result<Self, BusError> {
        let endian = match fixed[0] {
            b'l' => Endian::Little,
            b'B' => Endian::Big,
            _ => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        };
        let number = |at: usize| {
            let bytes = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
            let number = if fixed[0] == b'l' {
                u32::from_le_bytes(bytes)
            } else {
                u32::from_be_bytes(bytes)
            };
            usize::try_from(number).unwrap_or(usize::MAX)
        };
        let (body, fields) = (number(4), number(12));
        let together = body.saturating_add(fields);
        if together > MOST_BYTES {
            return Err(BusError::TooLong(together));
        }
        Ok(Self {
            endian,
            fields: fields.next_multiple_of(8),
            body,
        })
    }
}

/// The body of a message.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    endian: Endian,
    signature: Signature,
}

impl Body {
    /// Reads it as a `T`, where it is one.
    pub(crate) fn read<T>(self) -> Result<T, BusError>
    where
        T: for<'a> Deserialize<'a> + Type,
    {
        if self.signature.to_string_no_parens() != T::SIGNATURE.to_string_no_parens() {
            let unlike = format!("{} where {} was expected", self.signature, T::SIGNATURE);
            return Err(io::Error::new(io::ErrorKind::InvalidData, unlike).into());
        }
        let data = Data::new(self.bytes, Context::new(self.endian, 0));
        let (value, _) = data.deserialize()?;
        Ok(value)
    }
}

struct Received {
    reply_to: Option<u32>,
    error: Option<String>,
    member: Option<String>,
    body: Body,
}

type Header = (u8, u8, u8, u8, u32, u32, Vec<(u8, OwnedVariant)>);

impl Received {
    fn parse(header: Vec<u8>, body: Vec<u8>, endian: Endian) -> Result<Self, BusError> {
        let data = Data::new(header, Context::new(endian, 0));
        let ((.., fields), _): (Header, usize) = data.deserialize()?;
        let mut received = Self {
            reply_to: None,
            error: None,
            member: None,
            body: Body {
                bytes: body,
                endian,
                signature: Signature::Unit,
            },
        };
        for (code, value) in fields {
            match code {
                MEMBER => received.member = Some(value.try_into()?),
                ERROR_NAME => received.error = Some(value.try_into()?),
                REPLY_SERIAL => received.reply_to = Some(value.try_into()?),
                SIGNATURE => received.body.signature = value.try_into()?,
                _ => {}
            }
        }
        Ok(received)
    }

    fn into_reply(self) -> Result<Body, BusError> {
        match self.error {
            None => Ok(self.body),
            Some(name) => Err(BusError::Answered {
                name,
                text: self.body.read().unwrap_or_default(),
            }),
        }
    }
}

/// A line of the authentication, which comes before anything else on the stream and is short.
async fn line(stream: &mut BufReader<UnixStream>) -> Result<String, BusError> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() > 512 {
            return Err(BusError::TooLong(line.len()));
        }
        // Byte by byte, so that nothing of what follows is taken.
        line.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(message: &Message) -> Received {
        let bytes = message.data().bytes();
        let fixed: [u8; FIXED_BYTES] = bytes[..FIXED_BYTES].try_into().unwrap();
        let sizes = Sizes::of(&fixed).unwrap();
        let (header, body) = bytes.split_at(FIXED_BYTES + sizes.fields);
        assert_eq!(body.len(), sizes.body);
        Received::parse(header.to_vec(), body.to_vec(), sizes.endian).unwrap()
    }

    #[test]
    fn a_signal_is_known_by_its_member_and_its_body_is_read() {
        let signal = Message::signal("/a", "a.b", "JobRemoved")
            .build(&(7_u32, "done"))
            .unwrap();
        let received = split(&signal);
        assert_eq!(
            (received.reply_to, received.member.as_deref()),
            (None, Some("JobRemoved"))
        );
        assert_eq!(
            received.body.read::<(u32, String)>().unwrap(),
            (7, "done".to_owned())
        );
    }

    #[test]
    fn a_body_of_another_type_is_not_read() {
        let signal = Message::signal("/a", "a.b", "JobRemoved")
            .build(&(7_u32, "done"))
            .unwrap();
        assert!(split(&signal).body.read::<(u32, u32)>().is_err());
    }

    #[test]
    fn a_message_that_would_never_end_is_not_begun() {
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = b'l';
        fixed[4..8].fill(0xff);
        assert!(matches!(Sizes::of(&fixed), Err(BusError::TooLong(_))));
        fixed[0] = b'x';
        assert!(Sizes::of(&fixed).is_err());
    }

    #[tokio::test]
    async fn a_greeting_that_never_ends_is_not_read_on() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ours = BufReader::new(ours);
        theirs.write_all(&[b'x'; 1024]).await.unwrap();
        assert!(matches!(line(&mut ours).await, Err(BusError::TooLong(_))));
    }
}
