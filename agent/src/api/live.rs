//! Spans as they come, as server-sent events. A stream ends by itself after a while, before the server ends its connection; who
//! reads it goes on where it ended, and has missed nothing.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};

use super::{Api, answers::Problem, json, query::Query, shared};

/// Streams at once.
pub(super) const STREAMS_MAX: usize = 128;
/// How long a stream lasts.
const LASTS: Duration = Duration::from_secs(15);
/// After so long without spans an empty event shows that the stream is alive.
const ALIVE: Duration = Duration::from_secs(5);

/// `GET /api/v1/live`.
pub(super) async fn live(State(api): State<Arc<Api>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response<Body> {
    let query = Query::of(query.as_deref());
    let filter = match query.only_spans(&["after"]).and_then(|()| query.filter()) {
        Ok(filter) => filter,
        Err(error) => return json(StatusCode::BAD_REQUEST, &Problem { error }),
    };
    let Ok(permit) = Arc::clone(&api.streams).try_acquire_owned() else {
        let error = "there are too many streams already".to_owned();
        return json(StatusCode::SERVICE_UNAVAILABLE, &Problem { error });
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).or_else(|| query.get("after"));
    let newest = api.store.next();
    let next = last.and_then(|id| id.parse::<u64>().ok()).map_or(newest, |next| next.min(newest));
    let state = (next, Instant::now(), Instant::now(), permit);
    let asked: Arc<(String, _)> = Arc::new((format!("{filter:?}"), filter));
    let events = futures_util::stream::unfold(state, move |(mut next, started, mut told, permit)| {
        let (api, asked) = (Arc::clone(&api), Arc::clone(&asked));
        async move {
            loop {
                if started.elapsed() > LASTS {
                    return None;
                }
                let (text, filter) = &*asked;
                let round = api.looks.round();
                let (behind, event) = api.looks.event(&api.store, round, text, filter, next);
                next = behind;
                let alive = || (told.elapsed() > ALIVE).then(|| shared::text_of(&api.store, Vec::new(), 0, next));
                if let Some(event) = event.or_else(alive) {
                    told = Instant::now();
                    return Some((Ok::<_, Infallible>(event), (next, started, told, permit)));
                }
                tokio::time::sleep_until(api.looks.end_of(round).into()).await;
            }
        }
    });
    // Said at once, so that who reads knows that it is there.
    let hello = futures_util::stream::once(std::future::ready(Ok(Bytes::from_static(b": live\n\n"))));
    let mut response = Response::new(Body::from_stream(futures_util::StreamExt::chain(hello, events)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}
