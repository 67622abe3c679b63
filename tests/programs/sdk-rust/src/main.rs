//! A service whose own code uses OpenTelemetry's SDK, around its server (axum) and its client (reqwest); asks the next one, if it is
//! given its port, twice for each request that it gets.

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use opentelemetry::{
    Context, KeyValue, global,
    trace::{FutureExt as _, SpanKind, TraceContextExt as _, Tracer as _},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tokio::net::TcpListener;

#[derive(Clone)]
struct Shop {
    client: reqwest::Client,
    next: Option<String>,
}

fn main() {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build().expect("an exporter");
    global::set_tracer_provider(SdkTracerProvider::builder().with_batch_exporter(exporter).build());
    tokio::runtime::Runtime::new().expect("a runtime").block_on(serve());
}

async fn serve() {
    let shop = Shop { client: reqwest::Client::new(), next: std::env::args().nth(1) };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("listening {}", listener.local_addr().expect("an address").port());
    let app = Router::new().fallback(answer).with_state(shop);
    axum::serve(listener, app).await.expect("it serves");
}

async fn answer(State(shop): State<Shop>, request: Request) -> Result<&'static str, StatusCode> {
    let came = global::get_text_map_propagator(|it| it.extract(&HeaderExtractor(request.headers())));
    let path = request.uri().path().to_owned();
    let attributes = [KeyValue::new("url.path", path.clone())];
    let tracer = global::tracer("shop");
    let span = tracer.span_builder("GET").with_kind(SpanKind::Server).with_attributes(attributes);
    let context = came.with_span(tracer.build_with_context(span, &came));
    let answer = shop.ask_all(&path).with_context(context.clone()).await;
    context.span().end();
    answer.map(|()| "ok").map_err(|_| StatusCode::BAD_GATEWAY)
}

impl Shop {
    async fn ask_all(&self, path: &str) -> Result<(), reqwest::Error> {
        let Some(next) = &self.next else { return Ok(()) };
        for turn in ["a", "b"] {
            let tracer = global::tracer("shop");
            let span = tracer.span_builder("GET").with_kind(SpanKind::Client).start(&tracer);
            let context = Context::current_with_span(span);
            let mut headers = HeaderMap::new();
            global::get_text_map_propagator(|it| it.inject_context(&context, &mut HeaderInjector(&mut headers)));
            let response = self.client.get(format!("http://127.0.0.1:{next}{path}/{turn}")).headers(headers).send().await?;
            response.error_for_status()?.bytes().await?;
            context.span().end();
        }
        Ok(())
    }
}
