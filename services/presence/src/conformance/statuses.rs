//! Statuses, and those who follow them.

use stonechat_proto::v1::Availability;
use stonechat_rpc::StatusUpdate;

use super::{Any, Subject, tenant, told, until, user};

fn away(text: &str) -> StatusUpdate {
    StatusUpdate { away: Some(true), text: Some(text.to_owned()), emoji: None }
}

/// The first session says online, the last one offline and when.
pub async fn who_follows_hears_of_coming_and_going(subject: &dyn Subject) {
    let any = Any::of(subject);
    let ((one, _), (two, _), (_, three)) = (any.attach("g1").await, any.attach("g2").await, any.attach("g3").await);
    let three_id = super::gateway("g3");
    any.next().watch(&three_id, &tenant("t"), &[user("alice").1, user("bob").1]).await.unwrap();
    any.next().add_routes(&one, &[user("alice")]).await.unwrap();
    let [status] = &told(&three, 1).await[..] else { panic!("one status") };
    assert_eq!((status.user.as_str(), status.availability(), status.last_seen_us), ("alice", Availability::Online, 0));
    any.next().add_routes(&two, &[user("alice")]).await.unwrap();
    any.next().remove_routes(&one, &[user("alice")]).await.unwrap();
    assert_eq!(any.status("alice").await.availability(), Availability::Online);
    any.next().remove_routes(&two, &[user("alice")]).await.unwrap();
    let [status] = &told(&three, 1).await[..] else { panic!("one status: the other session made no difference") };
    assert_eq!((status.user.as_str(), status.availability()), ("alice", Availability::Offline));
    assert!(status.last_seen_us > 0);
    assert_eq!(*status, any.status("alice").await);
    assert_eq!(any.status("bob").await.last_seen_us, 0, "never seen");
}

/// A status that is set again changes nothing.
pub async fn who_follows_hears_of_a_status_once(subject: &dyn Subject) {
    let any = Any::of(subject);
    let (one, heard) = any.attach("g1").await;
    any.next().add_routes(&one, &[user("alice")]).await.unwrap();
    any.next().watch(&one, &tenant("t"), &[user("alice").1]).await.unwrap();
    let alice = user("alice");
    any.next().set_status(&alice.0, &alice.1, away("lunch")).await.unwrap();
    any.next().set_status(&alice.0, &alice.1, away("lunch")).await.unwrap();
    any.next().set_status(&alice.0, &alice.1, StatusUpdate::default()).await.unwrap();
    let emoji = StatusUpdate { emoji: Some("🍜".to_owned()), ..StatusUpdate::default() };
    any.next().set_status(&alice.0, &alice.1, emoji).await.unwrap();
    let statuses = told(&heard, 2).await;
    let shown: Vec<_> = statuses.iter().map(|it| (it.availability(), it.text.as_str(), it.emoji.as_str())).collect();
    assert_eq!(shown, [(Availability::Away, "lunch", ""), (Availability::Away, "lunch", "🍜")]);
    let cleared = StatusUpdate { away: Some(false), text: Some(String::new()), emoji: Some(String::new()) };
    any.next().set_status(&alice.0, &alice.1, cleared).await.unwrap();
    let [status] = &told(&heard, 1).await[..] else { panic!("one status") };
    assert_eq!((status.availability(), status.text.as_str(), status.emoji.as_str()), (Availability::Online, "", ""));
}

/// Following ends.
pub async fn who_follows_no_more_hears_nothing(subject: &dyn Subject) {
    let any = Any::of(subject);
    let ((one, first), (two, second)) = (any.attach("g1").await, any.attach("g2").await);
    for gateway in [&one, &two] {
        any.next().watch(gateway, &tenant("t"), &[user("alice").1]).await.unwrap();
    }
    any.next().unwatch(&one, &tenant("t"), &[user("alice").1, user("bob").1]).await.unwrap();
    let alice = user("alice");
    any.next().set_status(&alice.0, &alice.1, away("lunch")).await.unwrap();
    assert_eq!(told(&second, 1).await.len(), 1);
    assert_eq!(first.take(), []);
}

/// Users of a gateway that is lost are offline when its lease is over, and those who follow hear of it.
pub async fn a_lapse_tells_those_who_follow(subject: &dyn Subject) {
    let any = Any::of(subject);
    let ((one, _), (two, heard)) = (any.attach("g1").await, any.attach("g2").await);
    any.next().watch(&two, &tenant("t"), &[user("alice").1, user("bob").1]).await.unwrap();
    any.next().add_routes(&one, &[user("alice"), user("bob")]).await.unwrap();
    any.next().add_routes(&two, &[user("bob")]).await.unwrap();
    assert_eq!(told(&heard, 2).await.len(), 2);
    subject.lapse(&one).await;
    let [status] = &told(&heard, 1).await[..] else { panic!("one status: bob is at another gateway too") };
    assert_eq!((status.user.as_str(), status.availability()), ("alice", Availability::Offline));
    assert!(until(async || any.status("alice").await.last_seen_us > 0).await);
    assert_eq!(any.status("bob").await.availability(), Availability::Online);
}

/// Text and emoji outlive sessions; to be away is over when the next one begins.
pub async fn a_status_stays_while_away_goes_with_the_session(subject: &dyn Subject) {
    let any = Any::of(subject);
    let (one, _) = any.attach("g1").await;
    let alice = user("alice");
    any.next().add_routes(&one, std::slice::from_ref(&alice)).await.unwrap();
    any.next().set_status(&alice.0, &alice.1, away("lunch")).await.unwrap();
    assert_eq!(any.status("alice").await.availability(), Availability::Away);
    any.next().remove_routes(&one, std::slice::from_ref(&alice)).await.unwrap();
    let gone = any.status("alice").await;
    assert_eq!((gone.availability(), gone.text.as_str()), (Availability::Offline, "lunch"));
    any.next().add_routes(&one, std::slice::from_ref(&alice)).await.unwrap();
    let back = any.status("alice").await;
    assert_eq!((back.availability(), back.text.as_str(), back.last_seen_us), (Availability::Online, "lunch", 0));
    let both = any.next().statuses(&alice.0, &[user("bob").1, alice.1]).await.unwrap();
    assert_eq!(both.iter().map(|status| status.user.as_str()).collect::<Vec<_>>(), ["bob", "alice"]);
}
