//! Calls of a real receiver, on the loopback address.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::webhooks::files::Files;
use crate::webhooks::settings;

const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
];

/// What a receiver got.
#[derive(Debug, Clone)]
struct Got {
    id: String,
    timestamp: String,
    signature: String,
    body: Vec<u8>,
}

impl Got {
    /// Checks it as a receiver does, with code that has nothing to do with the sender's: HMAC as RFC 2104 has it.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(&secret["whsec_".len()..]).unwrap();
        let pad = |with: u8| {
            let mut block = [with; 64];
            key.iter().zip(&mut block).for_each(|(key, at)| *at ^= key);
            block
        };
        let signed = [
            self.id.as_bytes(),
            b".",
            self.timestamp.as_bytes(),
            b".",
            &self.body,
        ]
        .concat();
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(signed);
        let outer = Sha256::new()
            .chain_update(pad(0x5c))
            .chain_update(inner.finalize());
        let wanted = format!("v1,{}", STANDARD.encode(outer.finalize()));
        self.signature.split(' ').any(|one| one == wanted)
    }
}

/// How a receiver answers.
#[derive(Debug, Clone, Copy)]
enum Behaviour {
    Status(u16),
    Hangs,
    Gigabyte,
    RedirectsTo(SocketAddr),
}

type Answered = Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

fn status(status: u16) -> Answered {
    let mut response = Response::new(Full::new(Bytes::from("thanks")).boxed());
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    response
}

impl Behaviour {
    async fn answer(self) -> Answered {
        match self {
            Self::Status(code) => status(code),
            Self::Hangs => std::future::pending().await,
            Self::Gigabyte => {
                let piece = Bytes::from(vec![b'x'; 1024 * 1024]);
                let pieces = (0..1024).map(move |_| Ok(Frame::data(piece.clone())));
                Response::new(BodyExt::boxed(StreamBody::new(stream::iter(pieces))))
            }
            Self::RedirectsTo(there) => {
                let mut response = status(308);
                let there = format!("http://{there}/").parse().unwrap();
                response.headers_mut().insert("location", there);
                response
            }
        }
    }
}

/// A receiver that answers so, and what it gets.
async fn receiver(behaviour: Behaviour) -> (SocketAddr, mpsc::UnboundedReceiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (got, gotten) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let got = got.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let got = got.clone();
                async move {
                    let header = |name: &str| {
                        let value = request.headers().get(name);
                        value.map(|value| value.to_str().unwrap().to_owned())
                    };
                    let [id, timestamp, signature] = ["id", "timestamp", "signature"]
                        .map(|name| header(&format!("webhook-{name}")));
                    assert_eq!(header("content-type").as_deref(), Some("application/json"));
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let _ = got.send(Got {
                        id: id.unwrap(),
                        timestamp: timestamp.unwrap(),
                        signature: signature.unwrap(),
                        body: body.to_vec(),
                    });
                    Ok::<_, Infallible>(behaviour.answer().await)
                }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, gotten)
}

/// The endpoint at `address`.
fn caller(address: SocketAddr) -> HttpReceiver {
    endpoint(&format!("http://{address}/"), None)
}

/// An endpoint with both secrets; only `ca` vouches for it where that is given.
fn endpoint(url: &str, ca: Option<&str>) -> HttpReceiver {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in ["a", "b"]
        .iter()
        .zip(SECRETS)
        .chain([(&"ca", ca.unwrap_or_default())])
    {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let files = Files {
        credentials: None,
        secrets: folder.path().to_owned(),
    };
    let mut text = format!(
        "[[endpoint]]\nname = \"a\"\nurl = {url:?}\nsecret_file = [\"a\", \"b\"]\nevents = [\"alarm\"]\n"
    );
    if ca.is_some() {
        text.push_str(&format!("ca = {:?}\n", folder.path().join("ca")));
    }
    let endpoints = settings::check_text("webhooks.toml", &text, &files).unwrap();
    HttpReceiver::of(&endpoints[0]).unwrap()
}

fn message() -> Message {
    let at = "2026-11-22T12:00:00Z";
    serde_json::from_value(serde_json::json!({
        "id": "msg_a_1_2", "type": "released", "timestamp": at, "data": { "seq": 1, "kind": "released" },
    }))
    .unwrap()
}

fn now() -> Timestamp {
    "2026-11-22T12:00:05Z".parse().unwrap()
}

#[tokio::test]
async fn a_receiver_that_has_either_secret_believes_it_and_no_other_body_or_time() {
    let (address, mut gotten) = receiver(Behaviour::Status(204)).await;
    let answer = caller(address).send(&message(), now()).await;
    assert_eq!(answer, Answer::Taken);
    let got = gotten.recv().await.unwrap();
    assert_eq!(
        (got.id.as_str(), got.timestamp.as_str()),
        ("msg_a_1_2", "1795348805")
    );
    assert!(SECRETS.iter().all(|secret| got.is_signed_with(secret)));
    let mut forged = got.clone();
    forged.timestamp = "1795348806".to_owned();
    assert!(!forged.is_signed_with(SECRETS[0]));
    let mut forged = got.clone();
    forged.body.push(b' ');
    assert!(!forged.is_signed_with(SECRETS[0]));
    let body: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(body["type"], "released");
}

#[tokio::test]
async fn two_hundreds_are_success_410_is_the_end_and_anything_else_is_not() {
    for (status, wanted) in [
        (200, Some(Answer::Taken)),
        (299, Some(Answer::Taken)),
        (410, Some(Answer::Gone)),
    ] {
        let (address, _gotten) = receiver(Behaviour::Status(status)).await;
        let answer = caller(address).send(&message(), now()).await;
        assert_eq!(Some(answer), wanted, "{status}");
    }
    for status in [304, 400, 404, 429, 500, 503] {
        let (address, _gotten) = receiver(Behaviour::Status(status)).await;
        let answer = caller(address).send(&message(), now()).await;
        assert!(matches!(answer, Answer::Failed(_)), "{status}");
    }
}

#[tokio::test]
async fn nothing_is_sent_to_where_a_receiver_redirects() {
    let (there, mut stray) = receiver(Behaviour::Status(200)).await;
    let (address, _gotten) = receiver(Behaviour::RedirectsTo(there)).await;
    let answer = caller(address).send(&message(), now()).await;
    assert!(matches!(answer, Answer::Failed(why) if why.contains("redirects")));
    assert!(stray.try_recv().is_err());
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up_in_time() {
    let (address, mut gotten) = receiver(Behaviour::Hangs).await;
    let caller = caller(address).patient_for(Duration::from_millis(200));
    let answer = caller.send(&message(), now()).await;
    assert!(matches!(answer, Answer::Failed(why) if why.contains("no answer within 0.2 s")));
    assert!(gotten.recv().await.is_some(), "it had been called");
}

#[tokio::test]
async fn a_gigabyte_of_an_answer_is_not_read() {
    let (address, _gotten) = receiver(Behaviour::Gigabyte).await;
    let caller = caller(address).patient_for(Duration::from_secs(5));
    let message = message();
    let answer = tokio::time::timeout(Duration::from_secs(2), caller.send(&message, now()));
    assert_eq!(answer.await.unwrap(), Answer::Taken);
}

#[tokio::test]
async fn nobody_listening_is_told_in_a_word_without_the_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let answer = caller(address).send(&message(), now()).await;
    let Answer::Failed(why) = answer else {
        panic!("{answer:?}");
    };
    assert!(why.contains("refused") && !why.contains("http"), "{why}");
}

/// A receiver with TLS, called localhost, and the one certificate that vouches for it.
async fn tls_receiver() -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A caller who does not believe the certificate goes away here.
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let service = service_fn(|_| async { Ok::<_, Infallible>(status(200)) });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, made.cert.pem())
}

#[tokio::test]
async fn a_pinned_authority_vouches_alone() {
    let (address, ca) = tls_receiver().await;
    let (_, other) = tls_receiver().await;
    let url = format!("https://localhost:{}/", address.port());
    let call = async |ca: Option<&str>| endpoint(&url, ca).send(&message(), now()).await;
    assert_eq!(call(Some(&ca)).await, Answer::Taken);
    for wrong in [None, Some(other.as_str())] {
        let answer = call(wrong).await;
        let Answer::Failed(why) = answer else {
            panic!("{answer:?}");
        };
        assert!(why.to_lowercase().contains("certificate"), "{why}");
    }
}
