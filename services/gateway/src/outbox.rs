//! What waits for a session: encoded frames, bounded in bytes.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Poll, Waker},
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::close::Close;

/// The frames that wait for one session, and whether it is to be closed.
pub struct Outbox {
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    close: Option<Close>,
    waker: Option<Waker>,
    /// Of whoever waits for room.
    room: Option<Waker>,
}

/// What a session's writer does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Write these frames.
    Frames(Vec<Bytes>),
    /// Close; nothing more is written.
    Close(Close),
}

impl Outbox {
    /// An empty one that holds at most this many bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Mutex::default() }
    }

    /// Adds frames, in order, and wakes the writer once. Where they do not fit, the session is to be closed as too
    /// slow: it will find what it missed when it is back.
    pub fn push(&self, frames: impl IntoIterator<Item = Bytes>) {
        if let Some(waker) = self.put(frames) {
            waker.wake();
        }
    }

    /// As [`Outbox::push`], but leaves it to the caller to wake the writer, once it has put everything everywhere.
    #[must_use]
    pub(crate) fn put(&self, frames: impl IntoIterator<Item = Bytes>) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.close.is_some() {
            return None;
        }
        for frame in frames {
            state.bytes += frame.len();
            state.frames.push_back(frame);
        }
        if state.bytes > self.max_bytes {
            metrics::counter!("stonechat_gateway_overflows_total").increment(1);
            state.close = Some(Close::TOO_SLOW);
            state.frames = VecDeque::new();
            state.bytes = 0;
            state.tell_room();
        }
        state.waker.take()
    }

    /// Closes the session, after what waits was written; the first reason counts.
    pub fn close(&self, close: Close) {
        let mut state = self.state.lock();
        state.close.get_or_insert(close);
        state.tell_room();
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the session is to be closed, and why.
    pub fn closing(&self) -> Option<Close> {
        self.state.lock().close.clone()
    }

    /// Whether less than half of what may wait does, or nothing more will.
    pub fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.close.is_some() || state.bytes <= self.max_bytes / 2
    }

    /// Waits until there is room. Whoever has more to say than may wait, says it as fast as the peer takes it.
    pub async fn room(&self) {
        poll_fn(|context| {
            if self.has_room() {
                return Poll::Ready(());
            }
            self.state.lock().room = Some(context.waker().clone());
            // It may have become so just now.
            if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Waits for something to write: frames of about `max_bytes`, at least one.
    pub async fn next(&self, max_bytes: usize) -> Next {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if let Some(next) = state.take(max_bytes) {
                return Poll::Ready(next);
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// What is there to write now.
    pub fn take(&self, max_bytes: usize) -> Option<Next> {
        self.state.lock().take(max_bytes)
    }

    /// Waits until the session is to be closed because it is too slow; for a writer that is stuck.
    pub async fn overflowed(&self) {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.close == Some(Close::TOO_SLOW) {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl State {
    /// Has whoever waits for room look again.
    fn tell_room(&mut self) {
        if let Some(waker) = self.room.take() {
            waker.wake();
        }
    }

    fn take(&mut self, max_bytes: usize) -> Option<Next> {
        if self.frames.is_empty() {
            return self.close.clone().map(Next::Close);
        }
        let mut bytes = 0;
        let mut count = 0;
        for frame in &self.frames {
            if count > 0 && bytes + frame.len() > max_bytes {
                break;
            }
            bytes += frame.len();
            count += 1;
        }
        self.bytes -= bytes;
        self.tell_room();
        let frames = if count == self.frames.len() {
            // Gives the memory back as well: most sessions are idle most of the time.
            std::mem::take(&mut self.frames).into()
        } else {
            self.frames.drain(..count).collect()
        };
        Some(Next::Frames(frames))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn frame(length: usize) -> Bytes {
        vec![0; length].into()
    }

    #[test]
    fn frames_are_gathered_up_to_a_size_and_kept_in_order() {
        let outbox = Outbox::new(1_000);
        outbox.push([frame(10), frame(20), frame(30)]);
        assert_eq!(outbox.take(30), Some(Next::Frames(vec![frame(10), frame(20)])));
        assert_eq!(outbox.take(1), Some(Next::Frames(vec![frame(30)])), "one frame always goes");
        assert_eq!(outbox.take(30), None);
    }

    #[test]
    fn what_does_not_fit_closes_the_session_and_holds_nothing() {
        let outbox = Outbox::new(100);
        outbox.push([frame(60)]);
        outbox.push([frame(60)]);
        outbox.push([frame(60)]);
        assert_eq!(outbox.take(1_000), Some(Next::Close(Close::TOO_SLOW)));
    }

    #[test]
    fn a_close_comes_after_what_waits_and_the_first_reason_counts() {
        let outbox = Outbox::new(100);
        outbox.push([frame(1)]);
        outbox.close(Close::REVOKED);
        outbox.close(Close::GOING_AWAY);
        outbox.push([frame(2)]);
        assert_eq!(outbox.take(100), Some(Next::Frames(vec![frame(1)])));
        assert_eq!(outbox.take(100), Some(Next::Close(Close::REVOKED)));
    }

    #[test]
    fn there_is_room_again_once_half_was_taken_or_nothing_more_will_be() {
        let waits = |outbox: &Outbox| !outbox.has_room() && outbox.room().now_or_never().is_none();
        let outbox = Outbox::new(100);
        outbox.push([frame(40), frame(40)]);
        assert!(waits(&outbox));
        outbox.take(40);
        assert!(!waits(&outbox), "half of it is taken");
        outbox.push([frame(40)]);
        let mut room = std::pin::pin!(outbox.room());
        assert_eq!(room.as_mut().now_or_never(), None);
        outbox.close(Close::GOING_AWAY);
        assert_eq!(room.now_or_never(), Some(()), "a session that ends is waited for no longer");
    }
}
