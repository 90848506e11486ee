//! Whether the copies of a message are as small as they must be, found out before the message is accepted and without making them.

use super::Plan;
use crate::link::LinkSigner;
use crate::mail::address::EmailAddress;
use crate::mail::content::{Composition, Places};
use crate::mail::slot::Slot;

/// What the size of a copy depends on.
pub(super) struct Sizes {
    /// What is the same for all, links at their longest.
    fixed: usize,
    /// Places of the address.
    addresses: usize,
    /// Places of variables.
    variables: usize,
}

impl Sizes {
    pub(super) fn of(plan: &Plan, composition: &Composition, links: &LinkSigner) -> Self {
        let places = composition.places(&plan.nonce, &plan.slots);
        let mut sizes = Self { fixed: places.fixed, addresses: 0, variables: 0 };
        for (slot, times) in plan.slots.iter().zip(places.times) {
            match slot {
                Slot::Address => sizes.addresses = sizes.addresses.saturating_add(times),
                Slot::Variable(_) => sizes.variables = sizes.variables.saturating_add(times),
                Slot::Link(link) => {
                    let link = times.saturating_mul(Places::value_at_most(links.longest(link)));
                    sizes.fixed = sizes.fixed.saturating_add(link);
                }
            }
        }
        sizes
    }

    /// Returns the octets of a copy at most. No variable is longer than the JSON text, of so many octets, that it stands in.
    pub(super) fn at_most(&self, address: &EmailAddress, data: usize) -> usize {
        let addresses = self.addresses.saturating_mul(Places::value_at_most(address.to_string().len()));
        let variables = self.variables.saturating_mul(Places::value_at_most(data));
        self.fixed.saturating_add(addresses).saturating_add(variables)
    }
}
