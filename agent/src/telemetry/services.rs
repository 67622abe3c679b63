//! What is learnt of each service instance: its routes, and what it exports itself.
//!
//! As many as there are resources in use; the other stages hold those.

use std::sync::{Arc, Weak};

use hashbrown::{HashMap, hash_map::Entry};

use super::{own_exports::OwnExports, route::Routes};
use crate::model::span::Resource;

/// Most instances that are told apart; those beyond learn together.
const SERVICES_MAX: usize = 1000;
/// So many have to be new before those that are gone are looked for.
const SWEEP_EVERY: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) routes: Routes,
    pub(super) own_exports: OwnExports,
}

/// All of them, by their resource's address, which stays its own as long as it is held weakly.
#[derive(Debug, Default)]
pub(super) struct Services {
    by_address: HashMap<usize, (Weak<Resource>, Service)>,
    rest: Service,
    new: usize,
}

impl Services {
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
                (&mut place.insert((Arc::downgrade(resource), Service::default())).1, false)
            }
            Entry::Vacant(_) => {
                self.new += 1;
                (&mut self.rest, true)
            }
        }
    }

    /// What is known of a service that has had an exchange.
    pub(super) fn get(&self, resource: &Arc<Resource>) -> Option<&Service> {
        self.by_address.get(&Arc::as_ptr(resource).addr()).map(|(_, service)| service)
    }
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
    fn those_beyond_the_bound_share_one() {
        let mut services = Services::default();
        let all: Vec<_> = (0..SERVICES_MAX + 10).map(|_| Arc::new(Resource::default())).collect();
        let shared = all.iter().filter(|resource| services.get_or_insert(resource).1).count();
        assert_eq!(shared, 10);
    }
}
