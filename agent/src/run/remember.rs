//! What the agent remembers for its web page and its API.

use std::{net::SocketAddr, sync::Arc};

use tokio::runtime::Runtime;

use super::settings::StoreSettings;
use crate::{
    api::{self, Collector, answers::Process},
    config::Naming,
    export::{ExportConfig, MetricSource, Remembered},
    pipeline::RedSource,
    procs::{ProcessTable, survey::Row},
    store::Store,
    telemetry::{RedMetrics, select::SharedSelect, wanted::Reader},
};

/// The store, and what takes the metrics of requests into it; none where nobody may ask for it.
pub(super) fn start(
    settings: &StoreSettings,
    export: &ExportConfig,
    runtime: &Runtime,
    processes: &Arc<ProcessTable>,
    red: RedMetrics,
) -> anyhow::Result<Option<Remembered>> {
    let token = settings.token()?;
    let listen = &export.listen;
    let is_taken = api::is_page(&export.prometheus.path);
    if is_taken {
        tracing::warn!(
            path = export.prometheus.path,
            "no web page and no API: metrics are shown where they would be (prometheus_export.path)"
        );
    }
    let is_loopback = |addr: &&SocketAddr| addr.ip().to_canonical().is_loopback();
    if token.is_none() && !listen.iter().any(|addr| is_loopback(&addr)) {
        tracing::info!(
            "no web page and no API: they answer on a loopback address, or those who have a token (api.token_file, \
             OTEL_EBPF_API_TOKEN)"
        );
        return Ok(None);
    }
    let store = Arc::new(Store::new(settings.memory, settings.slower_than));
    let source: Arc<dyn MetricSource> = Arc::new(RedSource {
        metrics: red,
        naming: Naming::Semconv,
        reader: Reader::Store,
        select: SharedSelect::default(),
        of_resource: Vec::new(),
    });
    if let Some(disk) = &settings.disk
        && let Err(error) = store.keep_on_disk(disk.clone(), api::unix_ns())
    {
        tracing::warn!(%error, "no thread for store.dir: what is seen is remembered in memory alone");
    }
    let collector = Arc::new(Collector::new(Arc::clone(&store), source));
    let last = Arc::downgrade(&collector);
    store.before_close(move || {
        if let Some(collector) = last.upgrade() {
            collector.collect_now();
        }
    });
    runtime.spawn(Arc::clone(&collector).run());
    let table = Arc::clone(processes);
    let parts = api::Parts {
        store: Arc::clone(&store),
        collector,
        processes: Arc::new(move || table.survey().iter().map(process).collect()),
        token,
        listen: if is_taken { Vec::new() } else { listen.clone() },
    };
    Ok(Some(Remembered { store, pages: Box::new(move |of_itself| api::pages(parts, of_itself)) }))
}

fn process(row: &Row) -> Process {
    let tls = || row.tls.iter().flat_map(|tls| std::iter::once(tls).chain(&tls.also));
    let name = |tls: &crate::procs::survey::RowTls| match &tls.version {
        Some(version) => format!("{} {version}", tls.library),
        None => tls.library.to_owned(),
    };
    let unseen = |tls: &crate::procs::survey::RowTls| tls.unseen.map(|why| format!("{}: {why}", tls.library));
    Process {
        pid: row.pid.0,
        service: row.service_name.to_string(),
        namespace: row.service_namespace.as_ref().map(ToString::to_string),
        language: row.language.map(str::to_owned),
        executable: row.executable.clone(),
        ports: row.ports.clone(),
        tls: tls().map(name).collect(),
        unseen: tls().filter_map(unseen).collect(),
        instrumented_by: row.instrumented_by.iter().map(|vendor| vendor.name().to_owned()).collect(),
        matched_by: row.matched_by.iter().map(ToString::to_string).collect(),
        has_spans: false,
    }
}
