//! What is kept per service instance: its routes and series.
//!
//! As many as there are resources in use: one that was said to have ended, or that nobody else holds any more, is
//! collected once more and dropped.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    Scheme,
    own_exports::OwnExports,
    red::{self, Red},
    route::Routes,
    semconv,
};
use crate::model::{
    metric::{Metric, NumberPoint, Points},
    span::{Attribute, Resource, Value},
};

#[derive(Debug)]
pub(super) struct Instance {
    /// Held, so that its address stays its own.
    resource: Arc<Resource>,
    ended: bool,
    pub(super) routes: Routes,
    pub(super) red: Red,
    pub(super) own_exports: OwnExports,
    /// Open requests by scheme and method, of those that were ever reported.
    active: Vec<(Scheme, Option<Value>, u64)>,
    active_since_unix_ns: Option<u64>,
}

impl Instance {
    pub(super) fn set_active(&mut self, scheme: Scheme, method: Option<Value>, open: u64) {
        match self.active.iter_mut().find(|(its, of, _)| *its == scheme && *of == method) {
            Some((_, _, count)) => *count = open,
            None => self.active.push((scheme, method, open)),
        }
    }

    fn collect_active(&mut self, now_unix_ns: u64, out: &mut Vec<Metric>) {
        let start_unix_ns = (*self.active_since_unix_ns.get_or_insert(now_unix_ns)).min(now_unix_ns);
        let points: Vec<NumberPoint> = self
            .active
            .iter()
            .map(|(scheme, method, open)| {
                let scheme = match scheme {
                    Scheme::Http => "http",
                    Scheme::Https => "https",
                };
                let method = method.clone().map(|value| Attribute { key: semconv::HTTP_REQUEST_METHOD, value });
                let scheme = Attribute { key: semconv::URL_SCHEME, value: Value::Static(scheme) };
                let attributes = method.into_iter().chain([scheme]).collect();
                NumberPoint { attributes, start_unix_ns, value: *open as f64 }
            })
            .collect();
        if !points.is_empty() {
            out.push(Metric {
                name: semconv::HTTP_SERVER_ACTIVE_REQUESTS,
                unit: "{request}",
                description: "Number of active HTTP server requests.",
                resource: Arc::clone(&self.resource),
                points: Points::UpDownCounter(points),
            });
        }
    }
}

/// All instances, by their resource's address.
#[derive(Debug)]
pub(super) struct Instances {
    config: red::Config,
    by_address: HashMap<usize, Instance>,
}

impl Instances {
    pub(super) fn new(config: red::Config) -> Self {
        Self { config, by_address: HashMap::new() }
    }

    pub(super) fn get_or_insert(&mut self, resource: &Arc<Resource>) -> &mut Instance {
        self.by_address.entry(address(resource)).or_insert_with(|| Instance {
            resource: Arc::clone(resource),
            ended: false,
            routes: Routes::default(),
            red: Red::new(self.config),
            own_exports: OwnExports::default(),
            active: Vec::new(),
            active_since_unix_ns: None,
        })
    }

    pub(super) fn forget(&mut self, resource: &Arc<Resource>) {
        if let Some(instance) = self.by_address.get_mut(&address(resource)) {
            instance.ended = true;
        }
    }

    pub(super) fn collect(&mut self, now_unix_ns: u64) -> Vec<Metric> {
        let mut metrics = Vec::new();
        self.by_address.retain(|_, instance| {
            // Before the metrics refer to it.
            let in_use = !instance.ended && Arc::strong_count(&instance.resource) > 1;
            instance.red.collect(&instance.resource, now_unix_ns, &mut metrics);
            instance.collect_active(now_unix_ns, &mut metrics);
            in_use
        });
        metrics
    }
}

/// The map holds the resource, so that no other comes to lie at its address.
fn address(resource: &Arc<Resource>) -> usize {
    Arc::as_ptr(resource).addr()
}
