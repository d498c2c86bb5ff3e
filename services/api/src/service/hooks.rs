//! The hook that a tenant's messages pass before they are sent.

use stonechat_errors::Error;
use stonechat_operations::Caller;
use stonechat_proto::{
    internal::v1::SendHookRow,
    v1::{
        DeleteSendHookRequest, DeleteSendHookResponse, GetSendHookRequest, RotateSendHookSecretRequest, SendHook,
        SetSendHookRequest,
    },
};
use stonechat_webhooks::{SigningKey, hook::NewSendHook};

use super::{
    Service,
    webhooks::{OVERLAP_S, shown_once, signing_key},
};

/// A hook without its secret.
fn send_hook(row: &SendHookRow) -> SendHook {
    let key = row.secrets.first().and_then(SigningKey::from_row);
    SendHook {
        url: row.url.clone(),
        timeout_ms: row.timeout_ms,
        fail_open: row.fail_open,
        server_messages: row.server_messages,
        signature: key.as_ref().map(|key| key.version().to_owned()).unwrap_or_default(),
        secret: String::new(),
        public_key: key.and_then(|key| key.public_text()).unwrap_or_default(),
        created_us: row.created_us,
    }
}

impl Service {
    pub async fn set_send_hook(&self, caller: &Caller, request: SetSendHookRequest) -> Result<SendHook, Error> {
        let SetSendHookRequest { url, timeout_ms, fail_open, server_messages, signature, secret } = request;
        let key = signing_key(&signature, &secret)?;
        let new = NewSendHook { url, timeout_ms, fail_open, server_messages };
        let rules = self.sender.outbound().rules();
        let (row, is_new) = self.hooks.set(caller.tenant()?, &new, &key, rules).await?;
        let hook = send_hook(&row);
        Ok(if is_new { SendHook { secret: shown_once(&key), ..hook } } else { hook })
    }

    pub async fn get_send_hook(&self, caller: &Caller, _: GetSendHookRequest) -> Result<SendHook, Error> {
        Ok(send_hook(&self.hooks.get(caller.tenant()?).await?))
    }

    pub async fn delete_send_hook(
        &self,
        caller: &Caller,
        _: DeleteSendHookRequest,
    ) -> Result<DeleteSendHookResponse, Error> {
        self.hooks.delete(caller.tenant()?).await?;
        Ok(DeleteSendHookResponse {})
    }

    pub async fn rotate_send_hook_secret(
        &self,
        caller: &Caller,
        request: RotateSendHookSecretRequest,
    ) -> Result<SendHook, Error> {
        let tenant = caller.tenant()?;
        let RotateSendHookSecretRequest { overlap_s, secret, signature } = request;
        let present = send_hook(&self.hooks.get(tenant).await?).signature;
        let signature = if signature.is_empty() { present } else { signature };
        let key = signing_key(&signature, &secret)?;
        let row = self.hooks.rotate(tenant, &key, overlap_s.map_or(OVERLAP_S, u64::from)).await?;
        Ok(SendHook { secret: shown_once(&key), ..send_hook(&row) })
    }
}
