//! Events and outcomes on their way to the nodes.

use std::sync::Arc;

use stonechat_model::{LogKey, UserId};
use stonechat_proto::v1::{ConversationKind, Event};
use stonechat_rpc::{Audience, Delivery, Inboxes, Outcome, Presence, Target, TargetQuery};

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

    /// Delivers to whoever is there. Routes are asked for here, after the events were written: who registered
    /// later reads them from the log. Where routes cannot be had every node is told to check for itself.
    pub async fn deliver(&self, runs: Vec<Run>) {
        if runs.is_empty() {
            return;
        }
        let query = |run: &Run| match (&run.audience, run.log.log.conversation()) {
            (RunAudience::Users(users), _) => TargetQuery::Users(run.log.tenant.clone(), Arc::clone(users)),
            (RunAudience::Interested, Some(id)) => TargetQuery::Channel(run.log.tenant.clone(), id.clone()),
            (RunAudience::Interested, None) => TargetQuery::Users(run.log.tenant.clone(), Arc::from([])),
        };
        let queries: Vec<TargetQuery> = runs.iter().map(query).collect();
        match self.presence.targets(&queries).await {
            Ok(targets) => {
                for (run, targets) in runs.iter().zip(targets) {
                    self.deliver_run(run, targets);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "presence did not answer; nodes check for themselves");
                self.inboxes.all().iter().for_each(|inbox| inbox.unsure());
            }
        }
    }

    fn deliver_run(&self, run: &Run, targets: Vec<Target>) {
        for Target { gateway, users } in targets {
            let Some(inbox) = self.inboxes.get(gateway.as_str()) else { continue };
            let audience = match run.audience {
                RunAudience::Users(_) => Audience::Users(users),
                RunAudience::Interested => Audience::Interested,
            };
            inbox.deliver(Delivery { log: run.log.clone(), kind: run.kind, events: run.events.clone(), audience });
        }
    }

    /// Gives outcomes to whoever waits for them.
    pub fn answer(&self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            if let Some(inbox) = self.inboxes.get(&outcome.origin.node) {
                inbox.outcome(outcome);
            }
        }
    }
}
