//! Signals that routers send: typing, and how far members have read.

use std::sync::Arc;

use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{LogId, LogKey, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{HeadRow, MemberRow},
    v1::{ConversationKind, Receipt, Role, Signal, signal},
};
use stonechat_rows::{Row, Rows, tables};
use stonechat_rpc::{Audience, Inboxes, Presence, SignalDelivery, TargetQuery};

use super::MarkMoved;

/// A signal and the users who get it; `None`: those interested in its conversation.
pub(crate) type Addressed = (TenantId, Signal, Option<Arc<[UserId]>>);

/// Sends signals to wherever users are.
pub(crate) struct Signals {
    presence: Arc<dyn Presence>,
    inboxes: Arc<Inboxes>,
}

/// The users of member rows who are members.
pub(crate) fn present_users(rows: &[Row]) -> Vec<UserId> {
    let present =
        |row: &&Row| MemberRow::decode(row.value.clone()).is_ok_and(|member| member.role() != Role::Unspecified);
    rows.iter().filter(present).filter_map(|row| UserId::parse(row.key.text(2)).ok()).collect()
}

impl Signals {
    /// Finds nodes by presence and tells them at their inboxes.
    pub fn new(presence: Arc<dyn Presence>, inboxes: Arc<Inboxes>) -> Self {
        Self { presence, inboxes }
    }

    /// Sends signals.
    pub async fn send(&self, signals: Vec<Addressed>) -> Result<(), Error> {
        let mut queries = Vec::with_capacity(signals.len());
        for (tenant, signal, users) in &signals {
            queries.push(match users {
                Some(users) => TargetQuery::Users(tenant.clone(), Arc::clone(users)),
                None => {
                    let id = stonechat_model::ConversationId::parse(&signal.conversation)
                        .map_err(|e| Error::invalid(e.to_string()))?;
                    TargetQuery::Channel(tenant.clone(), id)
                }
            });
        }
        let targets = self.presence.targets(&queries).await?;
        for ((tenant, signal, users), targets) in signals.into_iter().zip(targets) {
            for target in targets {
                let Some(inbox) = self.inboxes.get(target.gateway.as_str()) else { continue };
                let audience = match users {
                    Some(_) => Audience::Users(target.users),
                    None => Audience::Interested,
                };
                inbox.signal(SignalDelivery { tenant: tenant.clone(), signal: signal.clone(), audience });
            }
        }
        Ok(())
    }

    /// Tells members how far others have read, where the conversation's settings allow it; never in channels.
    pub async fn receipts(&self, rows: &Arc<dyn Rows>, marks: Vec<MarkMoved>) -> Result<(), Error> {
        let unavailable = |_| Error::unavailable("rows do not answer");
        if marks.is_empty() {
            return Ok(());
        }
        let log =
            |(tenant, _, id, _): &MarkMoved| LogKey { tenant: tenant.clone(), log: LogId::Conversation(id.clone()) };
        let keys: Vec<_> = marks.iter().map(|mark| tables::head(&log(mark))).collect();
        let heads = rows.get(&keys).await.map_err(unavailable)?;
        let mut signals = Vec::new();
        for ((tenant, user, id, marked), head) in marks.into_iter().zip(heads) {
            let Some(head) = head.and_then(|row| HeadRow::decode(row.value).ok()) else { continue };
            let allowed = head.settings.as_ref().is_some_and(|settings| settings.read_receipts());
            let users: Vec<UserId> = match head.kind() {
                _ if !allowed => continue,
                ConversationKind::Direct => head.peers.iter().filter_map(|peer| UserId::parse(peer).ok()).collect(),
                ConversationKind::Group => {
                    let range = tables::members(&tenant, &id, None, limits::RANGE_ROWS);
                    present_users(&rows.range(range).await.map_err(unavailable)?)
                }
                _ => continue,
            };
            let receipt = Receipt { read_seq: marked.read_seq, delivered_seq: marked.delivered_seq };
            let kind = Some(signal::Kind::Receipt(receipt));
            let signal = Signal { conversation: id.to_string(), user: user.to_string(), kind };
            signals.push((tenant, signal, Some(users.into())));
        }
        self.send(signals).await
    }
}
