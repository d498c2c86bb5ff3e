//! Lines of an imported history: from JSON to items, and from what is no event to the commands that lead to it.

use stonechat_errors::Error;
use stonechat_model::{ConversationId, TenantId, TimeUs, UserId, limits};
use stonechat_proto::{
    internal::v1::{CommandRecord, Imported, user_action},
    v1::{DataItem, DataMembership, Marked, MembershipChanged, ProfileChanged, User},
};

use crate::{check_body, check_depth, check_plain, user_record};

/// Reads a line of an import.
pub fn imported_item(line: &[u8]) -> Result<DataItem, Error> {
    check_depth("line", line, limits::JSON_DEPTH)?;
    serde_json::from_slice(line).map_err(|e| Error::invalid(format!("line is no item: {e}")))
}

/// Makes the record that brings a user's profile in, which stands where it says, or now; gives the user as well.
pub fn imported_user(tenant: &TenantId, user: User, now_us: TimeUs) -> Result<(UserId, CommandRecord), Error> {
    let id = UserId::parse(&user.id).map_err(|e| Error::invalid(format!("user: {e}")))?;
    check_plain("name", &user.name, limits::NAME_BYTES)?;
    check_plain("avatar", &user.avatar, limits::AVATAR_BYTES)?;
    let time_us = match user.created_us {
        0 => now_us,
        1.. => user.created_us,
        _ => return Err(Error::invalid("created is before 1970")),
    };
    let change = ProfileChanged { name: Some(user.name), avatar: Some(user.avatar) };
    let record = user_record(tenant, &id, user_action::Kind::UpdateProfile(change));
    let imported = Some(Imported { time_us, ..Imported::default() });
    Ok((id, CommandRecord { imported, ..record }))
}

/// A user's side of a conversation as an import brings it.
#[derive(Debug, Clone)]
pub struct ImportedSide {
    /// Whose it is.
    pub user: UserId,
    /// Of which conversation.
    pub conversation: ConversationId,
    membership: DataMembership,
}

impl ImportedSide {
    /// Checks what stands there. Whether the user is a member, and whether the marks lie within the conversation, is for
    /// whoever reads its rows.
    pub fn parse(membership: DataMembership) -> Result<Self, Error> {
        let user = UserId::parse(&membership.user).map_err(|e| Error::invalid(format!("user: {e}")))?;
        let conversation = crate::conversation_id(&membership.conversation)?;
        let draft = membership.preferences.as_ref().map_or("", |preferences| &preferences.draft);
        check_body("draft", draft, limits::DRAFT_BYTES)?;
        Ok(Self { user, conversation, membership })
    }

    /// The seq that the conversation must have.
    pub fn newest_mark(&self) -> u64 {
        self.membership.read_seq.max(self.membership.delivered_seq)
    }

    /// The records that bring it in.
    pub fn into_records(self, tenant: &TenantId, now_us: TimeUs) -> Vec<CommandRecord> {
        let Self { user, conversation, membership } = self;
        let conversation = conversation.to_string();
        let DataMembership { read_seq, delivered_seq, preferences, .. } = membership;
        let mark = (read_seq.max(delivered_seq) > 0).then(|| {
            let conversation = conversation.clone();
            user_action::Kind::Mark(Marked { conversation, read_seq, delivered_seq })
        });
        let change = preferences.map(|preferences| {
            user_action::Kind::UpdateMembership(MembershipChanged {
                conversation,
                muted: Some(preferences.muted),
                pinned: Some(preferences.pinned),
                hidden: Some(preferences.hidden),
                draft: Some(preferences.draft),
            })
        });
        let imported = Some(Imported { time_us: now_us, ..Imported::default() });
        let record = |kind| CommandRecord { imported, ..user_record(tenant, &user, kind) };
        mark.into_iter().chain(change).map(record).collect()
    }
}
