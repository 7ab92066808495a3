//! Something else than jitd behind a socket of jitd's: the ways in which it can answer wrongly.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::Host;

/// How an impostor treats a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Bytes that are no JSON.
    Garbage,
    /// A frame without end.
    TooMuch,
    /// A frame that would allow it, a byte every 100 ms.
    ByteByByte,
    /// Reads and says nothing.
    Nothing,
    /// Hangs up at once.
    HangsUp,
    /// JSON of a wrong shape.
    OtherShape,
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Garbage,
        Self::TooMuch,
        Self::ByteByByte,
        Self::Nothing,
        Self::HangsUp,
        Self::OtherShape,
    ];

    /// Answers until the caller gives up.
    fn answer(self, mut caller: UnixStream) -> std::io::Result<()> {
        caller.set_write_timeout(Some(Duration::from_secs(10)))?;
        match self {
            Self::Garbage => caller.write_all(b"\xff\xfe{]\x07\0")?,
            Self::TooMuch => loop {
                caller.write_all(&[b' '; 65536])?;
            },
            Self::ByteByByte => {
                for byte in b"{\"parameters\": {                                \"allow\": true}}\0"
                    .chunks(1)
                {
                    caller.write_all(byte)?;
                    thread::sleep(Duration::from_millis(100));
                }
            }
            Self::Nothing => {}
            Self::HangsUp => return Ok(()),
            Self::OtherShape => caller.write_all(b"{\"parameters\": [true]}\0")?,
        }
        std::io::copy(&mut caller.take(1 << 20), &mut std::io::sink()).map(drop)
    }
}

/// An impostor at work. It answers until its socket is taken out of the way.
#[derive(Debug)]
pub struct Impostor {
    callers: Arc<AtomicUsize>,
}

impl Impostor {
    /// Takes the place of the socket at `path` inside the host, which must have gone.
    ///
    /// # Errors
    /// The socket can't be made.
    pub fn start(host: &Host, path: &str, manner: Manner) -> Result<Self> {
        let path = host.outside(path)?;
        let listener =
            UnixListener::bind(&path).with_context(|| format!("binding {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let callers = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&callers);
        thread::spawn(move || {
            while let Ok((caller, _)) = listener.accept() {
                count.fetch_add(1, Ordering::SeqCst);
                // A caller that gave up is what is waited for.
                thread::spawn(move || manner.answer(caller).ok());
            }
        });
        Ok(Self { callers })
    }

    /// How many have called.
    #[must_use]
    pub fn callers(&self) -> usize {
        self.callers.load(Ordering::SeqCst)
    }
}
