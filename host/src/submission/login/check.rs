//! Checks passwords against their hashes: slow work, so bounded in number, and remembered where it succeeded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::Mutex;
use sha2::Sha256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::LoginError;
use crate::clock::{Clock, Entropy};
use crate::config::Authentication;
use crate::config::secret::verify_password;
use crate::config::unit::Secret;

/// How long a password that was right needs no hash again.
const REMEMBERED_FOR: Duration = Duration::from_mins(10);

/// What stands for a user name, a password and the hash it fitted: without the key of this process nobody can tell which.
type Mark = [u8; 32];

pub(super) struct PasswordChecks {
    /// One for each computation that runs or waits.
    admitted: Arc<Semaphore>,
    /// One for each of them that is for a client whose address has had failures: half of all, so that guessing keeps nobody else out.
    suspect: Arc<Semaphore>,
    /// One for each that runs: as many as processors, each taking 19 MiB.
    running: Arc<Semaphore>,
    key: [u8; 32],
    clock: Clock,
    remembered: Mutex<Remembered>,
}

impl PasswordChecks {
    pub(super) fn new(limits: &Authentication, entropy: &Entropy, clock: Clock) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_limits(limits, entropy, clock, processors)
    }

    fn with_limits(limits: &Authentication, entropy: &Entropy, clock: Clock, running: usize) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let admitted = running.saturating_add(count(limits.waiting)).min(Semaphore::MAX_PERMITS);
        Self {
            admitted: Arc::new(Semaphore::new(admitted)),
            suspect: Arc::new(Semaphore::new((admitted / 2).max(1))),
            running: Arc::new(Semaphore::new(running)),
            key: entropy.array(),
            clock,
            remembered: Mutex::new(Remembered::new(count(limits.remembered))),
        }
    }

    /// Whether `password` is the one that `hash` was made of. `is_suspect` if others that came from the same address were wrong.
    pub(super) async fn is_right(&self, username: &str, password: &str, hash: &Secret, is_suspect: bool) -> Result<bool, LoginError> {
        let mark = self.mark(username, password, hash);
        if self.is_remembered(&mark) {
            return Ok(true);
        }
        let turn = self.turn(is_suspect).await?;
        // Many connections of one client come at once after a start: the first computes for all.
        if self.is_remembered(&mark) {
            return Ok(true);
        }
        let right = turn.compute(password, hash).await?;
        if right {
            self.remembered.lock().insert(mark, self.clock.monotonic());
        }
        Ok(right)
    }

    /// Takes as long as a check that fails.
    pub(super) async fn pretend(&self, password: &str, hash: &Secret, is_suspect: bool) -> Result<(), LoginError> {
        self.turn(is_suspect).await?.compute(password, hash).await.map(|_| ())
    }

    async fn turn(&self, is_suspect: bool) -> Result<Turn, LoginError> {
        let busy = |_| LoginError::Busy;
        let suspect = is_suspect.then(|| Arc::clone(&self.suspect).try_acquire_owned().map_err(busy)).transpose()?;
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| LoginError::Busy)?;
        Ok(Turn { _suspect: suspect, _admitted: admitted, _running: running })
    }

    fn is_remembered(&self, mark: &Mark) -> bool {
        self.remembered.lock().contains(mark, self.clock.monotonic())
    }

    fn mark(&self, username: &str, password: &str, hash: &Secret) -> Mark {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        // Lengths first, so that no two triples give the same octets. The hash is in it, so that a changed password is not remembered.
        for part in [username, hash.expose(), password] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

/// The right to compute one hash. It is held until the computation ends, even if nobody waits for that any more.
struct Turn {
    _suspect: Option<OwnedSemaphorePermit>,
    _admitted: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

impl Turn {
    async fn compute(self, password: &str, hash: &Secret) -> Result<bool, LoginError> {
        let (password, hash) = (Secret::new(password.to_owned()), hash.clone());
        let computation = tokio::task::spawn_blocking(move || {
            let right = verify_password(hash.expose(), password.expose());
            drop(self);
            right
        });
        // Not computed: the process is going down.
        computation.await.map_err(|_| LoginError::Busy)
    }
}

/// Marks of passwords that were right, with the times at which they were checked.
struct Remembered {
    /// How many there are at most; the one checked first goes first.
    limit: usize,
    since: HashMap<Mark, Duration>,
    /// The oldest first.
    order: VecDeque<Mark>,
}

impl Remembered {
    fn new(limit: usize) -> Self {
        Self { limit, since: HashMap::new(), order: VecDeque::new() }
    }

    fn contains(&self, mark: &Mark, now: Duration) -> bool {
        self.since.get(mark).is_some_and(|since| now.saturating_sub(*since) < REMEMBERED_FOR)
    }

    fn insert(&mut self, mark: Mark, now: Duration) {
        // One that has run out and is checked again moves to the end.
        if self.since.insert(mark, now).is_some() {
            self.order.retain(|other| *other != mark);
        }
        self.order.push_back(mark);
        while self.order.len() > self.limit {
            if let Some(oldest) = self.order.pop_front() {
                self.since.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::clock::Timestamp;
    use crate::config::secret::hash_password;

    const REMEMBERED: usize = 100;

    fn checks(clock: &Clock, running: usize, waiting: u32) -> PasswordChecks {
        let limits = Authentication {
            failures: 1,
            network_failures: 1,
            user_failures: 1,
            period: REMEMBERED_FOR,
            addresses: 1,
            waiting,
            logins: 1,
            remembered: 100,
        };
        PasswordChecks::with_limits(&limits, &Entropy::seeded(1), clock.clone(), running)
    }

    fn hash() -> Secret {
        Secret::new(hash_password("right", &Entropy::seeded(3)))
    }

    #[tokio::test]
    async fn only_what_was_right_is_remembered_and_not_for_ever() {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let checks = checks(&clock, 1, 1);
        let hash = hash();
        assert_eq!(checks.is_right("u", "right", &hash, false).await, Ok(true));
        assert_eq!(checks.is_right("u", "wrong", &hash, false).await, Ok(false));

        // While no hash can be computed, what is remembered is still answered, and nothing else is.
        let all = checks.admitted.try_acquire_many(2).unwrap();
        assert_eq!(checks.is_right("u", "right", &hash, false).await, Ok(true));
        assert_eq!(checks.is_right("u", "wrong", &hash, false).await, Err(LoginError::Busy));
        assert_eq!(checks.is_right("v", "right", &hash, false).await, Err(LoginError::Busy));
        assert_eq!(checks.pretend("right", &hash, false).await, Err(LoginError::Busy));
        clock.advance(REMEMBERED_FOR);
        assert_eq!(checks.is_right("u", "right", &hash, false).await, Err(LoginError::Busy));
        drop(all);
        assert_eq!(checks.is_right("u", "right", &hash, false).await, Ok(true));
    }

    #[tokio::test]
    async fn those_who_wait_for_the_same_password_are_answered_together() {
        let checks = Arc::new(checks(&Clock::manual(Timestamp::from_millis(0)), 1, 10));
        let hash = hash();
        let turn = checks.turn(false).await.unwrap();
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let (checks, hash) = (Arc::clone(&checks), hash.clone());
                tokio::spawn(async move { checks.is_right("u", "right", &hash, false).await })
            })
            .collect();
        while checks.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(checks.pretend("right", &hash, false).await, Err(LoginError::Busy));
        drop(turn);
        for check in waiting {
            assert_eq!(check.await.unwrap(), Ok(true));
        }
        assert_eq!(checks.admitted.available_permits(), 11);
    }

    #[tokio::test]
    async fn guessers_keep_nobody_else_out() {
        let checks = checks(&Clock::manual(Timestamp::from_millis(0)), 4, 4);
        let mut turns = Vec::new();
        for _ in 0..4 {
            turns.push(checks.turn(true).await.unwrap());
        }
        assert_eq!(checks.turn(true).await.err(), Some(LoginError::Busy));
        turns.clear();
        assert_eq!(checks.is_right("u", "right", &hash(), true).await, Ok(true));
        assert_eq!((checks.suspect.available_permits(), checks.admitted.available_permits()), (4, 8));
    }

    #[test]
    fn memory_is_bounded() {
        let mut remembered = Remembered::new(REMEMBERED);
        let mark = |number: usize| {
            let mut mark = [0; 32];
            mark[..8].copy_from_slice(&number.to_le_bytes());
            mark
        };
        for number in 0..REMEMBERED + 10 {
            remembered.insert(mark(number), Duration::from_secs(number as u64));
            remembered.insert(mark(number), Duration::from_secs(number as u64));
        }
        let now = Duration::from_secs(1);
        assert_eq!((remembered.since.len(), remembered.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!remembered.contains(&mark(9), now));
        assert!(remembered.contains(&mark(10), now));
        assert!(remembered.contains(&mark(REMEMBERED + 9), now));
    }
}
