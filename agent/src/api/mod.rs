//! The query API over HTTP, and the web page that asks it. It reads and changes nothing. Who may ask is [`guard`]'s affair; what is
//! answered, [`answers`]'.

pub(crate) mod answers;
mod ask;
mod guard;
mod jaeger;
mod live;
pub(crate) mod mcp;
mod page;
pub(crate) mod query;
mod shared;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderValue, Response, StatusCode, Uri, header, uri::PathAndQuery},
    middleware,
    routing::{any, get},
};
use parking_lot::Mutex;
use serde::Serialize;

use self::{answers::Problem, guard::Access, query::Query};
use crate::{
    export::{MetricSource, Pages},
    store::Store,
};

/// A handler for a question without a path. It is answered on a thread that may take its time.
macro_rules! ask_query {
    ($ask:path) => {
        |State(api): State<Arc<Api>>, RawQuery(query): RawQuery| async move {
            answer(move || $ask(&api, &Query::of(query.as_deref()))).await
        }
    };
}
/// The same for one that ends in a name.
macro_rules! ask_path {
    ($ask:path) => {
        |State(api): State<Arc<Api>>, last: Last, RawQuery(query): RawQuery| async move {
            answer(move || $ask(&api, &named(last)?, &Query::of(query.as_deref()))).await
        }
    };
}

/// The same for what is of the metrics: whoever asks the same before these are taken again has the same answer.
macro_rules! ask_shared {
    ($ask:path) => {
        |State(api): State<Arc<Api>>, asked: Uri| async move {
            shared_answer(api, asked, |api, asked| $ask(api, &Query::of(asked.query()))).await
        }
    };
}
/// The same for one that ends in a name.
macro_rules! ask_path_shared {
    ($ask:path) => {
        |State(api): State<Arc<Api>>, last: Last, asked: Uri| async move {
            shared_answer(api, asked, move |api, asked| $ask(api, &named(last)?, &Query::of(asked.query()))).await
        }
    };
}

/// How often the metrics of requests are taken, at least, while somebody asks; and while nobody does.
const FRESH: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(10);
/// The same where it goes to the disk: what is lost where the agent is killed.
const EVERY_ON_DISK: Duration = Duration::from_secs(5);
/// Taking them takes at most one part in so many of the time.
const SHARE: u32 = 200;
/// The same for somebody who counts, which is done twice and not all the time.
const COUNT_SHARE: u32 = 10;

/// Takes what the metrics of requests say into the store, when it is asked for and every ten seconds.
pub(crate) struct Collector {
    store: Arc<Store>,
    source: Arc<dyn MetricSource>,
    /// When that was done last, and how long it took.
    last: Mutex<(Option<Instant>, Duration)>,
}

impl Collector {
    /// Requests are counted from now on.
    pub(crate) fn new(store: Arc<Store>, source: Arc<dyn MetricSource>) -> Self {
        store.start_at(unix_ns());
        Self { store, source, last: Mutex::new((None, Duration::ZERO)) }
    }

    /// Does it every ten seconds, or five where what is taken goes to the disk, until nobody asks the store any more.
    pub(crate) async fn run(self: Arc<Self>) {
        let every = if self.store.disk_stats().is_some() { EVERY_ON_DISK } else { EVERY };
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let collector = Arc::clone(&self);
            // A series of thousands takes some ms.
            let _done = tokio::task::spawn_blocking(move || {
                collector.collect(every / 2);
                collector.store.flush();
            })
            .await
            .is_ok();
        }
    }

    /// Does it for somebody who asks: from now on durations are told as exactly as native histograms have them.
    fn collect_for_answer(&self) {
        self.source.keep_native_histograms(unix_ns());
        self.collect(FRESH);
    }

    /// The same for somebody who counts what comes between two looks: of now, as nearly as it costs little.
    fn collect_for_count(&self) {
        self.source.keep_native_histograms(unix_ns());
        self.collect_at(FRESH / 5, COUNT_SHARE);
    }

    /// Until when what was taken last is as new as who asks expects.
    fn good_until(&self) -> Instant {
        let (last, now) = (*self.last.lock(), Instant::now());
        let every = FRESH.max((last.1 * SHARE).min(EVERY));
        (last.0.unwrap_or(now) + every).min(now + FRESH)
    }

    /// Does it whatever was done before.
    pub(crate) fn collect_now(&self) {
        self.collect_at(Duration::ZERO, 0);
    }

    /// Does it, unless that was done in the time given, or takes long.
    fn collect(&self, within: Duration) {
        self.collect_at(within, SHARE);
    }

    fn collect_at(&self, within: Duration, share: u32) {
        let mut last = self.last.lock();
        let within = within.max((last.1 * share).min(EVERY));
        if last.0.is_some_and(|at| at.elapsed() < within) {
            return;
        }
        let started = Instant::now();
        let now = unix_ns();
        self.store.take(&self.source.collect(now), now);
        *last = (Some(started), started.elapsed());
    }
}

pub(crate) use self::{answers::Loss, ask::losses_of};
pub(crate) use crate::telemetry::clock::unix_ns;

/// What the pages are made of.
pub(crate) struct Parts {
    pub(crate) store: Arc<Store>,
    pub(crate) collector: Arc<Collector>,
    /// Processes that are watched. It may take a moment.
    pub(crate) processes: Arc<dyn Fn() -> Vec<answers::Process> + Send + Sync>,
    /// What who asks has to say.
    pub(crate) token: Option<String>,
    pub(crate) listen: Vec<SocketAddr>,
}

/// What handlers share.
struct Api {
    store: Arc<Store>,
    collector: Arc<Collector>,
    processes: Arc<dyn Fn() -> Vec<answers::Process> + Send + Sync>,
    /// The last answer, since each takes a look at all processes.
    processes_then: Mutex<Option<(Instant, Vec<answers::Process>)>>,
    of_itself: Vec<Arc<dyn MetricSource>>,
    streams: Arc<tokio::sync::Semaphore>,
    /// What pages that are open ask again and again.
    shared: shared::Answers,
    looks: shared::Looks,
}

/// The pages, for each address that is listened on.
pub(crate) fn pages(parts: Parts, of_itself: Vec<Arc<dyn MetricSource>>) -> Pages {
    let Parts { store, collector, processes, token, listen } = parts;
    let streams = Arc::new(tokio::sync::Semaphore::new(live::STREAMS_MAX));
    let processes_then = Mutex::default();
    let (shared, looks) = Default::default();
    let api = Arc::new(Api { store, collector, processes, processes_then, of_itself, streams, shared, looks });
    let token = token.map(Arc::<str>::from);
    listen.iter().map(|addr| routes(&api, Access::new(*addr, token.clone()))).collect()
}

/// Whether there is something of ours at a path.
pub(crate) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/mcp") || ["/api/", "/ui/"].iter().any(|folder| path.starts_with(folder))
}

fn routes(api: &Arc<Api>, access: Access) -> Router {
    let questions = Router::new()
        .route("/api/v1/services", get(ask_shared!(ask::services)))
        .route("/api/v1/services/{name}", get(ask_path_shared!(ask::service)))
        .route("/api/v1/counts", get(ask_query!(ask::counts)))
        .route("/api/v1/graph", get(ask_shared!(ask::graph)))
        .route("/api/v1/traces", get(ask_query!(ask::traces)))
        .route("/api/v1/traces/{trace_id}", get(ask_path!(ask::trace)))
        .route("/api/v1/spans", get(ask_query!(ask::spans)))
        .route("/api/v1/processes", get(ask_query!(ask::processes)))
        .route("/api/v1/agent", get(ask_query!(ask::agent)))
        .route("/api/v1/live", get(live::live))
        .route("/api/v3/services", get(ask_query!(jaeger::services)))
        .route("/api/v3/operations", get(ask_query!(jaeger::operations)))
        .route("/api/v3/traces", get(ask_query!(jaeger::find)))
        .route("/api/v3/traces/{trace_id}", get(ask_path!(jaeger::trace)))
        .route("/api/services", get(ask_query!(jaeger::old_services)))
        .route("/api/services/{name}/operations", get(ask_path!(jaeger::old_operations)))
        .route("/api/traces", get(ask_query!(jaeger::old_find)))
        .route("/api/traces/{trace_id}", get(ask_path!(jaeger::old_trace)))
        .route("/api/dependencies", get(ask_query!(jaeger::old_dependencies)))
        .route("/api/{*rest}", any(nothing_here))
        .with_state(Arc::clone(api));
    let questions = questions
        .clone()
        .merge(mcp::http::routes(questions))
        .layer(middleware::from_fn_with_state(Arc::new(access), guard::guard));
    page::routes().merge(questions).layer(middleware::map_response(guard::with_headers))
}

/// What is answered where there is no question of that name.
async fn nothing_here() -> Response<Body> {
    let error = "there is no such question: /api/v1/openapi.json has all of /api/v1; the page is at /".to_owned();
    json(StatusCode::NOT_FOUND, &Problem { error })
}

/// The name at the end of a path.
type Last = Result<Path<String>, PathRejection>;

fn named(last: Last) -> Answer<String> {
    last.map(|Path(name)| name).map_err(|_| wrong("the path is no UTF-8".to_owned()))
}

/// What a question is answered with.
type Answer<T> = Result<T, (StatusCode, String)>;

async fn answer<T: Serialize + Send + 'static>(ask: impl FnOnce() -> Answer<T> + Send + 'static) -> Response<Body> {
    answered(move || match ask() {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err((status, error)) => json(status, &Problem { error }),
    })
    .await
}

async fn shared_answer<T: Serialize>(
    api: Arc<Api>,
    asked: Uri,
    ask: impl FnOnce(&Api, &Uri) -> Answer<T> + Send + 'static,
) -> Response<Body> {
    // No thread is woken for what is there.
    let key = asked.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    if let Some(answer) = api.shared.ready(key) {
        return of_json(StatusCode::OK, answer);
    }
    answered(move || {
        let key = asked.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
        // Nothing in an answer fails to be written. It is good for as long as the metrics that it is of.
        let make = || {
            let answer = serde_json::to_vec(&ask(&api, &asked)?).unwrap_or_default();
            Ok((api.collector.good_until(), answer.into()))
        };
        match api.shared.get(key, make) {
            Ok(answer) => of_json(StatusCode::OK, answer),
            Err((status, error)) => json(status, &Problem { error }),
        }
    })
    .await
}

/// Answers on a thread that may take its time.
async fn answered(answer: impl FnOnce() -> Response<Body> + Send + 'static) -> Response<Body> {
    tokio::task::spawn_blocking(answer).await.unwrap_or_else(|_| {
        json(StatusCode::INTERNAL_SERVER_ERROR, &Problem { error: "the question could not be answered".to_owned() })
    })
}

fn json(status: StatusCode, answer: &impl Serialize) -> Response<Body> {
    // Nothing in an answer fails to be written.
    of_json(status, serde_json::to_vec(answer).unwrap_or_default().into())
}

fn of_json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn wrong(error: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, error)
}
