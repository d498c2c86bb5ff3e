//! The machine's rules, told through a small world that applies what it decides.

use std::sync::Arc;

use prost::Message as _;
use stonechat_model::{ClientId, ConversationId, LogId, TenantId, UserId};
use stonechat_proto::{
    internal::v1::{ApplyMembership, ClientIdRow, CommandRecord, UserAction, command_record, user_action},
    v1::{
        Action, AddMembers, Audience, ConversationKind, Create, Dismiss, Edited, Leave, MemberMuted, Message,
        OwnershipTransferred, Pinned, ReactionAdded, ReactionRemoved, Recalled, RemoveMembers, Role, RoleChanged,
        Settings, SettingsChanged, Upgrade, action,
    },
};
use stonechat_rows::Row;

use super::*;

mod data;
mod files;

/// A log with everything it ever wrote kept as facts.
struct World {
    log: LogKey,
    head: Option<HeadRow>,
    facts: Facts,
    position: u64,
    now_us: TimeUs,
}

fn send(text: &str) -> action::Kind {
    action::Kind::Send(Message { text: text.to_owned(), ..Message::default() })
}

fn create(kind: ConversationKind, members: &[&str]) -> action::Kind {
    let members = members.iter().map(ToString::to_string).collect();
    action::Kind::Create(Create { kind: kind.into(), members, settings: None })
}

fn add(users: &[&str]) -> action::Kind {
    action::Kind::AddMembers(AddMembers { users: users.iter().map(ToString::to_string).collect(), role: 0 })
}

fn remove(users: &[&str]) -> action::Kind {
    action::Kind::RemoveMembers(RemoveMembers { users: users.iter().map(ToString::to_string).collect() })
}

fn set_role(user: &str, role: Role) -> action::Kind {
    action::Kind::SetRole(RoleChanged { user: user.to_owned(), role: role.into() })
}

fn react(target: u64, emoji: &str) -> action::Kind {
    action::Kind::React(ReactionAdded { target, emoji: emoji.to_owned() })
}

fn code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Event(_) => "event",
        Verdict::Done { .. } => "done",
        Verdict::Refused(error) => error.code.as_str(),
        Verdict::FromFuture => "from_future",
    }
}

impl World {
    fn new(log: LogId) -> Self {
        let tenant = TenantId::parse("t").unwrap();
        let mut facts = Facts::default();
        facts.complete_members();
        Self { log: LogKey { tenant, log }, head: None, facts, position: 0, now_us: 1_000 }
    }

    fn conversation(id: &str) -> Self {
        Self::new(LogId::Conversation(ConversationId::parse(id).unwrap()))
    }

    /// A group of alice, who owns it, and the others.
    fn group(others: &[&str]) -> Self {
        let mut world = Self::conversation("g");
        assert_eq!(world.act("alice", create(ConversationKind::Group, others)), "event");
        world
    }

    fn parse(&self, sender: &str, client_id: &str, body: command_record::Body) -> Command {
        let record = CommandRecord {
            tenant: self.log.tenant.to_string(),
            log: self.log.log.to_text().to_string(),
            sender: sender.to_owned(),
            client_id: client_id.to_owned(),
            body: Some(body),
            ..CommandRecord::default()
        };
        Parsed::from_record(record).unwrap().command.unwrap()
    }

    fn submit(&mut self, command: Command) -> Verdict {
        self.position += 1;
        self.now_us += 1;
        let position = Position::from_u64(self.position);
        for need in command.needs(self.head.as_ref()) {
            if !self.facts.has(&need) {
                self.facts.insert(need, None).unwrap();
            }
        }
        let place = Place { log: &self.log, position, log_time_us: self.now_us };
        let content_hash = command.content_hash;
        let verdict = decide(place, self.head.as_ref(), command, &self.facts, Rules::default());
        if let Verdict::Event(event) = &verdict {
            let (head, derived) = apply(self.head.as_ref(), event, position, &self.facts);
            derived.iter().for_each(|row| self.facts.learn(row, position.get()));
            let seen = ClientIdRow { seq: event.seq, time_us: event.time_us, content_hash };
            self.facts.learn_event(&Arc::new((**event).clone()), Some(seen), position.get());
            self.head = Some(head);
        }
        verdict
    }

    fn act_as(&mut self, sender: &str, client_id: &str, kind: action::Kind) -> Verdict {
        let body = command_record::Body::Action(Action { kind: Some(kind) });
        let command = self.parse(sender, client_id, body);
        self.submit(command)
    }

    fn act(&mut self, sender: &str, kind: action::Kind) -> &'static str {
        let verdict = self.act_as(sender, "", kind);
        code(&verdict)
    }

    fn user(&mut self, kind: user_action::Kind) -> Verdict {
        let command = self.parse("", "", command_record::Body::UserAction(UserAction { kind: Some(kind) }));
        self.submit(command)
    }

    fn head(&self) -> &HeadRow {
        self.head.as_ref().unwrap()
    }

    fn role(&self, user: &str) -> Role {
        let member = self.facts.member(&UserId::parse(user).unwrap());
        member.map(|member| member.role()).unwrap_or_default()
    }

    fn last_seq(&self) -> u64 {
        self.head().last_seq
    }
}

#[test]
fn a_command_sent_again_gets_the_first_answer_and_other_content_a_conflict() {
    let mut world = World::group(&["bob"]);
    let id = ClientId::from_name(b"1").to_string();
    let Verdict::Event(first) = world.act_as("bob", &id, send("hi")) else { panic!("refused") };
    assert_eq!(world.act("bob", send("more")), "event");
    let again = world.act_as("bob", &id, send("hi"));
    assert_eq!(again, Verdict::Done { seq: first.seq, time_us: first.time_us });
    assert_eq!(code(&world.act_as("bob", &id, send("ho"))), "conflict");
    assert_eq!(code(&world.act_as("alice", &id, send("hi"))), "event", "another sender's id is another id");
}

#[test]
fn a_client_id_row_of_an_attempt_that_never_finished_answers_nothing() {
    let mut world = World::group(&["bob"]);
    let id = ClientId::from_name(b"1");
    let body = || command_record::Body::Action(Action { kind: Some(send("hi")) });
    let command = world.parse("bob", &id.to_string(), body());
    for seq in [99, 1] {
        // Above the head at first; then at an event of another command.
        let row = ClientIdRow { seq, time_us: 1, content_hash: command.content_hash };
        let key = Need::Seen("bob".to_owned(), id).key(&world.log).unwrap();
        let row = Row { key, value: row.encode_to_vec().into(), version: 1 };
        world.facts.insert(Need::Seen("bob".to_owned(), id), Some(row)).unwrap();
        assert_eq!(code(&world.submit(command.clone())), "event");
    }
}

#[test]
fn a_client_id_must_be_young_and_not_of_the_future() {
    let mut world = World::group(&["bob"]);
    let id = ClientId::generate();
    world.now_us = id.made_us().unwrap() + 3 * 86_400 * 1_000_000;
    assert_eq!(code(&world.act_as("bob", &id.to_string(), send("hi"))), "failed_precondition");
    world.now_us = 1_000_000;
    assert_eq!(code(&world.act_as("bob", &id.to_string(), send("hi"))), "invalid_argument");
    world.now_us = id.made_us().unwrap();
    assert_eq!(code(&world.act_as("bob", &id.to_string(), send("hi"))), "event");
}

#[test]
fn event_times_never_go_back() {
    let mut world = World::group(&["bob"]);
    world.now_us = 5_000;
    world.act("bob", send("late"));
    world.now_us = 1_000;
    let Verdict::Event(event) = world.act_as("bob", "", send("early clock")) else { panic!("refused") };
    assert_eq!(event.time_us, 5_001);
}

#[test]
fn who_is_no_member_knows_of_no_conversation() {
    let mut world = World::group(&["bob"]);
    for kind in [send("hi"), add(&["carol"]), remove(&["bob"]), react(1, "x"), action::Kind::Leave(Leave {})] {
        assert_eq!(world.act("mallory", kind), "not_found");
    }
    let mut nothing = World::conversation("nothing");
    assert_eq!(nothing.act("mallory", send("hi")), "not_found");
    assert_eq!(nothing.act("", send("hi")), "not_found");
}

#[test]
fn a_direct_conversation_is_of_its_two_users_and_made_once() {
    let user = |text| UserId::parse(text).unwrap();
    let id = ConversationId::direct(&user("alice"), &user("bob"));
    let mut world = World::conversation(id.as_str());
    assert_eq!(world.act("carol", create(ConversationKind::Direct, &["bob"])), "invalid_argument");
    assert_eq!(world.act("bob", create(ConversationKind::Direct, &["alice"])), "event");
    assert_eq!(world.act("alice", create(ConversationKind::Direct, &["bob"])), "done");
    assert_eq!(world.act("alice", create(ConversationKind::Group, &["bob"])), "already_exists");
    for kind in [add(&["carol"]), action::Kind::Leave(Leave {}), action::Kind::Upgrade(Upgrade {})] {
        assert_eq!(world.act("alice", kind), "failed_precondition");
    }
    assert_eq!(world.act("alice", send("hi")), "event");
    assert_eq!(world.head().peers, ["alice", "bob"]);
}

#[test]
fn only_the_sender_edits_and_only_sender_and_admins_recall() {
    let mut world = World::group(&["bob", "carol"]);
    world.act("bob", send("hi"));
    let edit = |text: &str| {
        let content = Some(Message { text: text.to_owned(), ..Message::default() });
        action::Kind::Edit(Edited { target: 2, content })
    };
    let recall = |target| action::Kind::Recall(Recalled { target });
    assert_eq!(world.act("alice", edit("ho")), "permission_denied");
    assert_eq!(world.act("bob", edit("ho")), "event");
    assert_eq!(world.facts.overlay(2).unwrap().row.content.as_ref().unwrap().text, "ho");
    assert_eq!(world.act("carol", recall(2)), "permission_denied");
    assert_eq!(world.act("alice", recall(2)), "event");
    assert_eq!(world.act("bob", recall(2)), "done");
    let overlay = &world.facts.overlay(2).unwrap().row;
    assert!(overlay.recalled && overlay.content.is_none());
    assert_eq!(world.act("bob", edit("again")), "failed_precondition");
    assert_eq!(world.act("bob", react(2, "👍")), "failed_precondition");
    for target in [1, 99, u64::MAX, 0] {
        assert_eq!(world.act("bob", recall(target)), "not_found", "{target}");
    }
}

#[test]
fn a_reaction_counts_once_a_user_and_has_limits() {
    let mut world = World::group(&["bob"]);
    world.act("bob", send("hi"));
    assert_eq!(world.act("alice", react(2, "👍")), "event");
    assert_eq!(world.act("alice", react(2, "👍")), "done");
    assert_eq!(world.act("bob", react(2, "👍")), "event");
    let unreact = action::Kind::Unreact(ReactionRemoved { target: 2, emoji: "👍".to_owned() });
    assert_eq!(world.act("alice", unreact.clone()), "event");
    assert_eq!(world.act("alice", unreact), "done");
    assert_eq!(world.facts.overlay(2).unwrap().row.reactions[0].users, ["bob"]);
    for index in 1..limits::REACTION_EMOJIS {
        assert_eq!(world.act("alice", react(2, &format!("e{index}"))), "event");
    }
    assert_eq!(world.act("alice", react(2, "one too many")), "limit_exceeded");
    assert_eq!(world.act("alice", react(2, "👍")), "event", "a known emoji still counts");
}

#[test]
fn roles_bound_what_members_do_to_members() {
    let mut world = World::group(&["bob", "carol", "dave"]);
    assert_eq!(world.act("bob", set_role("bob", Role::Admin)), "permission_denied");
    assert_eq!(world.act("alice", set_role("bob", Role::Admin)), "event");
    assert_eq!(world.act("alice", set_role("carol", Role::Admin)), "event");
    assert_eq!(world.act("alice", set_role("alice", Role::Member)), "failed_precondition");
    assert_eq!(world.act("alice", set_role("dave", Role::Owner)), "invalid_argument");
    assert_eq!(world.act("bob", remove(&["carol"])), "permission_denied");
    assert_eq!(world.act("bob", remove(&["alice"])), "permission_denied");
    assert_eq!(world.act("bob", remove(&["bob"])), "invalid_argument");
    assert_eq!(world.act("dave", remove(&["carol"])), "permission_denied");
    assert_eq!(world.act("bob", remove(&["dave", "nobody"])), "event");
    assert_eq!(world.act("bob", remove(&["dave"])), "done");
    assert_eq!((world.head().member_count, world.role("dave")), (3, Role::Unspecified));
    assert_eq!(world.act("dave", send("still here?")), "not_found");
    assert_eq!(world.act("alice", action::Kind::Leave(Leave {})), "failed_precondition");
    let transfer = action::Kind::Transfer(OwnershipTransferred { to: "bob".to_owned() });
    assert_eq!(world.act("bob", transfer.clone()), "permission_denied");
    assert_eq!(world.act("alice", transfer), "event");
    assert_eq!((world.role("alice"), world.role("bob")), (Role::Admin, Role::Owner));
    assert_eq!(world.head().owner, "bob");
    assert_eq!(world.act("alice", action::Kind::Leave(Leave {})), "event");
    assert_eq!(world.act("carol", add(&["alice"])), "event");
    assert_eq!(world.role("alice"), Role::Member, "a role does not outlive leaving");
}

#[test]
fn a_muted_member_reads_only_until_the_time_is_over() {
    let mut world = World::group(&["bob"]);
    let until_us = world.now_us + 100;
    let mute = action::Kind::MuteMember(MemberMuted { user: "bob".to_owned(), until_us });
    assert_eq!(world.act("alice", mute), "event");
    assert_eq!(world.act("bob", send("hi")), "permission_denied");
    world.now_us = until_us;
    assert_eq!(world.act("bob", send("hi")), "event");
}

#[test]
fn settings_say_who_posts_and_who_adds() {
    let mut world = World::group(&["bob"]);
    let admins = Audience::Admins.into();
    let settings = Settings { who_may_post: admins, who_may_add: admins, ..Settings::default() };
    let change = action::Kind::UpdateSettings(SettingsChanged { settings: Some(settings) });
    assert_eq!(world.act("bob", change.clone()), "permission_denied");
    assert_eq!(world.act("alice", change.clone()), "event");
    assert_eq!(world.act("alice", change), "done");
    assert_eq!(world.act("bob", send("hi")), "permission_denied");
    assert_eq!(world.act("bob", add(&["carol"])), "permission_denied");
    assert_eq!(world.act("alice", send("hi")), "event");
    assert_eq!(world.act("", send("from the tenant")), "event");
    assert_eq!(world.head().settings.as_ref().unwrap().name.as_deref(), Some(""), "what is not set stays");
}

#[test]
fn a_group_is_bounded_until_it_is_a_channel() {
    let mut world = World::group(&[]);
    let names: Vec<String> = (0..limits::GROUP_MEMBERS).map(|i| format!("u{i}")).collect();
    let mut last = "";
    for chunk in names.chunks(limits::MEMBERS_PER_COMMAND) {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        last = world.act("alice", add(&chunk));
    }
    assert_eq!(last, "limit_exceeded", "with alice it would be one too many");
    assert_eq!(world.act("u1", action::Kind::Upgrade(Upgrade {})), "permission_denied");
    assert_eq!(world.act("alice", action::Kind::Upgrade(Upgrade {})), "event");
    assert_eq!(world.act("alice", action::Kind::Upgrade(Upgrade {})), "done");
    assert_eq!(world.head().kind(), ConversationKind::Channel);
    assert_eq!(world.act("alice", add(&["one.more"])), "event");
    let many: Vec<String> = (0..=limits::MEMBERS_PER_COMMAND).map(|i| format!("v{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(world.act("alice", add(&many)), "limit_exceeded");
}

#[test]
fn a_dismissed_conversation_takes_nothing_more() {
    let mut world = World::group(&["bob"]);
    assert_eq!(world.act("bob", action::Kind::Dismiss(Dismiss {})), "permission_denied");
    assert_eq!(world.act("alice", action::Kind::Dismiss(Dismiss {})), "event");
    assert_eq!(world.act("alice", send("hi")), "failed_precondition");
    assert_eq!(world.act("", send("hi")), "failed_precondition");
}

#[test]
fn pins_are_for_admins_and_have_a_limit() {
    let mut world = World::group(&["bob"]);
    let pin = |target| action::Kind::Pin(Pinned { target });
    world.act("bob", send("hi"));
    assert_eq!(world.act("bob", pin(2)), "permission_denied");
    assert_eq!(world.act("alice", pin(2)), "event");
    assert_eq!(world.act("alice", pin(2)), "done");
    for _ in 1..limits::PINS {
        world.act("bob", send("hi"));
        assert_eq!(world.act("alice", pin(world.last_seq())), "event");
    }
    world.act("bob", send("hi"));
    assert_eq!(world.act("alice", pin(world.last_seq())), "limit_exceeded");
}

#[test]
fn a_late_repeat_of_joined_never_undoes_left() {
    let mut world = World::new(LogId::User(UserId::parse("alice").unwrap()));
    let apply = |at_seq, member| {
        let conversation = "g".to_owned();
        let kind = ConversationKind::Group.into();
        user_action::Kind::ApplyMembership(ApplyMembership { conversation, kind, at_seq, member })
    };
    for (at_seq, member, expected) in
        [(1, true, "event"), (1, true, "done"), (4, false, "event"), (1, true, "done"), (9, true, "event")]
    {
        assert_eq!(code(&world.user(apply(at_seq, member))), expected, "{at_seq} {member}");
    }
    let id = ConversationId::parse("g").unwrap();
    assert!(world.facts.membership(&id).unwrap().row.member);
    assert_eq!(world.last_seq(), 3);
}

#[test]
fn marks_only_move_forward() {
    let mut world = World::new(LogId::User(UserId::parse("alice").unwrap()));
    let mark = |read_seq, delivered_seq| {
        let conversation = "g".to_owned();
        user_action::Kind::Mark(stonechat_proto::v1::Marked { conversation, read_seq, delivered_seq })
    };
    assert_eq!(code(&world.user(mark(5, 0))), "event");
    assert_eq!(code(&world.user(mark(3, 5))), "done", "what was read was received");
    assert_eq!(code(&world.user(mark(3, 9))), "event");
    let id = ConversationId::parse("g").unwrap();
    let row = &world.facts.membership(&id).unwrap().row;
    assert_eq!((row.read_seq, row.delivered_seq), (5, 9));
}

#[test]
fn a_fact_newer_than_the_command_means_the_partition_was_lost() {
    let mut world = World::group(&["bob"]);
    let position = world.position + 10;
    let newer = stonechat_proto::internal::v1::MemberRow { role: Role::Member.into(), ..Default::default() };
    let bob = UserId::parse("bob").unwrap();
    world.facts.learn(&Derived::Member(bob, newer), position);
    assert_eq!(world.act("bob", send("hi")), "from_future");
    assert_eq!(world.act("alice", send("hi")), "event");
}

#[test]
fn a_fact_of_the_commands_own_position_means_that_another_decided_it() {
    let mut world = World::group(&["bob"]);
    let removed = stonechat_proto::internal::v1::MemberRow { left_seq: 2, ..Default::default() };
    let bob = UserId::parse("bob").unwrap();
    world.facts.learn(&Derived::Member(bob, removed), world.position + 1);
    assert_eq!(world.act("alice", remove(&["bob"])), "from_future", "not 'nothing to change'");
}

#[test]
fn applying_an_event_again_writes_only_what_is_missing() {
    let mut world = World::group(&["bob"]);
    world.act("bob", send("hi"));
    let before = world.head.clone();
    let Verdict::Event(event) = world.act_as("alice", "", react(2, "👍")) else { panic!("refused") };
    let position = Position::from_u64(world.position);
    let (head, derived) = apply(before.as_ref(), &event, position, &world.facts);
    assert_eq!((Some(&head), derived), (world.head.as_ref(), vec![]), "the overlay is as new as the event");
    let (_, derived) = apply(before.as_ref(), &event, position, &Facts::default());
    assert_eq!(derived.len(), 1);
}
