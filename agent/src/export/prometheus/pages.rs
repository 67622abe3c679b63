//! The page of metrics: made by one thread at a time, shared by all who read it.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use axum::body::Bytes;
use tokio::sync::Mutex;

use super::{
    super::{MetricSource, collect_updated, keep_native_histograms},
    format::Format,
    page,
};

/// Most bytes of pages that clients read at once. Beyond, who asks gets the one of its format that was made last.
const READ_MAX: usize = 16 << 20;

/// See the module.
pub(super) struct MetricsPage {
    sources: Arc<[Arc<dyn MetricSource>]>,
    ttl: Duration,
    has_exemplars: bool,
    made: Mutex<Made>,
}

/// Pages that somebody reads, the newest last, each with its format and the time since when it was made.
type Made = Vec<(Format, Instant, Weak<Vec<u8>>)>;

impl MetricsPage {
    pub(super) fn new(sources: Vec<Arc<dyn MetricSource>>, ttl: Duration, has_exemplars: bool) -> Self {
        Self { sources: sources.into(), ttl, has_exemplars, made: Mutex::default() }
    }

    /// The page as of now, or a little later; `None` if a source failed.
    pub(super) async fn current(&self, format: Format) -> Option<Bytes> {
        let asked = Instant::now();
        let mut made = self.made.lock().await;
        made.retain(|(_, _, page)| page.strong_count() > 0);
        let read: usize = made.iter().filter_map(|(_, _, page)| page.upgrade()).map(|page| page.len()).sum();
        // Others have waited too: what was begun after the question answers it.
        if let Some((_, since, page)) = made.iter().rfind(|(its, _, _)| *its == format)
            && (*since >= asked || read >= READ_MAX)
            && let Some(page) = page.upgrade()
        {
            return Some(Bytes::from_owner(Held(page)));
        }
        let since = Instant::now();
        let (sources, ttl, has_exemplars) = (Arc::clone(&self.sources), self.ttl, self.has_exemplars);
        // Sources may have to wait for the pipeline, and large pages take a while.
        let write = move || {
            if format == Format::Protobuf {
                keep_native_histograms(&sources);
            }
            let (_, mut metrics) = collect_updated(&sources, ttl);
            if !has_exemplars {
                metrics.iter_mut().for_each(|metric| metric.points.clear_exemplars());
            }
            page(&metrics, format)
        };
        let page = Arc::new(tokio::task::spawn_blocking(write).await.ok()?);
        made.push((format, since, Arc::downgrade(&page)));
        Some(Bytes::from_owner(Held(page)))
    }
}

/// One reader's hold on a page.
struct Held(Arc<Vec<u8>>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
