//! What readers see of rows that were written as the router writes them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use prost::Message as _;
use stonechat_errors::Code;
use stonechat_model::{ConversationId, LogId, LogKey, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{HeadRow, HiddenRow, MarkRow, MemberRow, MembershipRow},
    v1::{Attachment, ConversationKind, Edited, Event, Message, Overlay, Page, Role, Settings, event},
};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Key, Put, Rows, tables};
use stonechat_views::{Views, Window};
use tempfile::TempDir;

/// Rows of a tenant with a conversation "team" of alice and bob.
struct World {
    rows: Arc<dyn Rows>,
    views: Views,
    tenant: TenantId,
    team: ConversationId,
    _folder: TempDir,
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn message(seq: u64, text: &str) -> Event {
    let body = event::Body::Message(Message { text: text.to_owned(), ..Message::default() });
    Event { seq, sender: "alice".to_owned(), body: Some(body), ..Event::default() }
}

fn text_of(page: &Page, seq: u64) -> &str {
    match &page.events.iter().find(|event| event.seq == seq).unwrap().body {
        Some(event::Body::Message(message)) => &message.text,
        Some(event::Body::Edited(edited)) => edited.content.as_ref().map_or("", |content| &content.text),
        _ => panic!("{seq} is no message"),
    }
}

fn seqs(page: &Page) -> Vec<u64> {
    page.events.iter().map(|event| event.seq).collect()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows: Arc<dyn Rows> = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
        let views = Views::new(Arc::clone(&rows));
        let tenant = TenantId::parse("acme").unwrap();
        let team = ConversationId::parse("team").unwrap();
        let world = Self { rows, views, tenant, team, _folder: folder };
        for (name, role) in [("alice", Role::Owner), ("bob", Role::Member), ("gone", Role::Unspecified)] {
            let row = MemberRow { role: role.into(), joined_seq: 1, ..MemberRow::default() };
            world.put(tables::member(&world.tenant, &world.team, &user(name)), &row).await;
        }
        world
    }

    fn log(&self) -> LogKey {
        LogKey { tenant: self.tenant.clone(), log: LogId::Conversation(self.team.clone()) }
    }

    async fn put(&self, key: Key, value: &impl prost::Message) {
        self.put_version(key, value, 1).await;
    }

    async fn put_version(&self, key: Key, value: &impl prost::Message, version: u64) {
        let put = Put { key, value: value.encode_to_vec().into(), version, ttl: None };
        self.rows.write(vec![put]).await.unwrap();
    }

    async fn head(&self, last_seq: u64, read_receipts: bool) {
        let settings = Some(Settings { read_receipts: Some(read_receipts), ..Settings::default() });
        let kind = ConversationKind::Group.into();
        self.put_version(
            tables::head(&self.log()),
            &HeadRow { kind, last_seq, settings, ..HeadRow::default() },
            last_seq,
        )
        .await;
    }

    /// Messages `from..=until`, each with its seq as text.
    async fn messages(&self, from: u64, until: u64) {
        let put = |seq: u64| Put {
            key: tables::event(&self.log(), seq),
            value: message(seq, &seq.to_string()).encode_to_vec().into(),
            version: seq,
            ttl: None,
        };
        self.rows.write((from..=until).map(put).collect()).await.unwrap();
    }

    async fn read(&self, window: Window, limit: usize) -> Page {
        self.views.history(&self.tenant, Some(&user("bob")), &self.team, window, limit).await.unwrap()
    }
}

#[tokio::test]
async fn pages_go_over_the_borders_of_buckets() {
    let world = World::new().await;
    let border = limits::EVENTS_PER_BUCKET;
    world.messages(border - 10, border + 10).await;
    world.head(border + 10, true).await;
    for (window, from) in [
        (Window::Newest, border + 6),
        (Window::Before(border + 2), border - 3),
        (Window::After(border - 3), border - 2),
        (Window::Around(border), border - 2),
    ] {
        let page = world.read(window, 5).await;
        assert_eq!(seqs(&page), (from..from + 5).collect::<Vec<_>>(), "{window:?}");
        assert_eq!((page.last_seq, page.conversation.as_str()), (border + 10, "team"));
    }
}

#[tokio::test]
async fn what_lies_above_the_head_is_not_shown() {
    let world = World::new().await;
    world.messages(1, 9).await;
    world.head(7, true).await;
    assert_eq!(seqs(&world.read(Window::Newest, 0).await), (1..=7).collect::<Vec<_>>());
    assert_eq!(seqs(&world.read(Window::After(5), 50).await), [6, 7]);
    assert_eq!(seqs(&world.read(Window::Around(9), 4).await), [4, 5, 6, 7]);
    assert_eq!(seqs(&world.read(Window::After(7), 50).await), [0; 0]);
}

#[tokio::test]
async fn a_page_is_bounded_whatever_is_asked_for() {
    let world = World::new().await;
    world.messages(1, 300).await;
    world.head(300, true).await;
    assert_eq!(world.read(Window::After(0), usize::MAX).await.events.len(), limits::PAGE_EVENTS);
    assert_eq!(world.read(Window::After(0), 0).await.events.len(), stonechat_views::DEFAULT_PAGE_EVENTS);
}

#[tokio::test]
async fn what_was_taken_back_is_shown_on_no_page() {
    let world = World::new().await;
    world.messages(1, 30).await;
    for (seq, target) in [(4, 3), (20, 3), (25, 2)] {
        let content = Some(Message { text: format!("edit {seq}"), ..Message::default() });
        let body = Some(event::Body::Edited(Edited { target, content }));
        world.put_version(tables::event(&world.log(), seq), &Event { seq, body, ..Event::default() }, 100).await;
    }
    let recalled = Overlay { target: 3, recalled: true, ..Overlay::default() };
    world.put(tables::overlay(&world.log(), 3), &recalled).await;
    world.head(30, true).await;
    let all = world.read(Window::After(0), 50).await;
    assert_eq!((text_of(&all, 2), text_of(&all, 3), text_of(&all, 4), text_of(&all, 25)), ("2", "", "", "edit 25"));
    assert_eq!(all.overlays, [recalled]);
    let later = world.read(Window::After(10), 50).await;
    assert_eq!((text_of(&later, 20), text_of(&later, 25)), ("", "edit 25"));
}

#[tokio::test]
async fn who_is_no_member_reads_as_of_what_is_not_there() {
    let world = World::new().await;
    world.messages(1, 2).await;
    world.head(2, true).await;
    let other = TenantId::parse("other").unwrap();
    let nowhere = ConversationId::parse("nowhere").unwrap();
    let unknown = world.views.history(&world.tenant, None, &nowhere, Window::Newest, 0).await.unwrap_err();
    assert_eq!(unknown.code, Code::NotFound);
    for (tenant, reader, conversation) in [
        (&world.tenant, Some("mallory"), &world.team),
        (&world.tenant, Some("gone"), &world.team),
        (&world.tenant, Some("alice"), &nowhere),
        (&other, Some("alice"), &world.team),
        (&other, None, &world.team),
    ] {
        let reader = reader.map(user);
        let (reader, views) = (reader.as_ref(), &world.views);
        assert_eq!(views.history(tenant, reader, conversation, Window::Newest, 0).await.unwrap_err(), unknown);
        assert_eq!(views.members(tenant, reader, conversation, None, 0).await.unwrap_err(), unknown);
        assert_eq!(views.conversation(tenant, reader, conversation).await.unwrap_err(), unknown);
    }
    assert!(world.views.history(&world.tenant, None, &world.team, Window::Newest, 0).await.is_ok());
    assert!(!world.views.is_member(&world.tenant, &user("gone"), &world.team).await.unwrap());
}

#[tokio::test]
async fn a_user_sees_which_messages_they_deleted_for_themselves() {
    let world = World::new().await;
    world.messages(1, 9).await;
    world.head(9, true).await;
    for seq in [2, 5, 8] {
        let key = tables::hidden(&world.tenant, &user("bob"), &world.team, seq);
        world.put(key, &HiddenRow { at_seq: 1 }).await;
    }
    assert_eq!(world.read(Window::After(2), 4).await.hidden, [5]);
    let of_alice = world.views.history(&world.tenant, Some(&user("alice")), &world.team, Window::Newest, 0).await;
    assert_eq!(of_alice.unwrap().hidden, [0; 0]);
}

#[tokio::test]
async fn marks_of_others_are_hidden_where_the_settings_say_so() {
    let world = World::new().await;
    for (name, read_seq) in [("alice", 3), ("bob", 2)] {
        let row = MarkRow { read_seq, delivered_seq: read_seq };
        world.put(tables::mark(&world.tenant, &world.team, &user(name)), &row).await;
    }
    let marks = async |reader: Option<UserId>| {
        let list = world.views.members(&world.tenant, reader.as_ref(), &world.team, None, 0).await.unwrap();
        list.items.into_iter().map(|member| (member.user, member.read_seq)).collect::<Vec<_>>()
    };
    let shown = |alice, bob| vec![("alice".to_owned(), alice), ("bob".to_owned(), bob)];
    world.head(5, true).await;
    assert_eq!(marks(Some(user("bob"))).await, shown(3, 2));
    world.head(6, false).await;
    assert_eq!(marks(Some(user("bob"))).await, shown(0, 2));
    assert_eq!(marks(None).await, shown(3, 2), "the tenant sees everything of its own");
}

#[tokio::test]
async fn members_come_in_pages_without_those_who_left() {
    let world = World::new().await;
    world.head(1, true).await;
    for number in 0..30 {
        let role = if number % 3 == 0 { Role::Member } else { Role::Unspecified };
        let row = MemberRow { role: role.into(), ..MemberRow::default() };
        world.put(tables::member(&world.tenant, &world.team, &user(&format!("m{number:02}"))), &row).await;
    }
    let mut seen = Vec::new();
    let mut from = None;
    loop {
        let list = world.views.members(&world.tenant, None, &world.team, from.as_deref(), 4).await.unwrap();
        assert!(list.items.len() <= 4);
        seen.extend(list.items.into_iter().map(|member| member.user));
        from = list.next;
        if from.is_none() {
            break;
        }
    }
    let wanted: Vec<_> =
        ["alice", "bob"].map(str::to_owned).into_iter().chain((0..30).step_by(3).map(|n| format!("m{n:02}"))).collect();
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn the_conversations_rows_say_who_is_a_member() {
    let world = World::new().await;
    world.head(7, true).await;
    let membership = MembershipRow { member: true, read_seq: 4, delivered_seq: 5, ..MembershipRow::default() };
    for name in ["bob", "gone"] {
        world.put(tables::membership(&world.tenant, &user(name), &world.team), &membership).await;
    }
    let left = MembershipRow { member: false, ..MembershipRow::default() };
    let elsewhere = ConversationId::parse("elsewhere").unwrap();
    world.put(tables::membership(&world.tenant, &user("bob"), &elsewhere), &left).await;
    let of = async |name: &str| world.views.conversations(&world.tenant, &user(name), None, 0).await.unwrap();
    assert_eq!(of("gone").await.items, []);
    let bob = of("bob").await;
    assert_eq!((bob.items.len(), bob.next), (1, None));
    let team = &bob.items[0];
    assert_eq!((team.id.as_str(), team.kind(), team.role()), ("team", ConversationKind::Group, Role::Member));
    assert_eq!((team.last_seq, team.read_seq, team.delivered_seq), (7, 4, 5));
    assert_eq!(*team, world.views.conversation(&world.tenant, Some(&user("bob")), &world.team).await.unwrap());
}

#[tokio::test]
async fn a_page_shows_of_edited_messages_only_the_files_that_are_left() {
    let world = World::new().await;
    let showing = |files: &[&str]| {
        let shown = |id: &&str| Attachment { id: (*id).to_owned(), ..Attachment::default() };
        Message { text: "see".to_owned(), attachments: files.iter().map(shown).collect(), ..Message::default() }
    };
    let edited = |files| event::Body::Edited(Edited { target: 1, content: Some(showing(files)) });
    let bodies = [event::Body::Message(showing(&["a", "b"])), edited(&["b", "c"]), edited(&["b"])];
    for (seq, body) in (1..).zip(bodies) {
        let event = Event { seq, sender: "alice".to_owned(), body: Some(body), ..Event::default() };
        world.put(tables::event(&world.log(), seq), &event).await;
    }
    let overlay = Overlay { target: 1, content: Some(showing(&["b"])), ..Overlay::default() };
    world.put(tables::overlay(&world.log(), 1), &overlay).await;
    world.head(3, true).await;
    for (window, count) in [(Window::Newest, 3), (Window::After(1), 2)] {
        let page = world.read(window, 3).await;
        let shown = page.events.iter().map(|event| match &event.body {
            Some(event::Body::Message(message)) => message,
            Some(event::Body::Edited(edited)) => edited.content.as_ref().unwrap(),
            _ => panic!("no message"),
        });
        let files: Vec<Vec<&str>> =
            shown.map(|content| content.attachments.iter().map(|it| it.id.as_str()).collect()).collect();
        assert_eq!(files, vec![vec!["b"]; count], "{window:?}");
    }
}
