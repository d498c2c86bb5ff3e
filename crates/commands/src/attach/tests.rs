//! Which files may be named, and what becomes of them.

use std::sync::Arc;

use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{ClientId, ConversationId};
use stonechat_proto::{
    internal::v1::{FileRefRow, FileThumbnail, MemberRow},
    v1::{Edited, Role},
};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Key, Rows, tables};
use tempfile::TempDir;

use super::*;
use crate::{CommandRequest, command};

/// Rows of a tenant with a conversation "team" of alice and bob, and one "other" of bob and carol.
struct World {
    rows: Arc<dyn Rows>,
    views: Views,
    tenant: TenantId,
    _folder: TempDir,
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn file(id: &str) -> FileId {
    FileId::parse(id).unwrap()
}

fn ready(owner: &str) -> FileRow {
    let thumbnail = |width| FileThumbnail { width, height: 1, ..FileThumbnail::default() };
    let description = FileDescription {
        width: 640,
        height: 480,
        blurhash: "LE".to_owned(),
        waveform: vec![1, 2],
        thumbnails: vec![thumbnail(320), thumbnail(1_280)],
        ..FileDescription::default()
    };
    FileRow {
        owner: owner.to_owned(),
        name: "cat.png".to_owned(),
        content_type: "image/png".to_owned(),
        size_bytes: 7,
        state: FileState::Ready.into(),
        description: Some(description),
        ..FileRow::default()
    }
}

fn naming(ids: &[&str]) -> Message {
    let named = |id: &&str| Attachment { id: (*id).to_owned(), ..Attachment::default() };
    Message { text: "hi".to_owned(), attachments: ids.iter().map(named).collect(), ..Message::default() }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows: Arc<dyn Rows> = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
        let views = Views::new(Arc::clone(&rows));
        let world = Self { rows, views, tenant: TenantId::parse("acme").unwrap(), _folder: folder };
        for (conversation, members) in [("team", ["alice", "bob"]), ("other", ["bob", "carol"])] {
            for member in members {
                world.member(conversation, member, Role::Member, 1).await;
            }
        }
        world
    }

    async fn put(&self, key: Key, row: &impl prost::Message, version: u64) {
        let put = Put { key, value: row.encode_to_vec().into(), version, ttl: None };
        self.rows.write(vec![put]).await.unwrap();
    }

    async fn member(&self, conversation: &str, member: &str, role: Role, version: u64) {
        let id = ConversationId::parse(conversation).unwrap();
        let row = MemberRow { role: role.into(), joined_seq: 1, ..MemberRow::default() };
        self.put(tables::member(&self.tenant, &id, &user(member)), &row, version).await;
    }

    async fn file(&self, id: &str, row: &FileRow) {
        let key = tables::file(&self.tenant, &file(id));
        let put = Put { key, value: row.encode_to_vec().into(), version: 1, ttl: None };
        assert!(self.rows.compare_and_set(put, None).await.unwrap());
    }

    async fn refer(&self, id: &str, conversation: &str, removed: bool, version: u64) {
        let conversation = ConversationId::parse(conversation).unwrap();
        let row = FileRefRow { removed, sender: "alice".to_owned() };
        self.put(tables::file_ref(&self.tenant, &file(id), &conversation, 5), &row, version).await;
    }

    async fn make(&self, by: Option<&str>, kind: action::Kind) -> Result<CommandRecord, Error> {
        let request = CommandRequest {
            tenant: self.tenant.clone(),
            sender: Some(user(by.unwrap_or("alice"))),
            is_by_tenant: by.is_none(),
            asked_hash: 0,
            conversation: "team".to_owned(),
            client_id: ClientId::from_name(b"1"),
            action: Action { kind: Some(kind) },
            traceparent: String::new(),
        };
        command(&self.views, request).await
    }

    /// Whether the file is had; else the error, or that the command goes on without.
    async fn send(&self, by: Option<&str>, ids: &[&str]) -> &'static str {
        match self.make(by, action::Kind::Send(naming(ids))).await {
            Ok(record) if record.lacks_file => "lacks",
            Ok(_) => "ok",
            Err(error) => error.code.as_str(),
        }
    }
}

fn attachments(mut record: CommandRecord) -> Vec<Attachment> {
    let Some(command_record::Body::Action(action)) = &mut record.body else { panic!("no action") };
    content_of(action).unwrap().attachments.clone()
}

#[tokio::test]
async fn what_everybody_sees_is_the_servers_to_say() {
    let world = World::new().await;
    world.file("f1", &ready("alice")).await;
    let lie = Attachment {
        id: "f1".to_owned(),
        name: "my cat".to_owned(),
        content_type: "text/html".to_owned(),
        size_bytes: 1,
        url: "https://elsewhere.example/".to_owned(),
        ..Attachment::default()
    };
    let content = Message { attachments: vec![lie, naming(&["f1"]).attachments[0].clone()], ..Message::default() };
    let shown = attachments(world.make(Some("alice"), action::Kind::Send(content.clone())).await.unwrap());
    assert_eq!((shown[0].name.as_str(), shown[1].name.as_str()), ("my cat", "cat.png"));
    for attachment in &shown {
        assert_eq!((attachment.content_type.as_str(), attachment.size_bytes), ("image/png", 7));
        assert_eq!((attachment.width, attachment.height, &attachment.waveform[..]), (640, 480, &[1, 2][..]));
        assert_eq!(attachment.url, "/v1/files/f1");
        let thumbnails: Vec<_> = attachment.thumbnails.iter().map(|it| (it.width, it.url.as_str())).collect();
        let wanted = [(320, "/v1/files/f1/thumbnails/small"), (1_280, "/v1/files/f1/thumbnails/large")];
        assert_eq!(thumbnails, wanted);
    }
    let edit = Edited { target: 2, content: Some(content) };
    let shown = attachments(world.make(Some("alice"), action::Kind::Edit(edit)).await.unwrap());
    assert_eq!(shown[0].content_type, "image/png");
}

#[tokio::test]
async fn whoever_may_read_a_message_may_pass_its_file_on_and_nobody_else() {
    let world = World::new().await;
    world.file("f1", &ready("alice")).await;
    assert_eq!(world.send(Some("alice"), &["f1"]).await, "ok");
    assert_eq!(world.send(Some("bob"), &["f1"]).await, "lacks", "no message refers to it");
    world.refer("f1", "team", false, 10).await;
    assert_eq!(world.send(Some("bob"), &["f1"]).await, "ok");
    assert_eq!(world.send(Some("carol"), &["f1"]).await, "lacks");
    assert_eq!(world.send(None, &["f1"]).await, "ok", "the tenant's key");
    world.member("team", "bob", Role::Unspecified, 2).await;
    assert_eq!(world.send(Some("bob"), &["f1"]).await, "lacks", "bob was removed");
    world.refer("f1", "other", false, 11).await;
    assert_eq!(world.send(Some("bob"), &["f1"]).await, "ok", "another message");
    world.refer("f1", "other", true, 12).await;
    assert_eq!(world.send(Some("carol"), &["f1"]).await, "lacks", "the message was recalled");
    assert_eq!(world.send(Some("alice"), &["f1", "f2"]).await, "lacks", "one of two is not there");
    assert_eq!(world.send(Some("alice"), &["../etc/passwd"]).await, "lacks");
    assert_eq!(world.send(None, &["f2"]).await, "lacks");
}

#[tokio::test]
async fn a_file_that_is_not_ready_is_known_to_its_owner_only() {
    let world = World::new().await;
    for (id, state) in [("new", FileState::Scanning), ("bad", FileState::Infected), ("old", FileState::Deleted)] {
        world.file(id, &FileRow { state: state.into(), ..ready("alice") }).await;
        world.refer(id, "team", false, 10).await;
    }
    let error = world.make(Some("alice"), action::Kind::Send(naming(&["new"]))).await.unwrap_err();
    assert!(error.is_retryable() && error.retry_after.is_some(), "{error:?}");
    assert_eq!(world.send(Some("alice"), &["bad"]).await, "failed_precondition");
    for id in ["new", "bad", "old"] {
        assert_eq!(world.send(Some("bob"), &[id]).await, "lacks", "{id}");
    }
    assert_eq!(world.send(Some("alice"), &["old"]).await, "lacks");
}

#[tokio::test]
async fn the_same_command_is_known_again_whatever_became_of_the_file() {
    let world = World::new().await;
    world.file("f1", &ready("alice")).await;
    let first = world.make(Some("alice"), action::Kind::Send(naming(&["f1"]))).await.unwrap();
    let key = tables::file(&world.tenant, &file("f1"));
    let deleted = FileRow { state: FileState::Deleted.into(), ..FileRow::default() };
    let put = Put { key, value: deleted.encode_to_vec().into(), version: 2, ttl: None };
    assert!(world.rows.compare_and_set(put, Some(1)).await.unwrap());
    let again = world.make(Some("alice"), action::Kind::Send(naming(&["f1"]))).await.unwrap();
    assert!(!first.lacks_file && again.lacks_file);
    assert_eq!(first.asked_hash, again.asked_hash);
    assert_ne!(first.asked_hash, 0);
    let mut renamed = naming(&["f1"]);
    renamed.attachments[0].name = "dog.png".to_owned();
    let other = world.make(Some("alice"), action::Kind::Send(renamed)).await.unwrap();
    assert_ne!(first.asked_hash, other.asked_hash, "another name is another wish");
    let plain = world.make(Some("alice"), action::Kind::Send(naming(&[]))).await.unwrap();
    assert_eq!((plain.asked_hash, plain.lacks_file), (0, false));
}

#[tokio::test]
async fn a_file_that_is_about_to_expire_is_kept_for_its_message() {
    let world = World::new().await;
    let hold_us = i64::try_from(limits::FILE_HOLD_S).unwrap() * SECOND_US;
    for (id, expires_us) in [("soon", now_us() + hold_us / 2), ("late", now_us() + hold_us * 3), ("never", 0)] {
        world.file(id, &FileRow { expires_us, ..ready("alice") }).await;
    }
    let before = now_us();
    assert_eq!(world.send(Some("alice"), &["soon", "late", "never"]).await, "ok");
    let ids = ["soon", "late", "never"].map(file);
    let found: Vec<_> = world.views.files(&world.tenant, &ids).await.unwrap().into_iter().flatten().collect();
    assert!(found[0].row.expires_us >= before + hold_us * 2);
    assert_eq!(found.iter().map(|it| it.version).collect::<Vec<_>>(), [2, 1, 1], "only what must be is written");
    assert_eq!(world.send(Some("alice"), &["soon"]).await, "ok");
    let found = world.views.files(&world.tenant, &ids).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().version, 2, "once is enough");
}
