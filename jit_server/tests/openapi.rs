//! The document says what the server does.

mod common;

use common::{Running, read};
use hyper::Method;
use hyper::body::Bytes;

#[tokio::test]
async fn every_operation_of_the_document_is_answered_and_no_other_method() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let root = running.as_("root");
    let document = root.get("/v1/openapi.json").await.is(200);
    for (path, item) in document["paths"].as_object().unwrap() {
        let concrete = path.replace("{id}", if path.contains("grants") { "g1" } else { "r1" });
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
        ] {
            let described = item.get(method.as_str().to_lowercase()).is_some();
            let answer = read(
                root.send(method.clone(), &concrete, &[], Bytes::from("{}"))
                    .await,
            )
            .await;
            let routed = answer.status != 405
                && answer.body["detail"]
                    .as_str()
                    .is_none_or(|why| !why.starts_with("there is no /"));
            assert_eq!(routed, described, "{method} {path}: {answer:?}");
        }
    }
}
