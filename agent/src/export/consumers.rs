//! Which consumers of spans there are.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{TransportError, config::ExportConfig, console::Console, consumer::SpanConsumer, kept::Keeper, otlp};
use crate::store::Store;

/// All that `config` asks for, running.
///
/// # Errors
/// Certificate files that cannot be used.
pub(super) fn start_all(
    config: &ExportConfig,
    runtime: &Handle,
    store: Option<Arc<Store>>,
) -> Result<Vec<Arc<dyn SpanConsumer>>, TransportError> {
    let mut consumers: Vec<Arc<dyn SpanConsumer>> = Vec::new();
    for to in &config.traces {
        consumers.push(Arc::new(otlp::Spans::start(to, config, runtime)?));
    }
    consumers.extend(Console::start(config.print).map(|it| Arc::new(it) as Arc<dyn SpanConsumer>));
    consumers.extend(store.map(|store| Arc::new(Keeper::new(store)) as Arc<dyn SpanConsumer>));
    Ok(consumers)
}
