//! What a login may do: whom it sends as, how much, how often.

use crate::clock::Clock;
use crate::config::Login;
use crate::mail::address::EmailAddress;
use crate::mail::refusal::Refusal;

/// Whether `login` may send as `address`, in the envelope and in From.
pub fn may_send_as(login: &Login, address: &EmailAddress) -> bool {
    let _ = (login, address);
    todo!()
}

/// Counts what each login sends.
pub struct Rates {
    clock: Clock,
}

impl Rates {
    /// Starts with nothing counted.
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }
    /// Counts one message of `login`, or refuses it ([`Refusal::RateLimited`]). Messages that are refused later are given back with [`Rates::give_back`].
    pub fn take(&self, login: &Login) -> Result<(), Refusal> {
        let _ = (login, &self.clock);
        todo!()
    }
    /// Takes back one count.
    pub fn give_back(&self, login: &Login) {
        let _ = login;
        todo!()
    }
}
