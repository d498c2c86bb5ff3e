//! What a new owner repeats of what an earlier one had decided and not committed.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use prost::Message as _;
use stonechat_errors::Error;
use stonechat_log::{CommandItem, CommandLog, CommandSource, EmbeddedCommandLog, EmbeddedEventStream, LogError};
use stonechat_model::{ConversationId, GatewayId, LogId, LogKey, Position, TenantId, UserId};
use stonechat_proto::{
    internal::v1::{CommandRecord, command_record},
    v1::{self, Action, ConversationKind, Create, Event, Upgrade, action, event},
};
use stonechat_router::{Owner, OwnerDependencies, OwnerError, Rules};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig};
use stonechat_rpc::{
    Audience, Control, Delivery, Inbox, Inboxes, Outcome, Presence, SignalDelivery, StatusUpdate, Target, TargetQuery,
};

const PARTITIONS: u32 = 1;
/// When the client ids were made.
const NOW_US: i64 = 0x0189_0000_0000 * 1_000;

/// Everybody is at one gateway.
struct OneGateway(GatewayId);

#[async_trait]
impl Presence for OneGateway {
    async fn targets(&self, queries: &[TargetQuery]) -> Result<Vec<Vec<Target>>, Error> {
        let target = |query: &TargetQuery| match query {
            TargetQuery::Users(_, users) => vec![Target { gateway: self.0.clone(), users: users.to_vec() }],
            TargetQuery::Channel(..) => Vec::new(),
        };
        Ok(queries.iter().map(target).collect())
    }

    async fn attach(&self, _: &GatewayId, _: Arc<dyn Inbox>) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &GatewayId) -> Result<bool, Error> {
        Ok(true)
    }

    async fn detach(&self, _: &GatewayId) -> Result<(), Error> {
        Ok(())
    }

    async fn add_routes(&self, _: &GatewayId, _: &[(TenantId, UserId)]) -> Result<(), Error> {
        Ok(())
    }

    async fn remove_routes(&self, _: &GatewayId, _: &[(TenantId, UserId)]) -> Result<(), Error> {
        Ok(())
    }

    async fn add_interest(&self, _: &GatewayId, _: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        Ok(())
    }

    async fn remove_interest(&self, _: &GatewayId, _: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        Ok(())
    }

    async fn set_status(&self, _: &TenantId, _: &UserId, _: StatusUpdate) -> Result<(), Error> {
        Ok(())
    }

    async fn statuses(&self, _: &TenantId, _: &[UserId]) -> Result<Vec<v1::Status>, Error> {
        Ok(Vec::new())
    }

    async fn watch(&self, _: &GatewayId, _: &TenantId, _: &[UserId]) -> Result<(), Error> {
        Ok(())
    }

    async fn unwatch(&self, _: &GatewayId, _: &TenantId, _: &[UserId]) -> Result<(), Error> {
        Ok(())
    }
}

/// Keeps what it is told: the events, and the users they are for.
#[derive(Default)]
struct Heard(Mutex<Vec<(Arc<Event>, Vec<String>)>>);

impl Inbox for Heard {
    fn outcome(&self, _: Outcome) {}

    fn deliver(&self, delivery: Delivery) {
        let users = match &delivery.audience {
            Audience::Users(users) => users.iter().map(ToString::to_string).collect(),
            Audience::Interested => Vec::new(),
        };
        let of_each = |event: &Arc<Event>| (Arc::clone(event), Vec::clone(&users));
        self.0.lock().extend(delivery.events.iter().map(of_each));
    }

    fn signal(&self, _: SignalDelivery) {}

    fn control(&self, _: Control) {}

    fn unsure(&self) {}
}

/// A partition whose owner dies before it commits.
struct Uncommitted(Box<dyn CommandSource>);

#[async_trait]
impl CommandSource for Uncommitted {
    fn partition(&self) -> u32 {
        self.0.partition()
    }

    async fn next_batch(&mut self, max_items: usize, max_bytes: usize) -> Result<Option<Vec<CommandItem>>, LogError> {
        self.0.next_batch(max_items, max_bytes).await
    }

    async fn commit(&mut self, _: Position) -> Result<(), LogError> {
        Err(LogError::Unavailable("the owner died".to_owned()))
    }
}

fn command(conversation: &ConversationId, sender: &str, client_id: u128, kind: action::Kind) -> CommandRecord {
    CommandRecord {
        tenant: "acme".to_owned(),
        log: conversation.to_string(),
        sender: sender.to_owned(),
        client_id: format!("01890000-0000-7000-8000-{client_id:012}"),
        body: Some(command_record::Body::Action(Action { kind: Some(kind) })),
        ..CommandRecord::default()
    }
}

#[tokio::test]
async fn members_hear_of_an_upgrade_that_an_earlier_owner_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let rows = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    let log = EmbeddedCommandLog::new(PARTITIONS, 1, Arc::new(|| NOW_US));
    let gateway = GatewayId::parse("gateway-1").unwrap();
    let (heard, inboxes) = (Arc::new(Heard::default()), Arc::new(Inboxes::default()));
    inboxes.insert(gateway.clone(), Arc::clone(&heard) as _);
    let dependencies = OwnerDependencies {
        rows: Arc::clone(&rows) as _,
        stream: EmbeddedEventStream::open(rows, PARTITIONS).await.unwrap(),
        presence: Arc::new(OneGateway(gateway)),
        inboxes,
        rules: Rules::default(),
    };
    let tenant = TenantId::parse("acme").unwrap();
    let id = ConversationId::parse("team").unwrap();
    let key = LogKey { tenant, log: LogId::Conversation(id.clone()) };
    let members = vec!["bob".to_owned(), "carol".to_owned()];
    let create = Create { kind: ConversationKind::Group.into(), members, settings: None };
    for record in [
        command(&id, "alice", 1, action::Kind::Create(create)),
        command(&id, "alice", 2, action::Kind::Upgrade(Upgrade {})),
    ] {
        log.append(&key, record.encode_to_vec().into()).await.unwrap();
    }
    for owner in 0..2 {
        let upgrades = || heard.0.lock().iter().filter(|(event, _)| is_upgrade(event)).cloned().collect::<Vec<_>>();
        let before = upgrades().len();
        let mut source = Uncommitted(log.claim().await.unwrap());
        let died = Owner::new(source.partition(), dependencies.clone()).run(&mut source).await;
        assert!(matches!(died, Err(OwnerError::Log(_))), "{died:?}");
        let upgrades = upgrades();
        assert_eq!(upgrades.len(), before + 1, "owner {owner} tells of the upgrade");
        let mut users = upgrades[before].1.clone();
        users.sort_unstable();
        assert_eq!(users, ["alice", "bob", "carol"]);
    }
}

fn is_upgrade(event: &Event) -> bool {
    matches!(event.body, Some(event::Body::Upgraded(_)))
}
