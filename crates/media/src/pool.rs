//! Few threads for decoders, and what they may allocate together.
//!
//! A decoder cannot be stopped. What outlives its deadline is abandoned: nobody waits for it any more, its memory
//! stays taken and its thread counted until it ends by itself.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use stonechat_model::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{Deadline, MediaError};

/// The unit in which memory is counted.
const PERMIT_BYTES: u64 = 65_536;

/// The bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolConfig {
    /// Jobs at once.
    pub threads: usize,
    /// Jobs that were abandoned and still run.
    pub abandoned: usize,
    /// Jobs that wait.
    pub waiting: usize,
    /// What they allocate together, in bytes.
    pub memory_bytes: usize,
    /// How long one may take.
    pub timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            threads: limits::MEDIA_THREADS,
            abandoned: limits::MEDIA_THREADS_ABANDONED,
            waiting: limits::MEDIA_WAITING,
            memory_bytes: limits::MEDIA_MEMORY_BYTES,
            timeout: Duration::from_millis(limits::MEDIA_TIMEOUT_MS),
        }
    }
}

/// Runs jobs on threads of their own, within bounds.
pub struct Pool {
    config: PoolConfig,
    threads: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    abandoned: Arc<AtomicUsize>,
}

impl Pool {
    /// A pool with these bounds.
    pub fn new(config: PoolConfig) -> Self {
        let permits = usize::try_from(permits(config.memory_bytes as u64)).unwrap_or(1);
        Self {
            config,
            threads: Arc::new(Semaphore::new(config.threads)),
            memory: Arc::new(Semaphore::new(permits)),
            waiting: Arc::new(Semaphore::new(config.waiting + config.threads)),
            abandoned: Arc::default(),
        }
    }

    /// How many abandoned jobs still run.
    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Runs a job that allocates at most so many bytes; the deadline is for its own use, too.
    ///
    /// # Errors
    /// The job's own; or it took too long, panicked, needs more than there is, or too much waits.
    pub async fn run<T: Send + 'static>(
        &self,
        cost_bytes: u64,
        job: impl FnOnce(Deadline) -> Result<T, MediaError> + Send + 'static,
    ) -> Result<T, MediaError> {
        if cost_bytes > self.config.memory_bytes as u64 {
            return Err(MediaError::TooLarge(cost_bytes));
        }
        let _waits = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| MediaError::Busy)?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| MediaError::Busy)?;
        let cost = u32::try_from(permits(cost_bytes)).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.memory).acquire_many_owned(cost).await.map_err(|_| MediaError::Busy)?;
        if self.abandoned() >= self.config.abandoned {
            return Err(MediaError::Busy);
        }
        let job = self.start(memory, job)?;
        // In a task of its own: whoever asked may stop waiting, the thread stays counted.
        let watched = tokio::spawn(watch(job, self.config.timeout, thread));
        watched.await.unwrap_or(Err(MediaError::Panicked))
    }

    fn start<T: Send + 'static>(
        &self,
        memory: OwnedSemaphorePermit,
        job: impl FnOnce(Deadline) -> Result<T, MediaError> + Send + 'static,
    ) -> Result<Job<T>, MediaError> {
        let (send, answer) = oneshot::channel();
        let deadline = Deadline::after(self.config.timeout);
        let end = Arc::new(End { is_over: AtomicBool::new(false), abandoned: Arc::clone(&self.abandoned) });
        let ends = Arc::clone(&end);
        std::thread::Builder::new().name("media".to_owned()).spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| job(deadline))).unwrap_or(Err(MediaError::Panicked));
            drop(memory);
            if ends.is_over.swap(true, Ordering::AcqRel) {
                ends.abandoned.fetch_sub(1, Ordering::Relaxed);
            }
            // Nobody waits any more where it was abandoned.
            let _ = send.send(result);
        })?;
        Ok(Job { answer, end })
    }
}

struct Job<T> {
    answer: oneshot::Receiver<Result<T, MediaError>>,
    end: Arc<End>,
}

/// Whether a job ended or was abandoned: whichever comes first sets it.
struct End {
    is_over: AtomicBool,
    abandoned: Arc<AtomicUsize>,
}

async fn watch<T>(job: Job<T>, timeout: Duration, thread: OwnedSemaphorePermit) -> Result<T, MediaError> {
    let answer = tokio::time::timeout(timeout, job.answer).await;
    drop(thread);
    let Ok(answer) = answer else {
        job.end.abandoned.fetch_add(1, Ordering::Relaxed);
        if job.end.is_over.swap(true, Ordering::AcqRel) {
            job.end.abandoned.fetch_sub(1, Ordering::Relaxed);
        } else {
            metrics::counter!("stonechat_media_abandoned_total").increment(1);
        }
        return Err(MediaError::TimedOut);
    };
    answer.unwrap_or(Err(MediaError::Panicked))
}

fn permits(bytes: u64) -> u64 {
    bytes.div_ceil(PERMIT_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn pool(timeout: Duration) -> Pool {
        Pool::new(PoolConfig { threads: 1, abandoned: 1, waiting: 1, memory_bytes: 1 << 20, timeout })
    }

    #[tokio::test]
    async fn a_decoder_that_does_not_end_is_abandoned_and_counted() {
        let pool = pool(Duration::from_millis(5));
        let (end, ended) = mpsc::channel::<()>();
        let stuck = pool.run(1, move |_| Ok(ended.recv().is_err())).await;
        assert!(matches!(stuck, Err(MediaError::TimedOut)));
        assert_eq!(pool.abandoned(), 1);
        assert!(matches!(pool.run(1, |_| Ok(())).await, Err(MediaError::Busy)), "nothing more beside it");
        drop(end);
        while pool.abandoned() > 0 {
            tokio::task::yield_now().await;
        }
        let pool = self::pool(Duration::from_secs(60));
        assert!(pool.run(1, |_| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn a_decoder_that_panics_harms_nobody() {
        let pool = pool(Duration::from_secs(60));
        let panicked = pool.run(1, |_| -> Result<(), _> { panic!("on purpose") }).await;
        assert!(matches!(panicked, Err(MediaError::Panicked)));
        assert!(pool.run(1, |_| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn memory_and_waiting_are_bounded() {
        let pool = Arc::new(pool(Duration::from_secs(60)));
        assert!(matches!(pool.run(1 << 21, |_| Ok(())).await, Err(MediaError::TooLarge(_))));
        let (end, ended) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(1, move |_| Ok(ended.recv().is_err())).await }
        });
        let second = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(1, |_| Ok(())).await }
        });
        while pool.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(pool.run(1, |_| Ok(())).await, Err(MediaError::Busy)));
        drop(end);
        assert!(first.await.unwrap().unwrap());
        assert!(second.await.unwrap().is_ok());
    }
}
