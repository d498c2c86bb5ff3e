//! A bounded queue whose reader takes everything that waits at once, as one frame.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What a queue holds at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Items.
    pub items: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Why a queue takes nothing; gives the item back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is full.
    Full,
    /// Nobody reads it any more.
    Closed,
}

/// A queue of items with their sizes.
pub(super) struct Gather<T> {
    bounds: Bounds,
    queue: Mutex<Queue<T>>,
    changed: Notify,
    end: CancellationToken,
}

struct Queue<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

impl<T> Gather<T> {
    pub fn new(bounds: Bounds) -> Self {
        let queue = Queue { items: VecDeque::new(), bytes: 0, closed: false };
        Self { bounds, queue: Mutex::new(queue), changed: Notify::new(), end: CancellationToken::new() }
    }

    /// Puts an item of this size at the end.
    pub fn push(&self, item: T, size: usize) -> Result<(), Refused> {
        let was_empty = {
            let mut queue = self.queue.lock();
            if queue.closed {
                return Err(Refused::Closed);
            }
            // A single item of any size passes, or it never would.
            let is_full = queue.items.len() >= self.bounds.items || queue.bytes + size > self.bounds.bytes;
            if is_full && !queue.items.is_empty() {
                return Err(Refused::Full);
            }
            queue.bytes += size;
            queue.items.push_back((item, size));
            queue.items.len() == 1
        };
        if was_empty {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Waits for items and takes as many as fit into `max_bytes`, at least one. `None`: the queue was closed.
    pub async fn take(&self, max_bytes: usize) -> Option<Vec<T>> {
        loop {
            {
                let mut queue = self.queue.lock();
                if let Some(taken) = queue.take(max_bytes) {
                    return Some(taken);
                }
                if queue.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Ends the queue: nothing more is taken in. What waits can still be read.
    pub fn close(&self) {
        self.queue.lock().closed = true;
        self.end.cancel();
        self.changed.notify_one();
    }

    /// Waits until the queue is closed.
    pub async fn closed(&self) {
        self.end.cancelled().await;
    }

    /// Ends the queue and gives what nobody read.
    pub fn drain(&self) -> Vec<T> {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.bytes = 0;
        let items = std::mem::take(&mut queue.items);
        drop(queue);
        self.end.cancel();
        self.changed.notify_one();
        items.into_iter().map(|(item, _)| item).collect()
    }
}

impl<T> Queue<T> {
    fn take(&mut self, max_bytes: usize) -> Option<Vec<T>> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some((_, size)) = self.items.front() {
            if !taken.is_empty() && bytes + size > max_bytes {
                break;
            }
            let (item, size) = self.items.pop_front()?;
            bytes += size;
            taken.push(item);
        }
        self.bytes -= bytes;
        (!taken.is_empty()).then_some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Gather<u32> {
        Gather::new(Bounds { items: 4, bytes: 100 })
    }

    #[tokio::test]
    async fn what_waits_is_taken_together_up_to_the_size() {
        let queue = queue();
        for item in 1..=3 {
            assert_eq!(queue.push(item, 10), Ok(()));
        }
        assert_eq!(queue.take(20).await, Some(vec![1, 2]));
        assert_eq!(queue.take(20).await, Some(vec![3]));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_until_it_is_read() {
        let queue = queue();
        assert_eq!(queue.push(1, 60), Ok(()));
        assert_eq!(queue.push(2, 60), Err(Refused::Full));
        assert_eq!(queue.take(1).await, Some(vec![1]));
        assert_eq!(queue.push(2, 1_000), Ok(()), "one item of any size passes");
        assert_eq!(queue.take(1).await, Some(vec![2]));
        for item in 0..4 {
            assert_eq!(queue.push(item, 0), Ok(()));
        }
        assert_eq!(queue.push(4, 0), Err(Refused::Full));
    }

    #[tokio::test]
    async fn a_closed_queue_is_read_to_its_end() {
        let queue = queue();
        assert_eq!(queue.push(1, 1), Ok(()));
        queue.close();
        assert_eq!(queue.push(2, 1), Err(Refused::Closed));
        assert_eq!(queue.take(10).await, Some(vec![1]));
        assert_eq!(queue.take(10).await, None);
    }

    #[tokio::test]
    async fn draining_gives_what_nobody_read() {
        let queue = queue();
        assert_eq!(queue.push(7, 1), Ok(()));
        assert_eq!(queue.drain(), vec![7]);
        assert_eq!(queue.take(10).await, None);
    }
}
