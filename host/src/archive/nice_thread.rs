//! A thread for work that can wait: it, and the threads that it starts, get the processor after those that serve.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::{io, thread};

use tokio::sync::oneshot;

/// How much nicer (nice(1)) than the server the thread is: where both want the processor, it gets about a tenth of it.
const NICER: i32 = 10;
/// The nicest that a thread can be.
const NICEST: i32 = 19;

type Job = Box<dyn FnOnce() + Send>;

/// The thread, which ends with this. It has no runtime, and knows none: a thread that is started from it, such as one of those that block for tokio, would
/// be as nice, and serve others afterwards.
#[derive(Debug)]
pub(super) struct NiceThread {
    jobs: SyncSender<Job>,
}

/// The work did not end well, and the thread is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work ended badly, and its thread with it")]
pub(super) struct Ended;

impl NiceThread {
    /// Starts it.
    ///
    /// # Errors
    /// If the system lets us have no more threads.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let (jobs, given) = sync_channel::<Job>(1);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            give_way();
            for job in given {
                job();
            }
        })?;
        Ok(Self { jobs })
    }

    /// Does some work there, after the one from before.
    ///
    /// # Errors
    /// If it, or one before, panics.
    pub(super) async fn run<T: Send + 'static>(&mut self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Ended> {
        let (done, result) = oneshot::channel();
        // Whoever does not wait for the result does not want it.
        let job = Box::new(move || drop(done.send(work())));
        self.jobs.try_send(job).map_err(|_| Ended)?;
        result.await.map_err(|_| Ended)
    }
}

/// On Linux a thread has a nice value of its own.
#[cfg(target_os = "linux")]
fn give_way() {
    let nice = rustix::process::getpriority_process(None);
    if let Err(failure) = nice.and_then(|nice| rustix::process::setpriority_process(None, nice.saturating_add(NICER).min(NICEST))) {
        // All works without it too; other mail is slower then while much is done here.
        tracing::debug!(%failure, "a thread for work that can wait keeps the server's priority");
    }
}

/// Elsewhere it would be the whole process that gives way.
#[cfg(not(target_os = "linux"))]
fn give_way() {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn it_is_nicer_than_the_others() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let server = nice();
        let mut thread = NiceThread::start("test").unwrap();
        let both = thread.run(move || [nice(), thread::spawn(nice).join().unwrap()]).await.unwrap();
        assert_eq!(both, [(server + NICER).min(NICEST); 2]);
        assert_eq!([nice(), tokio::task::spawn_blocking(nice).await.unwrap()], [server; 2]);
    }

    #[tokio::test]
    async fn work_that_panics_is_told() {
        let mut thread = NiceThread::start("test").unwrap();
        assert_eq!(thread.run(|| 7).await, Ok(7));
        assert_eq!(thread.run(|| assert!(std::hint::black_box(false), "on purpose")).await, Err(Ended));
        assert_eq!(thread.run(|| 7).await, Err(Ended));
    }
}
