//! Events and outcomes on their way to the nodes.

use std::{collections::BTreeMap, sync::Arc};

use stonechat_model::{GatewayId, LogKey, UserId};
use stonechat_proto::v1::{ConversationKind, Event};
use stonechat_rpc::{Audience, Delivery, Inboxes, Outcome, Presence, TargetQuery};

/// Consecutive events of one log that go to the same sessions.
#[derive(Debug)]
pub(super) struct Run {
    /// The log.
    pub log: LogKey,
    /// The log's kind after them.
    pub kind: ConversationKind,
    /// The events.
    pub events: Vec<Arc<Event>>,
    /// Who gets them.
    pub audience: RunAudience,
    /// The trace context of the first event that is traced; empty where none is.
    pub traceparent: String,
}

/// Who gets a run of events.
#[derive(Debug, Clone)]
pub(super) enum RunAudience {
    /// These users.
    Users(Arc<[UserId]>),
    /// Whoever is interested in the channel.
    Interested,
}

impl RunAudience {
    /// Whether events for both can go together.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Users(a), Self::Users(b)) => Arc::ptr_eq(a, b),
            (Self::Interested, Self::Interested) => true,
            _ => false,
        }
    }
}

/// Tells nodes.
pub(super) struct Deliverer {
    presence: Arc<dyn Presence>,
    inboxes: Arc<Inboxes>,
}

impl Deliverer {
    /// Finds nodes by presence and tells them at their inboxes.
    pub fn new(presence: Arc<dyn Presence>, inboxes: Arc<Inboxes>) -> Self {
        Self { presence, inboxes }
    }

    /// Delivers to whoever is there, and gives outcomes to whoever waits for them. Routes are asked for here, after
    /// the events were written: who registered later reads them from the log. Where routes cannot be had every node
    /// is told to check for itself.
    pub async fn tell(&self, runs: Vec<Run>, outcomes: Vec<Outcome>) {
        let mut nodes: BTreeMap<GatewayId, (Vec<Delivery>, Vec<Outcome>)> = BTreeMap::new();
        if !runs.is_empty() {
            match self.presence.targets(&runs.iter().map(query).collect::<Vec<_>>()).await {
                Ok(targets) => {
                    for (run, targets) in runs.iter().zip(targets) {
                        for target in targets {
                            let delivery = run.delivery(target.users);
                            nodes.entry(target.gateway).or_default().0.push(delivery);
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "presence did not answer; nodes check for themselves");
                    self.inboxes.all().iter().for_each(|inbox| inbox.unsure());
                }
            }
        }
        for outcome in outcomes {
            match nodes.get_mut(outcome.origin.node.as_str()) {
                Some((_, outcomes)) => outcomes.push(outcome),
                None => {
                    if let Ok(node) = GatewayId::parse(&outcome.origin.node) {
                        nodes.entry(node).or_default().1.push(outcome);
                    }
                }
            }
        }
        for (node, (deliveries, outcomes)) in nodes {
            if let Some(inbox) = self.inboxes.get(node.as_str()) {
                inbox.batch(deliveries, outcomes);
            }
        }
    }
}

fn query(run: &Run) -> TargetQuery {
    match (&run.audience, run.log.log.conversation()) {
        (RunAudience::Users(users), _) => TargetQuery::Users(run.log.tenant.clone(), Arc::clone(users)),
        (RunAudience::Interested, Some(id)) => TargetQuery::Channel(run.log.tenant.clone(), id.clone()),
        (RunAudience::Interested, None) => TargetQuery::Users(run.log.tenant.clone(), Arc::from([])),
    }
}

impl Run {
    fn delivery(&self, users: Vec<UserId>) -> Delivery {
        let audience = match self.audience {
            RunAudience::Users(_) => Audience::Users(users),
            RunAudience::Interested => Audience::Interested,
        };
        Delivery {
            log: self.log.clone(),
            kind: self.kind,
            events: self.events.clone(),
            audience,
            traceparent: self.traceparent.clone(),
        }
    }
}
