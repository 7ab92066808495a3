//! Servers elsewhere, as a test plays them: whom this host listens to, and in what order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const WORD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{\"word\":\"w\"}";

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer() -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    Issuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate for `name` that counts between these years. It gives every connection the same answer.
async fn serve(issuer: &Issuer, name: &str, years: [i32; 2], answer: &'static [u8]) -> SocketAddr {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years[0], 1, 1);
    params.not_after = rcgen::date_time_ymd(years[1], 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

fn server(pinned: &Issuer, addresses: &[String]) -> Server {
    Server::at(&Place::elsewhere(addresses, &pinned.pem())).unwrap()
}

fn url(address: SocketAddr) -> String {
    format!("https://localhost:{}", address.port())
}

async fn why(server: &Server) -> String {
    server
        .word("token", "nonce", None)
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn only_what_the_pinned_authority_vouches_for_is_listened_to() {
    let (ours, other) = (issuer(), issuer());
    let word = WORD.as_bytes();
    let right = serve(&ours, "localhost", [2020, 4000], word).await;
    let answer = server(&ours, &[url(right)])
        .word("token", "nonce", None)
        .await;
    assert_eq!(answer.unwrap(), "w");
    for (issuer, name, years, said) in [
        (
            &other,
            "localhost",
            [2020, 4000],
            "no authority that this host has pinned",
        ),
        (
            &ours,
            "jit.example",
            [2020, 4000],
            "not valid for name \"localhost\"",
        ),
        (&ours, "localhost", [2020, 2021], "expired"),
        (&ours, "localhost", [3999, 4000], "clock is wrong"),
    ] {
        let address = serve(issuer, name, years, word).await;
        let why = why(&server(&ours, &[url(address)])).await;
        assert!(why.contains("its certificate is refused"), "{why}");
        assert!(why.contains(said), "{why}");
    }
}

#[tokio::test]
async fn one_place_after_the_other_is_tried_until_one_answers() {
    let ours = issuer();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = nobody.local_addr().unwrap();
    drop(nobody);
    let wrong = serve(&ours, "jit.example", [2020, 4000], WORD.as_bytes()).await;
    let right = serve(&ours, "localhost", [2020, 4000], WORD.as_bytes()).await;
    let server = server(&ours, &[url(closed), url(wrong), url(right)]);
    assert!(why(&server).await.contains("not reached"));
    assert!(why(&server).await.contains("certificate is refused"));
    for _ in 0..2 {
        assert_eq!(server.word("token", "nonce", None).await.unwrap(), "w");
    }
}

/// A balancer with no server behind it answers, and is none the less no server.
#[tokio::test]
async fn a_place_that_fails_or_talks_nonsense_makes_way_for_the_next() {
    let ours = issuer();
    for answer in [
        &b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
    ] {
        let fails = serve(&ours, "localhost", [2020, 4000], answer).await;
        let right = serve(&ours, "localhost", [2020, 4000], WORD.as_bytes()).await;
        let server = server(&ours, &[url(fails), url(right)]);
        assert!(server.word("token", "nonce", None).await.is_err());
        assert_eq!(server.word("token", "nonce", None).await.unwrap(), "w");
    }
}

#[tokio::test]
async fn nonsense_over_tls_is_refused_within_bounds() {
    let ours = issuer();
    let redirect =
        b"HTTP/1.1 307 Elsewhere\r\nlocation: https://127.0.0.1/\r\ncontent-length: 0\r\n\r\n";
    let endless: &'static [u8] = Box::leak(
        [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'x'; 1 << 20]]
            .concat()
            .into_boxed_slice(),
    );
    let headers: &'static [u8] = Box::leak(
        [b"HTTP/1.1 200 OK\r\na: ".as_slice(), &vec![b'x'; 1 << 20]]
            .concat()
            .into_boxed_slice(),
    );
    for answer in [
        b"rubbish\r\n\r\n".as_slice(),
        redirect,
        endless,
        headers,
        b"",
    ] {
        let address = serve(&ours, "localhost", [2020, 4000], answer).await;
        let server = server(&ours, &[url(address)]);
        let answered =
            tokio::time::timeout(Duration::from_secs(10), server.word("t", "n", None)).await;
        assert!(answered.unwrap().is_err());
    }
}

/// A stream that says this, a byte a second.
fn slow(said: &'static str) -> Stream {
    let bytes = futures_util::stream::unfold(said.bytes(), |mut rest| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, std::io::Error>(vec![rest.next()?]), rest))
    });
    let response = axum::http::Response::new(reqwest::Body::wrap_stream(bytes));
    Stream::of(response.into(), Duration::from_secs(45))
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_byte_by_byte_is_waited_for_in_bounds() {
    let began = Instant::now();
    let mut never = slow(Box::leak("x".repeat(1000).into_boxed_str()));
    let error = loop {
        if let Err(error) = never.next().await {
            break error;
        }
    };
    assert!(matches!(error, SyncError::Slow(EVENT_TIME)), "{error}");
    assert!(began.elapsed() <= EVENT_TIME + Duration::from_secs(2));
    // What is whole in time may come as slowly, and as often, as it likes.
    let mut lives = slow(Box::leak(": alive\n\n".repeat(50).into_boxed_str()));
    for _ in 0..450 {
        assert!(lives.next().await.unwrap().is_none());
    }
    assert!(matches!(lives.next().await, Err(SyncError::Closed)));
    let mut bundle = slow("event: bundle\nid: 7\ndata: a.b.c\n\n");
    let event = loop {
        if let Some(event) = bundle.next().await.unwrap() {
            break event;
        }
    };
    assert_eq!((event.id.as_str(), event.data.as_str()), ("7", "a.b.c"));
}

#[test]
fn the_largest_bundle_that_a_host_takes_fits_an_event() {
    let around = "event: bundle\nid: 18446744073709551615\ndata: \n\n".len();
    assert!(EVENT_BYTES >= jit_grant::Bundle::MAX_BYTES + around);
}

#[test]
fn a_refusal_is_quoted_short_and_harmless() {
    let SyncError::Refused { detail, .. } = refused(
        StatusCode::FORBIDDEN,
        "{\"detail\":\"no\\u001b[2Jhost\u{202e}\"}".as_bytes(),
    ) else {
        panic!()
    };
    assert_eq!(detail, "no\\u{1b}[2Jhost\\u{202e}");
    let SyncError::Refused { detail, .. } = refused(StatusCode::BAD_GATEWAY, &[b'x'; 5000]) else {
        panic!()
    };
    assert_eq!(detail.len(), 200);
}
