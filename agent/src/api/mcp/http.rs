//! The protocol's "Streamable HTTP" at `/mcp`, without streams and sessions: each message is a `POST`, answered at once. Who may ask is
//! asked of who asks the query API, by the same layer.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header},
    routing::post,
};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value as Json, json};
use thiserror::Error;
use tower_service::Service as _;

use super::{MESSAGE_MAX, REVISIONS, answer};
use crate::api::{answers::Problem, json};

/// Most bytes of an answer of the query API, which is made far smaller.
const ASKED_MAX: usize = 64 << 20;

/// The path; `questions` answers what the tools ask.
pub(in crate::api) fn routes(questions: Router) -> Router {
    Router::new().route("/mcp", post(take)).layer(DefaultBodyLimit::max(MESSAGE_MAX)).with_state(questions)
}

async fn take(State(questions): State<Router>, headers: HeaderMap, message: Bytes) -> Response<Body> {
    if let Some((status, error)) = objection(&headers) {
        return json(status, &json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": error } }));
    }
    match answer(&message, |path| ask(questions, path)).await {
        Some(answer) => json(StatusCode::OK, &answer),
        None => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::ACCEPTED;
            response
        }
    }
}

fn objection(headers: &HeaderMap) -> Option<(StatusCode, String)> {
    let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Pages of other sites can send texts and forms, but no JSON, without being asked whether they may.
    let is_json = get("content-type")
        .is_some_and(|it| it.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type is application/json".to_owned()));
    }
    if let Some(origin) = headers.get(header::ORIGIN)
        && !is_own(origin, headers.get(header::HOST))
    {
        return Some((StatusCode::FORBIDDEN, "pages of other sites get no answer".to_owned()));
    }
    let revision = get("mcp-protocol-version")?;
    (!REVISIONS.contains(&revision))
        .then(|| (StatusCode::BAD_REQUEST, format!("MCP-Protocol-Version: {} are spoken", REVISIONS.join(" and "))))
}

/// Whether a page comes from here.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    origin.is_some() && origin == host.and_then(|host| host.to_str().ok())
}

/// Asks as a client would, without a connection.
async fn ask(mut questions: Router, path: String) -> Result<Json, AskError> {
    let request = Request::get(path).body(Body::empty())?;
    let Ok(response) = questions.call(request).await;
    let is_answer = response.status().is_success();
    let body = Limited::new(response.into_body(), ASKED_MAX).collect().await.map_err(AskError::Body)?;
    let body = body.to_bytes();
    if is_answer {
        return Ok(serde_json::from_slice(&body)?);
    }
    Err(serde_json::from_slice::<Problem>(&body).map_or(AskError::NotUnderstood, |it| AskError::Refused(it.error)))
}

/// Why the query API gave no answer.
#[derive(Debug, Error)]
enum AskError {
    #[error(transparent)]
    Path(#[from] http::Error),
    #[error(transparent)]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the question was not understood")]
    NotUnderstood,
}
