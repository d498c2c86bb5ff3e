//! Gathering of what many sessions are told.
//!
//! To write to a thousand sockets costs milliseconds, nearly all of it by the number of writes and not by what is
//! written. So a channel rests after a delivery to many sessions, for about as long as their writes take; what comes
//! meanwhile is held and goes out as one, in order, and the next rest is twice as long. What comes to a channel that
//! does not rest goes out at once.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use stonechat_rpc::Delivery;
use tokio::sync::Notify;

use super::{Channel, Hub};

/// The rest for each session of a channel: about what a write takes.
const REST_PER_SESSION: Duration = Duration::from_micros(5);
/// The longest rest, which nobody who chats notices.
const REST_MAX: Duration = Duration::from_millis(25);
/// Deliveries that are held for a channel, at most; with one more all go out.
const HELD: usize = 256;

/// The channels that rest.
#[derive(Default)]
pub(crate) struct Fanouts {
    state: Mutex<State>,
    has_begun: Notify,
}

#[derive(Default)]
struct State {
    resting: HashMap<Channel, Rest>,
    /// Rests that nobody counts the time of yet.
    begun: VecDeque<(Channel, Duration)>,
}

/// A channel's rest.
#[derive(Default)]
pub(super) struct Rest {
    time: Duration,
    /// What came meanwhile.
    pub held: Vec<Delivery>,
}

impl Fanouts {
    /// Takes a delivery and holds it where its channel rests; gives what is to go out now, in order.
    pub fn pass(&self, channel: &Channel, delivery: Delivery) -> Vec<Delivery> {
        let mut state = self.state.lock();
        let Some(Rest { held, .. }) = state.resting.get_mut(channel) else { return vec![delivery] };
        held.push(delivery);
        if held.len() > HELD { std::mem::take(held) } else { Vec::new() }
    }

    /// Has a channel rest that was told to so many sessions, longer than it did `before`.
    pub fn rest(&self, channel: &Channel, sessions: usize, before: Option<Rest>) {
        let mut state = self.state.lock();
        // What went out early leaves the rest as it is.
        if state.resting.contains_key(channel) {
            return;
        }
        let writes = REST_PER_SESSION.saturating_mul(u32::try_from(sessions).unwrap_or(u32::MAX));
        let time = before.map_or(writes, |before| before.time * 2).min(REST_MAX);
        state.resting.insert(channel.clone(), Rest { time, held: Vec::new() });
        state.begun.push_back((channel.clone(), time));
        drop(state);
        self.has_begun.notify_one();
    }

    /// Ends a rest.
    pub fn end(&self, channel: &Channel) -> Rest {
        self.state.lock().resting.remove(channel).unwrap_or_default()
    }

    async fn next(&self) -> (Channel, Duration) {
        loop {
            if let Some(begun) = self.state.lock().begun.pop_front() {
                return begun;
            }
            self.has_begun.notified().await;
        }
    }
}

impl Hub {
    /// Ends the rests of channels when their time has come. Never returns; to be driven by one task.
    pub async fn end_rests(&self) {
        let mut rests = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(channel) = rests.next(), if !rests.is_empty() => self.deliver_held(&channel),
                (channel, time) = self.fanouts.next() => rests.push(async move {
                    (self.dependencies.sleep)(time).await;
                    channel
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stonechat_model::{ConversationId, LogId, LogKey, TenantId};
    use stonechat_proto::v1::ConversationKind;
    use stonechat_rpc::Audience;

    use super::*;

    fn channel() -> Channel {
        let id = ConversationId::parse("01890000-0000-7000-8000-000000000001").expect("an id");
        (TenantId::parse("demo").expect("a tenant"), id)
    }

    fn delivery() -> Delivery {
        let (tenant, id) = channel();
        let log = LogKey { tenant, log: LogId::Conversation(id) };
        Delivery {
            log,
            kind: ConversationKind::Channel,
            events: Vec::new(),
            audience: Audience::Interested,
            traceparent: String::new(),
        }
    }

    #[test]
    fn what_comes_to_a_resting_channel_is_held_until_its_rest_ends() {
        let fanouts = Fanouts::default();
        assert_eq!(fanouts.pass(&channel(), delivery()).len(), 1, "it does not rest yet");
        fanouts.rest(&channel(), 1_000, None);
        assert_eq!(fanouts.pass(&channel(), delivery()).len(), 0);
        assert_eq!(fanouts.pass(&channel(), delivery()).len(), 0);
        assert_eq!(fanouts.end(&channel()).held.len(), 2);
        assert_eq!(fanouts.pass(&channel(), delivery()).len(), 1, "the rest is over");
    }

    #[test]
    fn rests_grow_while_much_comes_and_have_a_bound() {
        let fanouts = Fanouts::default();
        fanouts.rest(&channel(), 1_000, None);
        let first = fanouts.end(&channel());
        let mut last = first.time;
        let mut before = Some(first);
        for _ in 0..8 {
            fanouts.rest(&channel(), 1_000, before.take());
            let next = fanouts.end(&channel());
            assert!(next.time > last || next.time == REST_MAX, "{:?} after {last:?}", next.time);
            last = next.time;
            before = Some(next);
        }
        assert_eq!(last, REST_MAX);
    }

    #[test]
    fn a_channel_holds_so_much_and_no_more() {
        let fanouts = Fanouts::default();
        fanouts.rest(&channel(), 1_000, None);
        let passed: Vec<usize> = (0..=HELD).map(|_| fanouts.pass(&channel(), delivery()).len()).collect();
        assert_eq!(passed.iter().sum::<usize>(), HELD + 1);
        assert_eq!(passed.last(), Some(&(HELD + 1)), "all at once, in order");
        assert_eq!(fanouts.end(&channel()).held.len(), 0);
    }
}
