//! `kill -9` in the middle of a conversation, and an orderly end.

use serde_json::{Value, json};

use crate::support::{
    server::Server,
    session::{Session, client_id},
};

async fn history(session: &mut Session, conversation: &str) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event["seq"].as_u64().expect("a seq"));
        let page =
            session.ask(json!({"type": "history", "conversation": conversation, "after": after, "limit": 200})).await;
        assert_eq!(page["type"], "page", "{page}");
        events.extend(page["events"].as_array().cloned().unwrap_or_default());
        if page["more"] != true {
            return events;
        }
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill_and_what_was_not_is_there_once_when_sent_again() {
    let mut server = Server::start().await;
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    let chat = alice.group("talk", &["bob"]).await;
    let mut answered = Vec::new();
    for round in 0..3 {
        for n in 0..50 {
            let text = format!("round {round}, message {n} 👋");
            let ack = alice.send(&chat, &text).await;
            assert_eq!(ack["type"], "ack", "{ack}");
            answered.push((ack["seq"].as_u64().expect("a seq"), text));
        }
        let before = history(&mut alice, &chat).await;
        // Sent, and killed before the answer was read.
        let unanswered = client_id();
        let frame = json!({"type": "command", "id": 9_000_000, "conversation": chat, "client_id": unanswered,
            "send": {"text": format!("unanswered {round}")}});
        alice.say(&frame).await;
        server.kill_and_restart().await;
        alice = Session::open(server.address, server.token("alice"), "phone").await;
        let after = history(&mut alice, &chat).await;
        assert_eq!(after[..before.len()], before[..]);
        let mut seqs = Vec::new();
        for _ in 0..2 {
            let mut again = frame.clone();
            again["id"] = Value::Null;
            let ack = alice.ask(again).await;
            assert_eq!(ack["type"], "ack", "{ack}");
            seqs.push(ack["seq"].clone());
        }
        assert_eq!(seqs[0], seqs[1]);
        let all = history(&mut alice, &chat).await;
        assert_eq!(all.iter().filter(|event| event["client_id"] == unanswered.as_str()).count(), 1);
    }
    let all = history(&mut alice, &chat).await;
    for (place, event) in (1_u64..).zip(&all) {
        assert_eq!(event["seq"], place, "a gap");
    }
    for (seq, text) in answered {
        assert_eq!(all[usize::try_from(seq).expect("fits") - 1]["text"], text.as_str());
    }
    let mut bob = Session::open(server.address, server.token("bob"), "phone").await;
    assert_eq!(history(&mut bob, &chat).await, all);
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_says_goaway_and_closes_its_sessions() {
    let mut server = Server::start().await;
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    server.terminate().await;
    let goaway = alice.until("goaway").await;
    assert_eq!(goaway["type"], "goaway", "{goaway}");
    assert!(goaway["reconnect_after_ms"].is_u64(), "{goaway}");
    // A client that does not follow is closed with the code that says the same.
    let last = alice.until_where(|_| false).await;
    assert_eq!(last["close"], 4001);
    drop(alice);
    assert!(server.ended().await, "it ended with an error");
}
