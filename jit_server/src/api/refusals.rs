//! How any call may be refused, whatever it is about: each operation of the document has these beside its own answers.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::{Content, OpenApi, Ref, ResponseBuilder};

/// Of every call.
const ANY: &[(&str, &str)] = &[
    ("429", "too many calls, or too many connections"),
    (
        "503",
        "the server is stopping, can't keep a record, or was too slow",
    ),
];

/// Of those that need a caller.
const KNOWN: &[(&str, &str)] = &[
    (
        "400",
        "it makes no sense, or lacks the header Jit-Client: NAME/VERSION",
    ),
    ("401", "over the network: no token, or none that counts"),
    ("403", "not for this caller"),
];

/// Of those with a body.
const WITH_BODY: &[(&str, &str)] = &[
    ("408", "the body came too slowly"),
    ("413", "the body is too large"),
    ("415", "the body is not application/json"),
    ("422", "the body is not what was asked for"),
];

/// Adds them where an operation does not say more of that status itself.
pub(super) fn describe(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            add(operation, ANY);
            if path.starts_with("/v1/") && path != "/v1/openapi.json" {
                add(operation, KNOWN);
            }
            if operation.request_body.is_some() {
                add(operation, WITH_BODY);
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.post,
        &mut item.put,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

pub(super) fn add(operation: &mut Operation, refusals: &[(&str, &str)]) {
    for (status, why) in refusals {
        let responses = &mut operation.responses.responses;
        responses.entry((*status).to_owned()).or_insert_with(|| {
            let problem = Content::new(Some(Ref::from_schema_name("Problem")));
            let mut response = ResponseBuilder::new()
                .description(*why)
                .content("application/problem+json", problem);
            if *status == "429" {
                let seconds = HeaderBuilder::new()
                    .schema(Some(Object::with_type(Type::Integer)))
                    .description(Some("seconds until it is worth to call again"));
                response = response.header("Retry-After", seconds.build());
            }
            response.build().into()
        });
    }
}
