//! Every spawned task is tracked, ends with the shutdown token and does not fail unseen.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of a role.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Tasks {
    /// Tasks that are to end when `shutdown` is cancelled.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), shutdown }
    }

    /// The token that tasks watch.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Spawns a task that sees to its own end. A panic in it is logged under `name` and gives `None`.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(async move {
            let result = AssertUnwindSafe(task).catch_unwind().await;
            if result.is_err() {
                tracing::error!(task.name = name, "task panicked");
            }
            result.ok()
        })
    }

    /// Spawns a task that is dropped, at an await, when the shutdown begins.
    pub fn spawn_until_shutdown<F>(&self, name: &'static str, task: F) -> JoinHandle<Option<Option<F::Output>>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn(name, self.shutdown.clone().run_until_cancelled_owned(task))
    }

    /// How many tasks run.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task runs.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Cancels the token and waits for every task, `timeout` at most. Gives how many had not ended.
    pub async fn finish(&self, timeout: Duration) -> usize {
        self.shutdown.cancel();
        self.tracker.close();
        if tokio::time::timeout(timeout, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks.running = self.tracker.len(), "tasks did not end in time");
        }
        self.tracker.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn finish_waits_for_every_task() {
        let tasks = Tasks::new(CancellationToken::new());
        let own_end = tasks.spawn("own end", {
            let shutdown = tasks.shutdown().clone();
            async move { shutdown.cancelled().await }
        });
        let dropped = tasks.spawn_until_shutdown("dropped", std::future::pending::<()>());
        assert_eq!(tasks.finish(LONG).await, 0);
        assert_eq!(own_end.await.unwrap(), Some(()));
        assert_eq!(dropped.await.unwrap(), Some(None));
    }

    #[tokio::test(start_paused = true)]
    async fn finish_tells_of_tasks_that_do_not_end() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("stuck", std::future::pending::<()>());
        assert_eq!(tasks.finish(LONG).await, 1);
    }

    #[tokio::test]
    async fn a_panic_ends_only_its_own_task() {
        let tasks = Tasks::new(CancellationToken::new());
        #[expect(clippy::panic, reason = "the task under test")]
        let task = tasks.spawn("bad", async { panic!("on purpose") });
        assert_eq!(task.await.unwrap(), None::<()>);
        assert_eq!(tasks.finish(LONG).await, 0);
    }
}
