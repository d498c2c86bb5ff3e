//! Waiting for something to become true.

use std::{
    future::poll_fn,
    task::{Poll, Waker},
};

use parking_lot::Mutex;

/// Wakes whoever waits, each time it rings.
#[derive(Default)]
pub struct Bell(Mutex<Vec<Waker>>);

impl Bell {
    /// Lets everybody who waits check again.
    pub fn ring(&self) {
        let waiting = std::mem::take(&mut *self.0.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until `check` gives something; it is called at first and after each ring.
    pub async fn until<T>(&self, mut check: impl FnMut() -> Option<T> + Send) -> T {
        poll_fn(|context| match check() {
            Some(found) => Poll::Ready(found),
            None => {
                self.0.lock().push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}
