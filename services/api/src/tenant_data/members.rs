//! Adding many members, in commands of as many as one may have.

use stonechat_commands::CommandRequest;
use stonechat_errors::{Code, Error};
use stonechat_model::{ClientId, TenantId, UserId, limits};
use stonechat_proto::v1::{Action, AddMembers, ImportMembersResponse, action};

use super::Data;

/// Commands that are on their way at once.
const AT_ONCE: usize = 16;

/// Members being added. Whoever is one already is passed over, so it may be done again from its beginning.
pub(crate) struct Members {
    data: Data,
    tenant: TenantId,
    conversation: String,
    waiting: Vec<String>,
    done: ImportMembersResponse,
}

impl Members {
    /// Adds members to a conversation on behalf of its tenant.
    pub fn new(data: Data, tenant: TenantId, conversation: String) -> Self {
        let done = ImportMembersResponse { conversation: conversation.clone(), ..ImportMembersResponse::default() };
        Self { data, tenant, conversation, waiting: Vec::new(), done }
    }

    /// Takes a line with a JSON string; an empty line says nothing.
    pub async fn take_line(&mut self, line: &[u8]) -> Result<(), Error> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let user: String = serde_json::from_slice(line)
            .map_err(|_| Error::invalid(format!("line {}: it is no JSON string", self.done.users + 1)))?;
        self.take(user).await
    }

    /// Takes a user.
    pub async fn take(&mut self, user: String) -> Result<(), Error> {
        self.done.users += 1;
        let number = self.done.users;
        UserId::parse(&user).map_err(|e| Error::invalid(format!("user {number}: {e}")))?;
        if number > limits::BULK_MEMBERS as u64 {
            return Err(Error::new(Code::LimitExceeded, format!("at most {} users", limits::BULK_MEMBERS)));
        }
        self.waiting.push(user);
        if self.waiting.len() >= limits::MEMBERS_PER_COMMAND * AT_ONCE {
            self.flush().await?;
        }
        Ok(())
    }

    /// Has everybody added who was taken.
    pub async fn finish(mut self) -> Result<ImportMembersResponse, Error> {
        if self.done.users == 0 {
            return Err(Error::invalid("users are missing"));
        }
        self.flush().await?;
        Ok(self.done)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let mut commands = Vec::new();
        for users in self.waiting.chunks(limits::MEMBERS_PER_COMMAND) {
            let add = AddMembers { users: users.to_vec(), ..AddMembers::default() };
            let request = CommandRequest {
                tenant: self.tenant.clone(),
                sender: None,
                is_by_tenant: true,
                asked_hash: 0,
                conversation: self.conversation.clone(),
                client_id: ClientId::generate(),
                action: Action { kind: Some(action::Kind::AddMembers(add)) },
                traceparent: String::new(),
            };
            commands.push(stonechat_commands::command(&self.data.views, request).await?);
        }
        self.waiting.clear();
        let done = self.data.submit_all(commands).await.map_err(|(_, error)| error)?;
        let newest = done.iter().map(|done| done.seq).max().unwrap_or(0);
        self.done.last_seq = self.done.last_seq.max(newest);
        Ok(())
    }
}
