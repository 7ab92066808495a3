//! An answer begins in time, or the caller is told that it does not.

use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::Problem;

/// No answer takes longer to begin; a long poll waits 60 s at most.
const LONGEST_ANSWER: Duration = Duration::from_secs(90);

/// Gives up a call whose answer does not begin. What it has begun to record goes on to its end.
pub(super) async fn answer(request: Request, next: Next) -> Response {
    let answer = timeout(LONGEST_ANSWER, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "jit-server took longer than 90 s; what was asked may be done or not: look, or send the call again with the same Idempotency-Key",
        )
        .code("too-slow")
        .into_response()
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::body::{Body, to_bytes};
    use axum::http::header::CONTENT_TYPE;
    use axum::routing::get;
    use axum::{Router, middleware};
    use serde_json::Value;
    use tower_service::Service;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_an_answer_that_does_not_begin_is_told_so_in_the_form_of_any_refusal()
    {
        let mut router: Router = Router::new()
            .route("/", get(pending::<()>))
            .layer(middleware::from_fn(answer));
        let response = router.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = to_bytes(response.into_body(), 4_096).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "too-slow");
    }
}
