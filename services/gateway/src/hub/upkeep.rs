//! What deliveries leave to be done, and what must be done every so often.

use std::{sync::Arc, time::Duration};

use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, TimeUs};
use stonechat_proto::v1::{ConversationKind, Page, Synced, server_frame};

use super::{Attached, Channel, Hub};
use crate::close::Close;

/// Sessions are checked again spread over this time.
const RECHECK_SPREAD: Duration = Duration::from_secs(3);
/// Sessions that are checked between two pauses.
const RECHECK_AT_ONCE: usize = 50;
/// What waits to be done; beyond it everything is checked again instead.
const WORK_ITEMS: usize = 10_000;
/// The pause before a failed work item is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Something left to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// These sessions follow a channel from now on, and catch up.
    Follow {
        /// The channel.
        channel: Channel,
        /// The sessions' numbers.
        sessions: Vec<u64>,
    },
    /// These sessions' user log says now that they are in a conversation, which they are told the head of.
    Tell {
        /// The conversation.
        conversation: Channel,
        /// The sessions' numbers.
        sessions: Vec<u64>,
    },
    /// What sessions of this tenant came by may be good no more.
    Credentials(TenantId),
    /// Nobody here may be interested in the channel any more.
    Release(Channel),
    /// Something may have been missed: register everything again, and have every session check its heads.
    Recheck,
    /// Register everything again, though nothing tells that it was lost.
    Register,
    /// These sessions check their heads, though nothing tells that they missed something.
    Look(Vec<u64>),
}

impl Hub {
    pub(super) fn push_work(&self, work: Work) {
        let mut queue = self.work.lock();
        if queue.len() >= WORK_ITEMS {
            queue.clear();
            queue.push_back(Work::Recheck);
        } else if queue.back() != Some(&work) {
            queue.push_back(work);
        }
        drop(queue);
        self.has_work.notify_one();
    }

    /// Waits for something left to be done.
    pub async fn next_work(&self) -> Work {
        loop {
            if let Some(work) = self.work.lock().pop_front() {
                return work;
            }
            self.has_work.notified().await;
        }
    }

    /// Does it; what fails is left to be done again.
    pub async fn perform(&self, work: Work) {
        let done = match &work {
            Work::Follow { channel, sessions } => self.follow(channel, sessions).await,
            Work::Tell { conversation, sessions } => self.tell_joined(conversation, sessions).await,
            Work::Credentials(tenant) => self.check_credentials(tenant).await,
            Work::Release(channel) => self.release_channel(channel).await,
            Work::Recheck => self.recheck().await,
            Work::Register => self.register().await,
            Work::Look(sessions) => self.look(sessions).await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "gateway upkeep failed and will be tried again");
            (self.dependencies.sleep)(RETRY_PAUSE).await;
            self.push_work(work);
        }
    }

    /// Registers with presence. Before the first session.
    pub async fn start(&self) -> Result<(), Error> {
        self.dependencies.presence.attach(&self.config.id, self.as_inbox()?).await
    }

    /// Renews the lease; when it lapsed everything is checked again.
    pub async fn renew(&self) {
        match self.dependencies.presence.renew(&self.config.id).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("the lease of this gateway lapsed");
                stonechat_rpc::Inbox::unsure(self);
            }
            Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
        }
    }

    /// Closes sessions whose tokens expired, and has those that stay known for longer.
    pub fn tick(&self, now_us: TimeUs) {
        for session in self.all() {
            if session.expires_us() <= now_us {
                session.outbox.close(Close::EXPIRED);
            } else {
                self.note_still_open(&session, now_us);
            }
        }
    }

    /// Registers everything again, whether or not there is a doubt.
    pub fn register_again(&self) {
        self.push_work(Work::Register);
    }

    /// Has a share of the sessions, that of this step of so many, check their heads whether or not there is a doubt.
    pub fn look_again(&self, step: u64, steps: u64) {
        let sessions: Vec<u64> = self.state.lock().ids().filter(|id| id % steps == step).collect();
        if !sessions.is_empty() {
            self.push_work(Work::Look(sessions));
        }
    }

    /// Those of these sessions that are still here.
    fn known(&self, sessions: &[u64]) -> impl Iterator<Item = Arc<Attached>> {
        sessions.iter().filter_map(|id| self.state.lock().get(*id).cloned())
    }

    /// Has sessions follow a channel. What was missed before is found by the head, which is read afterwards.
    async fn follow(&self, channel: &Channel, sessions: &[u64]) -> Result<(), Error> {
        let sessions: Vec<Arc<Attached>> = self.known(sessions).collect();
        self.add_interest(&sessions, std::slice::from_ref(channel)).await?;
        for session in &sessions {
            let read = self.views.conversation(&session.tenant, Some(&session.user), &channel.1).await;
            match read {
                Ok(conversation) => {
                    let page = Page { conversations: vec![conversation], ..Page::default() };
                    session.tell(server_frame::Kind::Page(page));
                }
                // Removed again meanwhile.
                Err(error) if !error.is_retryable() => self.state.lock().remove_interest(session, channel),
                Err(error) => return Err(error),
            }
        }
        self.release_channel(channel).await
    }

    /// Tells sessions the head of a conversation that their user's log has just taken up. Until then it was in no
    /// list of theirs, so what they missed of it meanwhile no look at their heads could tell.
    pub(crate) async fn tell_joined(&self, conversation: &Channel, sessions: &[u64]) -> Result<(), Error> {
        for session in self.known(sessions) {
            let read = self.views.conversation(&session.tenant, Some(&session.user), &conversation.1).await;
            match read {
                Ok(found) if found.kind() == ConversationKind::Channel => {
                    self.follow(conversation, &[session.id]).await?;
                }
                Ok(found) => {
                    let page = Page { conversations: vec![found], ..Page::default() };
                    session.tell(server_frame::Kind::Page(page));
                }
                // Removed again meanwhile.
                Err(error) if !error.is_retryable() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn recheck(&self) -> Result<(), Error> {
        metrics::counter!("stonechat_gateway_rechecks_total").increment(1);
        let presence = &self.dependencies.presence;
        let (id, inbox) = (&self.config.id, self.as_inbox()?);
        if !presence.renew(id).await? {
            presence.attach(id, inbox).await?;
        }
        self.register().await?;
        let sessions = self.all();
        let pauses = u32::try_from(sessions.len() / RECHECK_AT_ONCE).unwrap_or(u32::MAX);
        for some in sessions.chunks(RECHECK_AT_ONCE) {
            for session in some {
                session.forget_commands();
                self.look_at(session).await?;
            }
            if let Some(pause) = RECHECK_SPREAD.checked_div(pauses) {
                (self.dependencies.sleep)(pause).await;
            }
        }
        Ok(())
    }

    /// Registers everything. Whoever finds that the lease lapsed has more to do than that.
    async fn register(&self) -> Result<(), Error> {
        let (presence, id) = (&self.dependencies.presence, &self.config.id);
        let (users, channels, watched) = {
            let mut state = self.state.lock();
            state.forget_told();
            state.registered()
        };
        presence.add_routes(id, &users).await?;
        presence.add_interest(id, &channels).await?;
        for (tenant, user) in watched {
            presence.watch(id, &tenant, &[user]).await?;
        }
        Ok(())
    }

    async fn look(&self, sessions: &[u64]) -> Result<(), Error> {
        for session in self.known(sessions) {
            self.look_at(&session).await?;
        }
        Ok(())
    }

    /// Has a session check what it can have missed to be told.
    async fn look_at(&self, session: &Arc<Attached>) -> Result<(), Error> {
        self.check_credential(session).await?;
        self.check_interests(session).await?;
        self.tell_heads(session).await
    }

    /// Closes a session whose credential is good no more: that may have been told when it could not be heard.
    pub(crate) async fn check_credential(&self, session: &Arc<Attached>) -> Result<(), Error> {
        let now_us = (self.dependencies.now_us)();
        let verifier = &self.dependencies.verifier;
        match verifier.still_valid(&session.claims(), &session.device, session.opened_us, now_us).await {
            Err(error) if error.is_retryable() => Err(error),
            Err(error) if error.code == Code::PermissionDenied => {
                session.outbox.close(Close::DISCONNECTED);
                Ok(())
            }
            Err(_) => {
                session.outbox.close(Close::REVOKED);
                Ok(())
            }
            Ok(claims) => {
                session.adjust(&claims);
                Ok(())
            }
        }
    }

    /// Looks again at what sessions of a tenant came by, after the tenant changed.
    async fn check_credentials(&self, tenant: &TenantId) -> Result<(), Error> {
        for session in self.all().iter().filter(|session| session.tenant == *tenant) {
            self.check_credential(session).await?;
        }
        Ok(())
    }

    /// Takes a session out of channels that its user is no member of any more.
    async fn check_interests(&self, session: &Arc<Attached>) -> Result<(), Error> {
        let ids: Vec<_> = session.interests.lock().iter().cloned().collect();
        let are_members = self.views.are_member(&session.tenant, &session.user, &ids).await?;
        for (id, _) in ids.into_iter().zip(are_members).filter(|(_, is_member)| !is_member) {
            let channel = (session.tenant.clone(), id);
            self.take_out(&mut self.state.lock(), &channel, std::slice::from_ref(session));
        }
        Ok(())
    }

    /// Tells a session the heads of all it is in; it asks for what it has not.
    async fn tell_heads(&self, session: &Arc<Attached>) -> Result<(), Error> {
        crate::session::tell_heads(self, session).await?;
        let user_log_seq = self.views.user_log_seq(&session.tenant, &session.user).await?;
        session.tell(server_frame::Kind::Synced(Synced { id: 0, user_log_seq }));
        Ok(())
    }
}
