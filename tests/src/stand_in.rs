//! Something else than jit-server where hosts look for it: a server that is sick or hostile, under a certificate that they trust.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::{Authority, NOW};
use crate::fleet::Fleet;

const GIGABYTE: usize = 1 << 30;
const PART: usize = 64 * 1024;
/// Between the bytes of what is slow.
const PAUSE: Duration = Duration::from_secs(1);
/// How a stream of events begins.
const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const NO: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// How it treats a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Its certificate has expired.
    ExpiredCertificate,
    /// Its certificate is another server's.
    OtherName,
    /// It never says anything.
    SilentHandshake,
    /// TLS, a byte a second.
    SlowHandshake,
    /// The head of each answer, a byte a second.
    SlowHead,
    /// The body of each answer, a byte a second.
    SlowBody,
    /// A head of a gigabyte.
    EndlessHead,
    /// Each answer is at another place.
    Redirects,
    /// Each answer is that it failed.
    Fails,
    /// Each answer is compressed, a megabyte that was a gigabyte.
    Bomb,
    /// One bundle of a gigabyte.
    EndlessEvent,
    /// A line that is no field, of a gigabyte.
    EndlessLine,
    /// A gigabyte of comments.
    EndlessComments,
    /// A million keys that are none.
    ManyKeys,
    /// A web page in place of the stream.
    WrongType,
    /// A bundle that is not UTF-8.
    NotText,
    /// A bundle of NUL.
    Nul,
    /// A bundle whose revision is none.
    BadRevision,
    /// Half a bundle, and the connection is cut.
    HalfABundle,
}

/// A stand-in at work, at the server's address. Dropped, it is gone with all its connections.
#[derive(Debug)]
pub struct StandIn {
    listener: TcpListener,
    open: Open,
    accepting: Option<JoinHandle<()>>,
}

type Open = Arc<Mutex<Vec<TcpStream>>>;

impl StandIn {
    /// Takes the place of the fleet's server, which must have gone. Hosts trust `authority`.
    ///
    /// # Errors
    /// The server's port is taken, or no certificate can be made.
    pub fn start(fleet: &Fleet, authority: &Authority, manner: Manner) -> Result<Self> {
        let (name, years) = match manner {
            Manner::ExpiredCertificate => ("server", [2020, 2021]),
            Manner::OtherName => ("elsewhere", NOW),
            _ => ("server", NOW),
        };
        let issued = authority.issue(name, years)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(
                    issued.certificate.as_bytes(),
                )?],
                PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?,
            )?;
        let host = Arc::new(Hosting {
            manner,
            config: Arc::new(config),
            bomb: if manner == Manner::Bomb {
                bomb()?
            } else {
                Vec::new()
            },
        });
        let listener = fleet.network.listen("server", 7443)?;
        let open = Open::default();
        let (accepted, all) = (listener.try_clone()?, Arc::clone(&open));
        let accepting = thread::spawn(move || {
            while let Ok((socket, _)) = accepted.accept() {
                let Ok(copy) = socket.try_clone() else { return };
                all.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(copy);
                let host = Arc::clone(&host);
                // A host that hangs up is what is waited for.
                thread::spawn(move || host.serve(socket).ok());
            }
        });
        Ok(Self {
            listener,
            open,
            accepting: Some(accepting),
        })
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // Wakes whoever accepts.
        socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both).ok();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok();
        }
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in open.iter() {
            socket.shutdown(Shutdown::Both).ok();
        }
    }
}

/// A gigabyte of zeros as gzip has it.
fn bomb() -> Result<Vec<u8>> {
    let script = format!("head -c {GIGABYTE} /dev/zero | gzip -1");
    let made = Command::new("sh").args(["-c", &script]).output()?;
    ensure!(made.status.success(), "no bomb: {}", made.status);
    Ok(made.stdout)
}

struct Hosting {
    manner: Manner,
    config: Arc<ServerConfig>,
    bomb: Vec<u8>,
}

impl Hosting {
    fn serve(&self, mut socket: TcpStream) -> Result<()> {
        match self.manner {
            Manner::SilentHandshake => {
                io::copy(&mut socket, &mut io::sink())?;
                return Ok(());
            }
            // A record of 16 KiB of handshake.
            Manner::SlowHandshake => {
                slowly(
                    &mut socket,
                    &[b"\x16\x03\x03\x40\x00", &[0; 64][..]].concat(),
                )?;
                return Ok(());
            }
            _ => {}
        }
        let connection = ServerConnection::new(Arc::clone(&self.config))?;
        let mut tls = StreamOwned::new(connection, socket);
        let asked = head(&mut tls)?;
        let for_bundles = asked.contains("/v1/host/stream") || asked.contains("/v1/host/bundle");
        self.answer(&mut tls, for_bundles)?;
        if self.manner == Manner::HalfABundle {
            // Without a word of TLS's that it ends.
            tls.sock.shutdown(Shutdown::Both)?;
            return Ok(());
        }
        tls.conn.send_close_notify();
        Ok(tls.flush()?)
    }

    /// Those that ask for bundles are told what is wrong with them, others that the server fails.
    fn answer(&self, to: &mut impl Write, for_bundles: bool) -> io::Result<()> {
        match self.manner {
            Manner::SlowHead => return slowly(to, STREAM),
            Manner::SlowBody => {
                to.write_all(STREAM)?;
                return slowly(to, &[b'x'; 200]);
            }
            Manner::EndlessHead => {
                to.write_all(b"HTTP/1.1 200 OK\r\n")?;
                return endlessly(to, b"a: b\r\n");
            }
            Manner::Redirects => {
                return to.write_all(b"HTTP/1.1 307 Elsewhere\r\nlocation: https://web1:7443/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
            Manner::Bomb => {
                to.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n")?;
                return to.write_all(&self.bomb);
            }
            _ if !for_bundles => return to.write_all(NO),
            _ => {}
        }
        match self.manner {
            Manner::Fails => return to.write_all(NO),
            Manner::WrongType => {
                return to.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<title>Log in to continue</title>");
            }
            _ => to.write_all(STREAM)?,
        }
        match self.manner {
            Manner::EndlessEvent => {
                to.write_all(b"event: bundle\nid: 9999999999999\ndata: ")?;
                endlessly(to, b"A")
            }
            Manner::EndlessLine => endlessly(to, b"A"),
            Manner::EndlessComments => endlessly(to, b": alive\n\n"),
            Manner::ManyKeys => {
                to.write_all(b"event: keys\n")?;
                let lines = b"data:\n".repeat(1 << 20);
                to.write_all(&lines)?;
                to.write_all(b"\n")
            }
            Manner::NotText => to.write_all(b"event: bundle\nid: 9999999999999\ndata: \xff\n\n"),
            Manner::Nul => to.write_all(b"event: bundle\nid: 9999999999999\ndata: \0\0\0\0\n\n"),
            Manner::BadRevision => to.write_all(b"event: bundle\nid: -1\ndata: a.b.c\n\n"),
            _ => {
                to.write_all(
                    b"event: bundle\nid: 9999999999999\ndata: eyJhbGciOiJFZERTQSIsInR5cCI",
                )?;
                to.flush()
            }
        }
    }
}

/// What a request begins with, up to the end of its head.
fn head(from: &mut impl Read) -> Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < PART, "a head without end");
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    String::from_utf8(head).context("a head that is no text")
}

fn slowly(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes.chunks(1) {
        to.write_all(byte)?;
        to.flush()?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// A gigabyte of it, or what is taken.
fn endlessly(to: &mut impl Write, text: &[u8]) -> io::Result<()> {
    let part = text.repeat(PART / text.len());
    for _ in 0..GIGABYTE / part.len() {
        to.write_all(&part)?;
    }
    Ok(())
}
