//! From a command frame to a record.

use std::sync::{Arc, LazyLock};

use futures::executor::block_on;
use prost::Message as _;
use stonechat_commands::{CommandRequest, command as check, mark};
use stonechat_model::{ClientId, LogId, TenantId, UserId};
use stonechat_proto::v1::{ClientFrame, Command, client_frame::Kind};
use stonechat_rows::Rows;
use stonechat_views::Views;

use crate::few_rows::FewRows;

/// What a record may add to the frame that it came from.
const ADDED_BYTES: usize = 1024;

struct World {
    rows: Arc<FewRows>,
    views: Views,
    tenant: TenantId,
    user: UserId,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let rows = FewRows::new();
    let views = Views::new(Arc::clone(&rows) as Arc<dyn Rows>);
    let (Ok(tenant), Ok(user)) = (TenantId::parse("acme"), UserId::parse("alice")) else {
        panic!("these are ids");
    };
    World { rows, views, tenant, user }
});

/// Commands of any content are refused or become a record that fits the log; nothing odd reaches the rows.
pub fn command(data: &[u8]) {
    let Ok(ClientFrame { kind: Some(kind) }) = ClientFrame::decode(data) else { return };
    let world = &*WORLD;
    match kind {
        Kind::Command(command) => {
            for sender in [Some(world.user.clone()), None] {
                judge(world, &command, sender, data.len());
            }
        }
        Kind::Read(marked) => {
            let _ = block_on(mark(&world.views, &world.tenant, &world.user, &marked));
        }
        _ => {}
    }
    assert_eq!(world.rows.misshapen(), 0, "a key with NUL was looked for");
}

fn judge(world: &World, command: &Command, sender: Option<UserId>, length: usize) {
    let (Some(action), Ok(client_id)) = (command.action.clone(), ClientId::parse(&command.client_id)) else { return };
    let as_json = serde_json::to_vec(&action);
    let request = CommandRequest {
        tenant: world.tenant.clone(),
        sender,
        is_by_tenant: false,
        asked_hash: 0,
        conversation: command.conversation.clone(),
        client_id,
        action,
        traceparent: command.traceparent.clone(),
    };
    match block_on(check(&world.views, request)) {
        Ok(record) => {
            assert!(LogId::parse(&record.log).is_ok(), "record for the log {:?}", record.log);
            assert_eq!(record.tenant, world.tenant.as_str());
            // Sessions in JSON get whatever follows from it.
            assert!(as_json.is_ok(), "{:?} was taken and cannot be written as JSON", command.action);
            assert!(record.encoded_len() <= length + ADDED_BYTES);
        }
        Err(error) => assert_ne!(error.code, stonechat_errors::Code::Internal, "{error}"),
    }
}
