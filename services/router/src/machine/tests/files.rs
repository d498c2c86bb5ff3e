//! Which files messages refer to.

use stonechat_model::FileId;
use stonechat_proto::{
    internal::v1::{EraseUser, FileRefRow},
    v1::{Attachment, DroppedFile, Event},
};

use super::*;

fn showing(files: &[&str]) -> Message {
    let shown =
        |id: &&str| Attachment { id: (*id).to_owned(), url: format!("/v1/files/{id}"), ..Attachment::default() };
    Message { text: "see".to_owned(), attachments: files.iter().map(shown).collect(), ..Message::default() }
}

fn edit(target: u64, files: &[&str]) -> action::Kind {
    action::Kind::Edit(Edited { target, content: Some(showing(files)) })
}

fn recall(target: u64) -> action::Kind {
    action::Kind::Recall(Recalled { target })
}

fn dropped(seq: u64, files: &[&str]) -> Vec<DroppedFile> {
    files.iter().map(|file| DroppedFile { seq, file: (*file).to_owned() }).collect()
}

impl World {
    /// Has it done; gives the event and the references that derive from it, with whether they stand.
    fn done(&mut self, sender: &str, kind: action::Kind) -> (Event, Vec<(String, u64, bool)>) {
        let before = self.head.clone();
        let Verdict::Event(event) = self.act_as(sender, "", kind) else { panic!("refused") };
        let (_, derived) = apply(before.as_ref(), &event, Position::from_u64(self.position), &self.facts);
        let reference = |row: Derived| match row {
            Derived::FileRef(file, seq, row) => Some((file.to_string(), seq, !row.removed)),
            _ => None,
        };
        (*event, derived.into_iter().filter_map(reference).collect())
    }
}

fn stands(file: &str, seq: u64, stands: bool) -> (String, u64, bool) {
    (file.to_owned(), seq, stands)
}

#[test]
fn a_message_refers_to_what_it_shows_until_it_is_recalled() {
    let mut world = World::group(&["bob"]);
    let (sent, refs) = world.done("bob", action::Kind::Send(showing(&["a", "b", "a"])));
    assert_eq!((refs, sent.dropped_files), (vec![stands("a", 2, true), stands("b", 2, true)], vec![]));
    let (edited, refs) = world.done("bob", edit(2, &["b", "c"]));
    assert_eq!(edited.dropped_files, dropped(2, &["a"]));
    assert_eq!(refs, [stands("b", 2, true), stands("c", 2, true), stands("a", 2, false)]);
    let (recalled, refs) = world.done("alice", recall(2));
    // The overlay has been taken back by now, as in a batch that is written again: the event alone says it.
    assert_eq!(recalled.dropped_files, dropped(2, &["b", "c"]));
    assert_eq!(refs, [stands("b", 2, false), stands("c", 2, false)]);
    assert_eq!(code(&world.act_as("alice", "", recall(2))), "done");
    let (_, refs) = world.done("bob", send("no files"));
    assert_eq!(refs, []);
}

#[test]
fn what_the_server_did_not_fill_in_is_no_reference() {
    let mut world = World::group(&["bob"]);
    let bare = Attachment { id: "a".to_owned(), ..Attachment::default() };
    let odd = Attachment { id: "no/id".to_owned(), url: "/v1/files/a".to_owned(), ..Attachment::default() };
    let content = Message { attachments: vec![bare, odd], ..Message::default() };
    assert_eq!(world.done("bob", action::Kind::Send(content)).1, []);
}

#[test]
fn erasing_a_user_takes_the_references_of_their_messages() {
    let mut world = World::group(&["bob"]);
    world.done("bob", action::Kind::Send(showing(&["a"])));
    world.done("bob", edit(2, &["b"]));
    world.done("alice", action::Kind::Send(showing(&["a"])));
    let before = world.head.clone();
    let erase = EraseUser { user: "bob".to_owned(), targets: vec![2, 3], touched: vec![] };
    let command = world.parse("", "", command_record::Body::EraseUser(erase));
    let Verdict::Event(event) = world.submit(command) else { panic!("refused") };
    assert_eq!(event.dropped_files, dropped(2, &["b"]));
    let (_, derived) = apply(before.as_ref(), &event, Position::from_u64(world.position), &world.facts);
    let gone = FileRefRow { removed: true, sender: String::new() };
    let wanted = Derived::FileRef(FileId::parse("b").unwrap(), 2, gone);
    assert!(derived.contains(&wanted), "{derived:?}");
    let edited = &world.facts.event(3).unwrap().row;
    assert!(edited.erased && edited.dropped_files.is_empty(), "what it dropped is nobody's any more");
}

#[test]
fn a_command_whose_file_is_gone_is_answered_only_if_it_was_decided_before() {
    let mut world = World::group(&["bob"]);
    let id = ClientId::from_name(b"1").to_string();
    let ask = |world: &World, content: Message, lacks_file| {
        let body = command_record::Body::Action(Action { kind: Some(action::Kind::Send(content)) });
        let command = world.parse("bob", &id, body);
        Command { content_hash: 77, lacks_file, ..command }
    };
    let lacking = ask(&world, Message::default(), true);
    assert_eq!(code(&world.submit(lacking.clone())), "not_found");
    let whole = ask(&world, showing(&["a"]), false);
    let Verdict::Event(event) = world.submit(whole) else { panic!("refused") };
    assert_eq!(world.submit(lacking.clone()), Verdict::Done { seq: event.seq, time_us: event.time_us });
    let other = Command { content_hash: 78, ..lacking };
    assert_eq!(code(&world.submit(other)), "conflict");
}

#[test]
fn what_was_asked_is_compared_and_not_what_was_filled_in() {
    let record = |asked_hash, content| CommandRecord {
        tenant: "t".to_owned(),
        log: "g".to_owned(),
        asked_hash,
        body: Some(command_record::Body::Action(Action { kind: Some(action::Kind::Send(content)) })),
        ..CommandRecord::default()
    };
    let hash = |record| Parsed::from_record(record).unwrap().command.unwrap().content_hash;
    assert_eq!(hash(record(7, showing(&["a"]))), hash(record(7, showing(&["b"]))));
    assert_ne!(hash(record(0, showing(&["a"]))), hash(record(0, showing(&["b"]))));
}
