//! A connection to its end, also where the server is told to stop in its midst.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use tokio::sync::watch;
use tokio::time::timeout;
use tower_service::Service;

/// When stopping, whoever has just connected has so long to call: his call may be on its way already.
const FIRST_CALL: Duration = Duration::from_secs(1);

/// Answers the calls that come on `stream`, each with what `known` puts into it. Told to stop, it answers what is under way, and the first
/// call of a new connection, and closes then.
pub(crate) async fn serve(
    server: &Builder,
    stream: impl Read + Write + Unpin + 'static,
    router: Router,
    known: impl Fn(&mut Request<Body>),
    mut stopping: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let called = Arc::new(watch::Sender::new(false));
    let mut was_called = called.subscribe();
    let service = service_fn(move |request: Request<Incoming>| {
        called.send_replace(true);
        let mut request = request.map(Body::new);
        known(&mut request);
        router.clone().call(request)
    });
    let mut connection = pin!(server.serve_connection(stream, service));
    let told = async {
        // The senders live as long as the server and the connection.
        let _ = stopping.wait_for(|stopping| *stopping).await;
        let _ = timeout(FIRST_CALL, was_called.wait_for(|called| *called)).await;
    };
    tokio::select! {
        ended = poll_fn(|context| connection.as_mut().poll(context)) => return ended,
        () = told => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
