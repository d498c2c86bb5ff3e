//! Messages.

use stonechat_errors::Error;
use stonechat_proto::v1::{
    AddReactionRequest, Done, EditMessageRequest, Edited, HideMessage, HideMessageRequest, ListMessagesRequest,
    ListMessagesResponse, Mark, MarkReadRequest, Page, PinMessageRequest, Pinned, ReactionAdded, ReactionRemoved,
    RecallMessageRequest, Recalled, RemoveReactionRequest, SendMessageRequest, UnpinMessageRequest, Unpinned, action,
    event,
};
use stonechat_views::Window;

use super::{Service, conversation_id};
use stonechat_operations::Caller;

/// Puts what edited messages say now in their place; a reader of pages keeps no overlays.
pub(crate) fn say_what_they_say_now(page: &mut Page) {
    for overlay in page.overlays.iter().filter(|overlay| !overlay.recalled) {
        let Some(content) = &overlay.content else { continue };
        let place = page.events.binary_search_by_key(&overlay.target, |event| event.seq);
        if let Some(event) = place.ok().and_then(|place| page.events.get_mut(place))
            && let Some(event::Body::Message(message)) = &mut event.body
        {
            message.clone_from(content);
        }
    }
}

impl Service {
    pub async fn send_message(&self, caller: &Caller, request: SendMessageRequest) -> Result<Done, Error> {
        let SendMessageRequest { conversation, sender, client_id, message } = request;
        let send = action::Kind::Send(message.unwrap_or_default());
        self.act(caller, &sender, &conversation, &client_id, send).await
    }

    pub async fn list_messages(
        &self,
        caller: &Caller,
        request: ListMessagesRequest,
    ) -> Result<ListMessagesResponse, Error> {
        let (tenant, reader) = caller.acting(&request.sender)?;
        let id = conversation_id(&request.conversation)?;
        let window = match (request.after, request.before, request.around) {
            (None, None, None) => Window::Newest,
            (Some(seq), None, None) => Window::After(seq),
            (None, Some(seq), None) => Window::Before(seq),
            (None, None, Some(seq)) => Window::Around(seq),
            _ => return Err(Error::invalid("at most one of after, before and around is set")),
        };
        let limit = usize::try_from(request.page_size).unwrap_or(usize::MAX);
        let mut page = self.views.history(&tenant, reader.as_ref(), &id, window, limit).await?;
        say_what_they_say_now(&mut page);
        Ok(ListMessagesResponse {
            messages: page.events,
            overlays: page.overlays,
            hidden: page.hidden,
            last_seq: page.last_seq,
            more: page.more,
        })
    }

    pub async fn edit_message(&self, caller: &Caller, request: EditMessageRequest) -> Result<Done, Error> {
        let EditMessageRequest { conversation, seq, sender, client_id, message } = request;
        let edit = action::Kind::Edit(Edited { target: seq, content: message });
        self.act(caller, &sender, &conversation, &client_id, edit).await
    }

    pub async fn recall_message(&self, caller: &Caller, request: RecallMessageRequest) -> Result<Done, Error> {
        let RecallMessageRequest { conversation, seq, sender, client_id } = request;
        let recall = action::Kind::Recall(Recalled { target: seq });
        self.act(caller, &sender, &conversation, &client_id, recall).await
    }

    pub async fn add_reaction(&self, caller: &Caller, request: AddReactionRequest) -> Result<Done, Error> {
        let AddReactionRequest { conversation, seq, emoji, sender, client_id } = request;
        let react = action::Kind::React(ReactionAdded { target: seq, emoji });
        self.act(caller, &sender, &conversation, &client_id, react).await
    }

    pub async fn remove_reaction(&self, caller: &Caller, request: RemoveReactionRequest) -> Result<Done, Error> {
        let RemoveReactionRequest { conversation, seq, emoji, sender, client_id } = request;
        let unreact = action::Kind::Unreact(ReactionRemoved { target: seq, emoji });
        self.act(caller, &sender, &conversation, &client_id, unreact).await
    }

    pub async fn pin_message(&self, caller: &Caller, request: PinMessageRequest) -> Result<Done, Error> {
        let PinMessageRequest { conversation, seq, sender, client_id } = request;
        self.act(caller, &sender, &conversation, &client_id, action::Kind::Pin(Pinned { target: seq })).await
    }

    pub async fn unpin_message(&self, caller: &Caller, request: UnpinMessageRequest) -> Result<Done, Error> {
        let UnpinMessageRequest { conversation, seq, sender, client_id } = request;
        self.act(caller, &sender, &conversation, &client_id, action::Kind::Unpin(Unpinned { target: seq })).await
    }

    pub async fn hide_message(&self, caller: &Caller, request: HideMessageRequest) -> Result<Done, Error> {
        let HideMessageRequest { conversation, seq, sender, client_id } = request;
        caller.acting_user(&sender)?;
        self.act(caller, &sender, &conversation, &client_id, action::Kind::HideMessage(HideMessage { seq })).await
    }

    pub async fn mark_read(&self, caller: &Caller, request: MarkReadRequest) -> Result<Done, Error> {
        let (tenant, user) = caller.acting_user(&request.sender)?;
        let MarkReadRequest { conversation, read_seq, delivered_seq, .. } = request;
        let mark = Mark { id: 0, conversation, read_seq, delivered_seq };
        let record = stonechat_commands::mark(&self.views, &tenant, &user, &mark).await?;
        self.submit(record).await
    }
}
