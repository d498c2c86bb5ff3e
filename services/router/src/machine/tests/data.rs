//! Imported histories, and erasing.

use stonechat_proto::{
    internal::v1::{EraseUser, ExpireMessages, Imported},
    v1::{Event, MessagesExpired, UserErased, event::Body as Said},
};

use stonechat_model::limits;

use super::*;

fn import(world: &mut World, sender: &str, seq: u64, time_us: i64, kind: action::Kind) -> Verdict {
    let body = command_record::Body::Action(Action { kind: Some(kind) });
    let command = world.parse(sender, "", body);
    let imported = Some(Imported { seq, time_us, erased: false });
    world.submit(Command { imported, ..command })
}

fn erase(world: &mut World, user: &str, targets: &[u64], touched: &[u64]) -> Verdict {
    let (user, targets, touched) = (user.to_owned(), targets.to_vec(), touched.to_vec());
    let body = command_record::Body::EraseUser(EraseUser { user, targets, touched });
    let command = world.parse("", "", body);
    world.submit(command)
}

fn event(world: &World, seq: u64) -> Event {
    (*world.facts.event(seq).unwrap().row).clone()
}

#[test]
fn an_imported_event_is_the_next_one_or_there_already() {
    let mut world = World::conversation("g");
    world.now_us = 1_000_000;
    let begin = || create(ConversationKind::Group, &["alice", "bob"]);
    assert_eq!(code(&import(&mut world, "alice", 1, 50, begin())), "event");
    assert_eq!(code(&import(&mut world, "bob", 2, 60, send("hi"))), "event");
    assert_eq!((event(&world, 2).time_us, event(&world, 2).imported), (60, true));
    assert_eq!(import(&mut world, "bob", 2, 60, send("hi")), Verdict::Done { seq: 2, time_us: 60 });
    assert_eq!(import(&mut world, "alice", 1, 50, begin()), Verdict::Done { seq: 1, time_us: 50 });
    for (sender, seq, time_us, text, wanted) in [
        ("bob", 2, 60, "ho", "conflict"),
        ("bob", 2, 61, "hi", "conflict"),
        ("alice", 2, 60, "hi", "conflict"),
        ("bob", 4, 60, "gap", "failed_precondition"),
        ("bob", 3, 59, "back in time", "failed_precondition"),
        ("bob", 3, 0, "no time", "invalid_argument"),
        ("bob", 3, 9_000_000, "the future", "invalid_argument"),
        ("eve", 3, 60, "never was there", "failed_precondition"),
    ] {
        assert_eq!(code(&import(&mut world, sender, seq, time_us, send(text))), wanted, "{text}");
    }
    // Who left may have spoken before; what an owner may, an import may.
    assert_eq!(code(&import(&mut world, "", 3, 60, remove(&["bob"]))), "event");
    assert_eq!(code(&import(&mut world, "bob", 4, 61, send("parting words"))), "event");
    assert_eq!(code(&import(&mut world, "", 5, 61, remove(&["bob"]))), "failed_precondition", "it changes nothing");
    let without = || action::Kind::Edit(Edited { target: 2, content: None });
    assert_eq!(code(&import(&mut world, "bob", 5, 61, without())), "event", "it is taken back later");
    assert_eq!(code(&import(&mut world, "bob", 6, 61, action::Kind::Recall(Recalled { target: 2 }))), "event");
    assert_eq!(import(&mut world, "bob", 5, 61, without()), Verdict::Done { seq: 5, time_us: 61 });
    assert_eq!(world.act("alice", send("life goes on")), "event");
    assert!(!event(&world, 7).imported);
    assert_eq!(world.act("alice", action::Kind::Edit(Edited { target: 7, content: None })), "invalid_argument");
}

#[test]
fn what_a_user_said_is_erased_and_keeps_its_place() {
    let mut world = World::group(&["bob", "carol"]);
    let mentioning = Message { text: "you".into(), mentions: vec!["bob".into()], ..Message::default() };
    world.act("bob", send("secret"));
    world.act("carol", action::Kind::Send(mentioning));
    world.act("bob", react(3, "👍"));
    world.act("carol", react(3, "👍"));
    world.act(
        "bob",
        action::Kind::Edit(Edited { target: 2, content: Some(Message { text: "x".into(), ..Message::default() }) }),
    );
    world.act("alice", action::Kind::Pin(Pinned { target: 2 }));
    let before = (event(&world, 2), world.head().pinned_count, world.head().member_count);
    assert_eq!((before.1, before.2), (1, 3));

    let Verdict::Event(erased) = erase(&mut world, "bob", &[2, 4, 6], &[3]) else { panic!("refused") };
    let wanted =
        UserErased { user: "bob".into(), targets: vec![2, 4, 6], touched: vec![3], unpinned: vec![2], left: true };
    assert_eq!(erased.body, Some(Said::UserErased(wanted)));
    let gone = event(&world, 2);
    assert_eq!((gone.seq, gone.time_us, gone.sender.as_str(), gone.erased), (2, before.0.time_us, "", true));
    assert_eq!(gone.body, Some(Said::Message(Message::default())));
    assert_eq!(event(&world, 6).body, Some(Said::Edited(Edited { target: 2, content: None })));
    assert!(matches!(event(&world, 3).body, Some(Said::Message(message)) if message.mentions.is_empty()));
    let overlay = &world.facts.overlay(3).unwrap().row;
    assert_eq!(overlay.reactions[0].users, ["carol"]);
    let overlay = &world.facts.overlay(2).unwrap().row;
    assert!(overlay.erased && overlay.recalled && overlay.content.is_none() && !overlay.pinned);
    assert_eq!((world.head().pinned_count, world.head().member_count, world.role("bob")), (0, 2, Role::Unspecified));

    assert_eq!(code(&erase(&mut world, "bob", &[2, 4, 6], &[3])), "done", "once is enough");
    assert_eq!(code(&erase(&mut world, "bob", &[99], &[])), "invalid_argument");
    assert_eq!(world.act("bob", send("again")), "not_found");
    assert_eq!(world.act("alice", react(2, "👍")), "failed_precondition");
}

fn expire(world: &mut World, until_seq: u64, targets: &[u64]) -> Verdict {
    let body = command_record::Body::ExpireMessages(ExpireMessages { until_seq, targets: targets.to_vec() });
    let command = world.parse("", "", body);
    world.submit(command)
}

#[test]
fn what_expires_says_nothing_and_keeps_its_place() {
    let mut world = World::group(&["bob"]);
    world.act("bob", send("long ago"));
    world.act("alice", react(2, "👍"));
    world.act("alice", action::Kind::Pin(Pinned { target: 2 }));
    let later = Message { text: "changed".into(), ..Message::default() };
    world.act("bob", action::Kind::Edit(Edited { target: 2, content: Some(later) }));
    let sent_us = event(&world, 2).time_us;
    assert_eq!(world.head().pinned_count, 1);

    let Verdict::Event(expired) = expire(&mut world, 4, &[2, 3]) else { panic!("refused") };
    let wanted = MessagesExpired { until_seq: 4, targets: vec![2, 3], unpinned: vec![2] };
    assert_eq!(expired.body, Some(Said::MessagesExpired(wanted)));
    let gone = event(&world, 2);
    assert_eq!((gone.time_us, gone.sender.as_str(), gone.erased), (sent_us, "", true));
    assert_eq!(gone.body, Some(Said::Message(Message::default())));
    let overlay = &world.facts.overlay(2).unwrap().row;
    assert!(overlay.erased && overlay.recalled && overlay.content.is_none() && overlay.reactions.is_empty());
    assert_eq!((world.head().pinned_count, world.head().expired_seq, world.head().member_count), (0, 4, 2));
    assert_eq!(world.role("bob"), Role::Member, "who says nothing any more is a member all the same");
    assert_eq!(world.act("bob", react(2, "👍")), "failed_precondition");

    assert_eq!(code(&expire(&mut world, 4, &[2, 3])), "done", "once is enough");
    assert_eq!(code(&expire(&mut world, 99, &[2])), "invalid_argument");
    assert_eq!(code(&expire(&mut world, 4, &[5])), "invalid_argument");
    assert_eq!(code(&expire(&mut world, 4, &[0])), "invalid_argument");
    let many: Vec<u64> = (1..=limits::ERASE_EVENTS as u64 + 1).collect();
    assert_eq!(code(&expire(&mut world, 4, &many)), "limit_exceeded");
}

#[test]
fn an_expiring_event_that_is_applied_again_leads_to_the_same() {
    let mut world = World::group(&["bob"]);
    world.act("bob", send("long ago"));
    world.act("alice", action::Kind::Pin(Pinned { target: 2 }));
    let head = world.head.clone();
    let Verdict::Event(expired) = expire(&mut world, 2, &[2]) else { panic!("refused") };
    let (after, position) = (world.head.clone(), Position::from_u64(world.position));
    let (again, derived) = apply(head.as_ref(), &expired, position, &world.facts);
    assert_eq!(Some(again), after);
    let written = |row: &Derived| matches!(row, Derived::Erased(_) | Derived::Overlay(_));
    assert!(!derived.iter().any(written), "{derived:?}");
}

#[test]
fn an_erasing_event_that_is_applied_again_leads_to_the_same() {
    let mut world = World::group(&["bob"]);
    world.act("bob", send("secret"));
    world.act("alice", action::Kind::Pin(Pinned { target: 2 }));
    let head = world.head.clone();
    let Verdict::Event(erased) = erase(&mut world, "bob", &[2], &[]) else { panic!("refused") };
    let (after, position) = (world.head.clone(), Position::from_u64(world.position));
    // Rows of an attempt that did not finish are found as it left them.
    let (again, derived) = apply(head.as_ref(), &erased, position, &world.facts);
    assert_eq!(Some(again), after);
    let written = |row: &Derived| matches!(row, Derived::Erased(_) | Derived::Overlay(_) | Derived::Member(..));
    assert!(!derived.iter().any(written), "{derived:?}");
}

#[test]
fn an_erased_owner_leaves_a_conversation_that_the_tenant_can_give_away() {
    let mut world = World::group(&["bob"]);
    assert_eq!(code(&erase(&mut world, "alice", &[], &[])), "event");
    assert_eq!(world.head().owner, "");
    let transfer = action::Kind::Transfer(OwnershipTransferred { to: "bob".into() });
    assert_eq!(world.act("", transfer), "event");
    assert_eq!(world.role("bob"), Role::Owner);
}

#[test]
fn what_was_void_stays_so_however_many_devices_there_were() {
    let mut world = World::new(LogId::User(UserId::parse("bob").unwrap()));
    let many = limits::DEVICE_CUTOFFS as i64 + 50;
    for number in 1..=many {
        let revoke = v1::TokensRevoked { before_us: number * 10, device: format!("d{number}") };
        assert_eq!(code(&world.user(user_action::Kind::RevokeTokens(revoke))), "event");
    }
    let row = &world.facts.user().unwrap().row;
    assert!(row.revoked_devices.len() <= limits::DEVICE_CUTOFFS);
    for number in 1..=many {
        let own = row.revoked_devices.iter().find(|it| it.device == format!("d{number}"));
        assert!(own.map_or(row.revoked_before_us, |it| it.before_us) >= number * 10, "device {number}");
    }
    assert!(row.revoked_before_us <= 50 * 10, "no more than must be");
}

#[test]
fn nothing_is_written_for_an_erased_user_any_more() {
    let mut world = World::new(LogId::User(UserId::parse("bob").unwrap()));
    let profile = |name: &str| {
        user_action::Kind::UpdateProfile(v1::ProfileChanged { name: Some(name.into()), ..Default::default() })
    };
    assert_eq!(code(&world.user(profile("Bob"))), "event");
    assert_eq!(code(&world.user(user_action::Kind::Erase(v1::Erased {}))), "event");
    let row = &world.facts.user().unwrap().row;
    assert!(row.erased && row.deactivated && row.name.is_empty());
    assert_eq!(code(&world.user(profile("Again"))), "failed_precondition");
    assert_eq!(code(&world.user(user_action::Kind::Erase(v1::Erased {}))), "done");
    let joined = ApplyMembership { conversation: "g".into(), kind: 2, at_seq: 9, member: true };
    assert_eq!(code(&world.user(user_action::Kind::ApplyMembership(joined))), "done");
}

#[test]
fn creating_lists_a_conversation_and_pinning_lists_a_message() {
    let mut world = World::conversation("g");
    let derived = |world: &World, verdict: &Verdict| {
        let Verdict::Event(event) = verdict else { panic!("refused") };
        apply(None, event, Position::from_u64(world.position), &world.facts).1
    };
    let made = world.act_as("alice", "", create(ConversationKind::Group, &["bob"]));
    assert!(derived(&world, &made).iter().any(|row| matches!(row, Derived::Listed(_))));
    world.act("alice", send("hi"));
    let pinned = world.act_as("alice", "", action::Kind::Pin(Pinned { target: 2 }));
    assert!(derived(&world, &pinned).iter().any(|row| matches!(row, Derived::Pin(2, pin) if pin.pinned)));
    let unpinned = world.act_as("alice", "", action::Kind::Unpin(v1::Unpinned { target: 2 }));
    assert!(derived(&world, &unpinned).iter().any(|row| matches!(row, Derived::Pin(2, pin) if !pin.pinned)));
}
