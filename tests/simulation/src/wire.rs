//! A client's connection: two directions that keep their order, arrive late, and may be cut.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use crate::{bell::Bell, faults::Faults, random::Random};

/// One direction of a connection. Clones are the same one.
pub struct Direction<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    waiting: Mutex<VecDeque<T>>,
    is_closed: Mutex<bool>,
    bell: Bell,
    faults: Faults,
    random: Random,
}

impl<T> Clone for Direction<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T: Send> Direction<T> {
    /// An open one.
    pub fn new(faults: Faults, random: Random) -> Self {
        let inner =
            Inner { waiting: Mutex::default(), is_closed: Mutex::default(), bell: Bell::default(), faults, random };
        Self { inner: Arc::new(inner) }
    }

    /// Sends, unless it is closed.
    pub fn send(&self, item: T) {
        if *self.inner.is_closed.lock() {
            return;
        }
        self.inner.waiting.lock().push_back(item);
        self.inner.bell.ring();
    }

    /// Nothing more is sent; at most so many of what waits still arrive.
    pub fn close(&self, arriving: usize) {
        *self.inner.is_closed.lock() = true;
        let lost = {
            let mut waiting = self.inner.waiting.lock();
            let arriving = arriving.min(waiting.len());
            waiting.split_off(arriving)
        };
        drop(lost);
        self.inner.bell.ring();
    }

    /// Waits for the next; `None` when it is closed and nothing more arrives. Nothing is lost when the wait is dropped.
    pub async fn next(&self) -> Option<T> {
        let inner = &self.inner;
        inner.bell.until(|| (*inner.is_closed.lock() || !inner.waiting.lock().is_empty()).then_some(())).await;
        inner.faults.latency(&inner.random, 0).await;
        inner
            .bell
            .until(|| match inner.waiting.lock().pop_front() {
                Some(item) => Some(Some(item)),
                None => (*inner.is_closed.lock()).then_some(None),
            })
            .await
    }
}

/// Both directions of a connection, as a client and its gateway share them.
#[derive(Clone)]
pub struct Wire {
    /// From the client.
    pub up: Direction<bytes::Bytes>,
    /// To the client.
    pub down: Direction<bytes::Bytes>,
}

impl Wire {
    /// An open connection.
    pub fn new(faults: &Faults, random: &Random) -> Self {
        let direction = || Direction::new(faults.clone(), random.clone());
        Self { up: direction(), down: direction() }
    }

    /// Breaks it.
    pub fn cut(&self, arriving: usize) {
        self.up.close(arriving);
        self.down.close(arriving);
    }
}
