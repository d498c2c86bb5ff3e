//! A node of the tenant's own servers: hands commands to routers, waits for each outcome, and sends what was not
//! answered again.

use std::sync::Arc;

use stonechat_commands::CommandRequest;
use stonechat_errors::{Code, Error};
use stonechat_model::{ClientId, GatewayId, TenantId, UserId};
use stonechat_proto::{
    internal::v1::{CommandRecord, command_record},
    v1::{Action, action},
};
use stonechat_rows::Rows;
use stonechat_rpc::{CommandCaller, Done};
use stonechat_views::Views;

use crate::{
    executor::Runtime,
    history::{Acked, History},
    links::{Links, SimRouterLink},
    workload::Workload,
};

/// The simulation's only tenant.
pub const TENANT: &str = "acme";
const TIMEOUT_US: u64 = 3_000_000;
const PAUSE_US: u64 = 50_000;

/// What the tenant's servers work with.
#[derive(Clone)]
pub struct Api {
    /// The executor.
    pub runtime: Runtime,
    /// What is read.
    pub views: Views,
    /// The way to routers.
    pub caller: Arc<CommandCaller>,
    /// What they do.
    pub workload: Workload,
    /// What they were told.
    pub history: History,
}

impl Api {
    /// Servers that are connected to every router.
    pub fn new(
        runtime: Runtime,
        rows: Arc<dyn Rows>,
        links: &Links,
        id: &GatewayId,
        workload: Workload,
        history: History,
    ) -> Self {
        let views = Views::new(rows);
        let node = runtime.new_node();
        let link = SimRouterLink { links: links.clone(), endpoint: id.clone() };
        let caller = CommandCaller::new(id.clone(), Arc::new(link), |_| {});
        links.add_endpoint(id, node, Arc::clone(&caller) as _);
        Self { runtime, views, caller, workload, history }
    }

    /// Does so many things, one after the other, as the tenant or for one of its users.
    pub async fn work(self, count: u64, pause_us: u64) {
        for _ in 0..count {
            self.runtime.sleep(self.workload.random().between(0, pause_us)).await;
            let user = self.workload.user();
            let (conversation, action) = match self.workload.random().below(5) {
                0 => self.workload.create(&user),
                1 => (self.workload.direct_with(&user).0, self.workload.act(6)),
                _ => (self.workload.conversation(), self.workload.act(20)),
            };
            let by_tenant = self.workload.random().chance(400);
            let sender = if by_tenant { String::new() } else { user.to_string() };
            self.command(conversation, sender, action).await;
        }
    }

    async fn command(&self, conversation: String, sender: String, action: Action) {
        use action::Kind;
        if matches!(
            action.kind,
            Some(Kind::HideMessage(_) | Kind::UpdateMembership(_) | Kind::UpdateProfile(_) | Kind::Leave(_)) | None
        ) {
            // Users do these themselves.
            return;
        }
        let now_us = self.runtime.now_us();
        let is_named = self.workload.random().chance(300);
        let client_id = if is_named { self.workload.name_id() } else { self.workload.client_id(now_us) };
        let Some(record) = self.record(&conversation, &sender, &client_id, action.clone()).await else { return };
        self.history.asked(&client_id, format!("{conversation} by {sender:?}: {action:?}"));
        match self.call(&record).await {
            Ok(done) => {
                let Done { seq, time_us, .. } = done;
                self.history.acked(Acked { conversation, sender, client_id, seq, time_us, action });
                if seq > 0 && self.workload.random().chance(150) {
                    self.ask_again(record, seq).await;
                }
            }
            Err(_) => self.history.refused(&client_id),
        }
    }

    /// The command's record, as the tenant's api makes it; `None` when it cannot be made.
    async fn record(&self, conversation: &str, sender: &str, client_id: &str, action: Action) -> Option<CommandRecord> {
        if !matches!(action.kind, Some(action::Kind::Send(_) | action::Kind::Edit(_))) {
            return Some(CommandRecord {
                tenant: TENANT.to_owned(),
                log: conversation.to_owned(),
                sender: sender.to_owned(),
                client_id: client_id.to_owned(),
                body: Some(command_record::Body::Action(action)),
                ..CommandRecord::default()
            });
        }
        let request = CommandRequest {
            tenant: TenantId::parse(TENANT).ok()?,
            sender: UserId::parse(sender).ok(),
            is_by_tenant: true,
            asked_hash: 0,
            conversation: conversation.to_owned(),
            client_id: ClientId::parse(client_id).ok()?,
            action,
            traceparent: String::new(),
        };
        loop {
            match stonechat_commands::command(&self.views, request.clone()).await {
                Err(error) if error.is_retryable() => self.runtime.sleep(PAUSE_US).await,
                made => return made.ok(),
            }
        }
    }

    /// The same command once more must be answered as before, and another one under its id refused.
    async fn ask_again(&self, mut record: CommandRecord, seq: u64) {
        let id = record.client_id.clone();
        self.history.asked(&format!("{id} again"), String::from("asked again"));
        match self.call(&record).await {
            Ok(done) if done.seq == seq => self.history.refused(&format!("{id} again")),
            other => self.history.asked(&format!("{id} again"), format!("{other:?} instead of {seq}")),
        }
        record.body = Some(command_record::Body::Action(self.workload.say()));
        (record.asked_hash, record.lacks_file) = (0, false);
        match self.call(&record).await {
            Err(error) if error.code == Code::Conflict => {}
            other => self.history.asked(&format!("{id} with other content"), format!("{other:?}, no conflict")),
        }
    }

    /// Sends until it is answered.
    async fn call(&self, record: &CommandRecord) -> Result<Done, Error> {
        loop {
            let timeout = self.runtime.sleep(TIMEOUT_US);
            match self.caller.call_until(record.clone(), timeout).await {
                Err(error) if error.is_retryable() => self.runtime.sleep(PAUSE_US).await,
                answer => return answer,
            }
        }
    }
}
