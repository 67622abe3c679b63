//! What is learnt of each service instance: its routes, and what it exports itself.
//!
//! As many as there are resources in use; the other stages hold those.

use std::sync::{Arc, Weak};

use compact_str::CompactString;
use hashbrown::{HashMap, HashSet, hash_map::Entry};

use super::{
    own_exports::OwnExports,
    route::{ProgramRoutes, Routes},
};
use crate::{
    model::{
        ids::ProcessId,
        span::{Resource, Value},
    },
    trace::{Context, Evidence},
};

/// Most instances that are told apart; those beyond learn together.
const SERVICES_MAX: usize = 1000;
/// The attribute that names a service's runtime.
const LANGUAGE: &str = "telemetry.sdk.language";
/// So many have to be new before those that are gone are looked for.
const SWEEP_EVERY: usize = 64;

/// The name of spans beyond those that are told apart in metrics.
const AGGREGATED: CompactString = CompactString::const_new("AGGREGATED");

#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) routes: Routes,
    /// Those that its program's files tell.
    pub(super) program_routes: Option<Arc<ProgramRoutes>>,
    pub(super) own_exports: OwnExports,
    /// Which of [`Services::parents`] is of its runtime.
    pub(super) runtime: usize,
    /// Names of its spans in metrics.
    span_names: HashSet<CompactString>,
}

impl Service {
    /// The name of a span in metrics, of which there are `most`; 0: any number.
    pub(super) fn span_name(&mut self, name: CompactString, most: usize) -> CompactString {
        if most == 0 || self.span_names.contains(&name) {
            return name;
        }
        if self.span_names.len() >= most {
            return AGGREGATED;
        }
        self.span_names.insert(name.clone());
        name
    }
}

/// How many spans there were by what says whose child they are, in the order of [`Evidence::WORDS`].
pub(crate) type ByEvidence = [u64; Evidence::WORDS.len()];

/// All of them, by their resource's address, which stays its own as long as it is held weakly.
#[derive(Debug)]
pub(super) struct Services {
    by_address: HashMap<usize, (Weak<Resource>, Service)>,
    rest: Service,
    new: usize,
    /// What programs' files told, by the pid of their resource, which may be made anew.
    program_routes: HashMap<ProcessId, Arc<ProgramRoutes>>,
    /// By runtime (`telemetry.sdk.language`); the first is of those that have none.
    parents: Vec<(CompactString, ByEvidence)>,
}

impl Default for Services {
    fn default() -> Self {
        let parents = vec![(CompactString::default(), ByEvidence::default())];
        Self { by_address: HashMap::new(), rest: Service::default(), new: 0, program_routes: HashMap::new(), parents }
    }
}

impl Services {
    /// A span of a service with that runtime is exported.
    pub(super) fn count_parent(&mut self, runtime: usize, context: &Context) {
        let by_evidence = self.parents.get_mut(runtime).map(|(_, by_evidence)| by_evidence);
        if let Some(count) = by_evidence.and_then(|counts| counts.get_mut(context.evidence_index())) {
            *count += 1;
        }
    }

    /// What is known of a service, and whether it stands for several.
    pub(super) fn get_or_insert(&mut self, resource: &Arc<Resource>) -> (&mut Service, bool) {
        let address = Arc::as_ptr(resource).addr();
        if self.new >= SWEEP_EVERY {
            self.new = 0;
            self.by_address.retain(|&its, (resource, _)| its == address || resource.strong_count() > 0);
        }
        let is_full = self.by_address.len() >= SERVICES_MAX;
        match self.by_address.entry(address) {
            Entry::Occupied(known) => (&mut known.into_mut().1, false),
            Entry::Vacant(place) if !is_full => {
                self.new += 1;
                let runtime = runtime(&mut self.parents, resource);
                let program_routes = self.program_routes.get(&resource.pid).cloned();
                let service = Service { runtime, program_routes, ..Service::default() };
                (&mut place.insert((Arc::downgrade(resource), service)).1, false)
            }
            Entry::Vacant(_) => {
                self.new += 1;
                (&mut self.rest, true)
            }
        }
    }

    /// Takes up what a program's files tell.
    pub(super) fn set_program_routes(&mut self, resource: &Resource, routes: Arc<ProgramRoutes>) {
        if self.program_routes.len() >= SERVICES_MAX {
            let living: HashSet<ProcessId> =
                self.by_address.values().filter_map(|(resource, _)| Some(resource.upgrade()?.pid)).collect();
            self.program_routes.retain(|pid, _| living.contains(pid));
        }
        let pid = resource.pid;
        for (its, service) in self.by_address.values_mut() {
            if its.upgrade().is_some_and(|its| its.pid == pid) {
                service.program_routes = Some(Arc::clone(&routes));
            }
        }
        if self.program_routes.len() < SERVICES_MAX {
            self.program_routes.insert(pid, routes);
        }
    }

    /// Their routes are written anew from here on.
    pub(super) fn forget_route_names(&mut self) {
        let all = self.by_address.values_mut().map(|(_, service)| service).chain([&mut self.rest]);
        all.for_each(|service| service.routes.forget_names());
    }

    /// Spans by runtime and evidence.
    pub(super) fn parents(&self) -> &[(CompactString, ByEvidence)] {
        &self.parents
    }

    /// What is known of a service that has had an exchange.
    pub(super) fn get(&self, resource: &Arc<Resource>) -> Option<&Service> {
        self.by_address.get(&Arc::as_ptr(resource).addr()).map(|(_, service)| service)
    }
}

/// The place of a service's runtime; there are as many as languages that are told apart.
fn runtime(parents: &mut Vec<(CompactString, ByEvidence)>, resource: &Resource) -> usize {
    let language = resource.attributes.iter().find_map(|(key, value)| match value {
        Value::Static(language) if key == LANGUAGE => Some(*language),
        Value::Str(language) if key == LANGUAGE => Some(language.as_str()),
        _ => None,
    });
    let language = language.unwrap_or_default();
    parents.iter().position(|(its, _)| its == language).unwrap_or_else(|| {
        parents.push((language.into(), ByEvidence::default()));
        parents.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_are_gone_make_room_and_others_are_kept() {
        let mut services = Services::default();
        let kept = Arc::new(Resource::default());
        assert!(!services.get_or_insert(&kept).1);
        for _ in 0..10 * SERVICES_MAX {
            let (_, is_rest) = services.get_or_insert(&Arc::new(Resource::default()));
            assert!(!is_rest);
        }
        assert!(services.by_address.len() <= SWEEP_EVERY + 2 && services.get(&kept).is_some());
    }

    #[test]
    fn names_of_spans_beyond_the_limit_are_one() {
        let mut service = Service::default();
        let names = ["a", "b", "c", "a", "d"].map(|name| service.span_name(name.into(), 2));
        assert_eq!(names, ["a", "b", "AGGREGATED", "a", "AGGREGATED"]);
        assert_eq!(service.span_name("c".into(), 0), "c");
    }

    #[test]
    fn those_beyond_the_bound_share_one() {
        let mut services = Services::default();
        let all: Vec<_> = (0..SERVICES_MAX + 10).map(|_| Arc::new(Resource::default())).collect();
        let shared = all.iter().filter(|resource| services.get_or_insert(resource).1).count();
        assert_eq!(shared, 10);
    }
}
