//! Telling those who follow a user that the status changed, here or in another process of presence.

use std::{collections::HashMap, sync::Arc};

use prost::Message as _;
use redis::{FromRedisValue, PushInfo, PushKind, Value};
use stonechat_errors::Error;
use stonechat_model::{GatewayId, TenantId, UserId};
use stonechat_proto::{
    internal::v1::StatusToGateways,
    v1::{Signal, Status, signal},
};
use stonechat_rpc::{Audience, SignalDelivery};

use super::{RedisPresence, replies::UserState, unreadable};

impl RedisPresence {
    /// Tells those who follow users of the changes that scripts replied.
    pub(super) async fn tell_changes(&self, users: &[String], replies: Vec<Value>) -> Result<(), Error> {
        let mut changes = Vec::new();
        for (user, reply) in users.iter().zip(replies) {
            changes.extend(UserState::of_script(reply)?.filter(|it| !it.watchers.is_empty()).map(|it| (user, it)));
        }
        let unknown =
            self.leases.unknown(changes.iter().flat_map(|(_, state)| state.routes.iter().chain(&state.watchers)));
        self.look_up(unknown).await?;
        let mut published = Vec::new();
        for (item, state) in changes {
            let (tenant, user) = item.split_once('/').ok_or_else(|| unreadable(&"a user of another form"))?;
            let user = UserId::parse(user).map_err(|error| unreadable(&error))?;
            let status = state.status(&user, |registration| self.leases.is_living(registration));
            let mut by_instance: HashMap<Arc<str>, Vec<String>> = HashMap::new();
            for watcher in state.watchers {
                if let Some(instance) = self.leases.instance_of(&watcher) {
                    by_instance.entry(instance).or_default().push(watcher.0);
                }
            }
            for (instance, gateways) in by_instance {
                let told = StatusToGateways { tenant: tenant.to_owned(), status: Some(status.clone()), gateways };
                if *instance == *self.instance {
                    self.tell(told)?;
                } else {
                    let mut publish = redis::cmd("PUBLISH");
                    publish.arg(self.keys.instance(&instance)).arg(told.encode_to_vec());
                    published.push(publish);
                }
            }
        }
        self.connection.run(published).await.map(|_| ())
    }

    /// Tells gateways that are attached here.
    fn tell(&self, told: StatusToGateways) -> Result<(), Error> {
        let tenant = TenantId::parse(&told.tenant).map_err(|error| unreadable(&error))?;
        let Status { user, .. } = told.status.clone().ok_or_else(|| unreadable(&"there is no status"))?;
        let kind = told.status.map(signal::Kind::Status);
        let signal = Signal { conversation: String::new(), user, kind };
        for gateway in &told.gateways {
            let Ok(gateway) = GatewayId::parse(gateway) else { continue };
            let Some(attached) = self.inboxes.lock().get(&gateway).cloned() else { continue };
            let audience = Audience::Users(Vec::new());
            attached.inbox.signal(SignalDelivery { tenant: tenant.clone(), signal: signal.clone(), audience });
        }
        Ok(())
    }

    /// Tells what another process published; the connection pushes other things too.
    pub(super) fn hear(&self, pushed: PushInfo) {
        let payload = match (pushed.kind, pushed.data.into_iter().nth(1)) {
            (PushKind::Message, Some(payload)) => payload,
            _ => return,
        };
        let told = Vec::<u8>::from_redis_value(payload).map_err(|error| unreadable(&error));
        let told = told.and_then(|it| StatusToGateways::decode(&*it).map_err(|error| unreadable(&error)));
        // It was logged; whoever publishes nonsense is not here.
        let _ = told.and_then(|told| self.tell(told));
    }
}
