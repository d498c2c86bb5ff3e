//! Routes, interest, leases.

use stonechat_rpc::{Target, TargetQuery};

use super::{Any, Subject, channel, gateway, names, tenant, until, user};

/// A user with sessions on two gateways is at both, and at one when they end on the other.
pub async fn a_user_is_where_its_gateways_are(subject: &dyn Subject) {
    let any = Any::of(subject);
    let ((one, _), (two, _)) = (any.attach("g1").await, any.attach("g2").await);
    assert_eq!(any.gateways_of("alice").await, [] as [&str; 0]);
    any.next().add_routes(&one, &[user("alice"), user("bob")]).await.unwrap();
    any.next().add_routes(&two, &[user("alice")]).await.unwrap();
    assert_eq!(any.gateways_of("alice").await, ["g1", "g2"]);
    assert_eq!(any.gateways_of("bob").await, ["g1"]);
    any.next().remove_routes(&one, &[user("alice"), user("carol")]).await.unwrap();
    assert_eq!(any.gateways_of("alice").await, ["g2"]);
    any.next().remove_routes(&two, &[user("alice")]).await.unwrap();
    assert_eq!(any.gateways_of("alice").await, [] as [&str; 0]);
    any.next().add_routes(&one, &[]).await.unwrap();
    any.next().remove_routes(&one, &[]).await.unwrap();
}

/// What a gateway says twice it need not take back twice.
pub async fn registering_twice_is_registering_once(subject: &dyn Subject) {
    let any = Any::of(subject);
    let (one, _) = any.attach("g1").await;
    for _ in 0..2 {
        any.next().add_routes(&one, &[user("alice"), user("alice")]).await.unwrap();
        any.next().add_interest(&one, &[channel("c")]).await.unwrap();
    }
    assert_eq!(
        (any.gateways_of("alice").await, any.gateways_of_channel("c").await),
        (vec!["g1".to_owned()], vec!["g1".to_owned()])
    );
    for _ in 0..2 {
        any.next().remove_routes(&one, &[user("alice")]).await.unwrap();
        any.next().remove_interest(&one, &[channel("c")]).await.unwrap();
        assert_eq!((any.gateways_of("alice").await, any.gateways_of_channel("c").await), (vec![], vec![]));
    }
}

/// Answers come in the order of the queries, and say which of a query's users are where.
pub async fn a_query_of_many_is_answered_in_order(subject: &dyn Subject) {
    let any = Any::of(subject);
    let ((one, _), (two, _)) = (any.attach("g1").await, any.attach("g2").await);
    any.next().add_routes(&one, &[user("alice"), user("bob")]).await.unwrap();
    any.next().add_routes(&two, &[user("bob")]).await.unwrap();
    any.next().add_interest(&two, &[channel("c")]).await.unwrap();
    let users = |names: &[&str]| TargetQuery::Users(tenant("t"), names.iter().map(|name| user(name).1).collect());
    let (of, id) = channel("c");
    let queries = [users(&["nobody"]), users(&["alice", "nobody", "bob"]), TargetQuery::Channel(of, id), users(&[])];
    let mut answers = any.next().targets(&queries).await.unwrap();
    for targets in &mut answers {
        targets.sort_by(|one, other| one.gateway.cmp(&other.gateway));
    }
    let target = |name: &str, users: &[&str]| Target {
        gateway: gateway(name),
        users: users.iter().map(|name| user(name).1).collect(),
    };
    let expected: [&[Target]; 4] =
        [&[], &[target("g1", &["alice", "bob"]), target("g2", &["bob"])], &[target("g2", &[])], &[]];
    assert_eq!(answers, expected);
    assert_eq!(any.next().targets(&[]).await.unwrap(), [] as [Vec<Target>; 0]);
}

/// A channel is at the gateways with interested sessions.
pub async fn a_channel_is_where_interest_is(subject: &dyn Subject) {
    let any = Any::of(subject);
    let ((one, _), (two, _)) = (any.attach("g1").await, any.attach("g2").await);
    any.next().add_interest(&one, &[channel("c"), channel("d")]).await.unwrap();
    any.next().add_interest(&two, &[channel("c")]).await.unwrap();
    assert_eq!(any.gateways_of_channel("c").await, ["g1", "g2"]);
    assert_eq!(any.gateways_of_channel("d").await, ["g1"]);
    any.next().remove_interest(&one, &[channel("c"), channel("e")]).await.unwrap();
    assert_eq!(any.gateways_of_channel("c").await, ["g2"]);
    assert_eq!(any.gateways_of("c").await, [] as [&str; 0], "no user is a channel");
}

/// A user or channel of the same name in another tenant is another one.
pub async fn tenants_are_apart(subject: &dyn Subject) {
    let any = Any::of(subject);
    let (one, _) = any.attach("g1").await;
    any.next().add_routes(&one, &[user("alice")]).await.unwrap();
    any.next().add_interest(&one, &[channel("c")]).await.unwrap();
    let other = tenant("u");
    let users = TargetQuery::Users(other.clone(), [user("alice").1].into());
    assert_eq!(names(&any.ask(users).await), [] as [&str; 0]);
    assert_eq!(names(&any.ask(TargetQuery::Channel(other.clone(), channel("c").1)).await), [] as [&str; 0]);
    any.next().remove_routes(&one, &[(other, user("alice").1)]).await.unwrap();
    assert_eq!(any.gateways_of("alice").await, ["g1"]);
}

/// A gateway that attaches again, perhaps elsewhere, begins anew.
pub async fn a_gateway_that_attaches_again_has_no_routes(subject: &dyn Subject) {
    let any = Any::of(subject);
    let (one, _) = any.attach("g1").await;
    any.next().add_routes(&one, &[user("alice")]).await.unwrap();
    any.next().add_interest(&one, &[channel("c")]).await.unwrap();
    any.attach("g1").await;
    assert!(until(async || any.gateways_of("alice").await.is_empty()).await);
    assert!(until(async || any.gateways_of_channel("c").await.is_empty()).await);
    assert!(any.next().renew(&one).await.unwrap());
    any.next().add_routes(&one, &[user("alice")]).await.unwrap();
    assert_eq!(any.gateways_of("alice").await, ["g1"]);
}

/// Detaching takes everything out; what is asked of it later is as of one that never was.
pub async fn a_gateway_that_detaches_is_gone_with_all_it_registered(subject: &dyn Subject) {
    let any = Any::of(subject);
    let ((one, _), (two, _)) = (any.attach("g1").await, any.attach("g2").await);
    any.next().add_routes(&one, &[user("alice")]).await.unwrap();
    any.next().add_routes(&two, &[user("alice")]).await.unwrap();
    any.next().add_interest(&one, &[channel("c")]).await.unwrap();
    any.next().detach(&one).await.unwrap();
    assert!(until(async || any.gateways_of("alice").await == ["g2"]).await);
    assert!(until(async || any.gateways_of_channel("c").await.is_empty()).await);
    assert!(!any.next().renew(&one).await.unwrap());
    any.next().detach(&one).await.unwrap();
    any.next().detach(&gateway("never")).await.unwrap();
}

/// A lease that nobody renewed takes routes and interest along, and other gateways stay.
pub async fn a_lease_that_lapsed_takes_everything_along(subject: &dyn Subject) {
    let any = Any::of(subject);
    let ((one, _), (two, _)) = (any.attach("g1").await, any.attach("g2").await);
    any.next().add_routes(&one, &[user("alice")]).await.unwrap();
    any.next().add_routes(&two, &[user("alice")]).await.unwrap();
    any.next().add_interest(&one, &[channel("c")]).await.unwrap();
    subject.lapse(&one).await;
    assert!(until(async || any.gateways_of("alice").await == ["g2"]).await);
    assert!(until(async || any.gateways_of_channel("c").await.is_empty()).await);
    assert!(!any.next().renew(&one).await.unwrap());
    assert!(any.next().renew(&two).await.unwrap());
}

/// Without a lease nothing is registered, and the gateway is told; there is nothing to take back either.
pub async fn a_gateway_without_a_lease_registers_nothing(subject: &dyn Subject) {
    let any = Any::of(subject);
    let one = gateway("g1");
    for _ in 0..2 {
        assert!(any.next().add_routes(&one, &[user("alice")]).await.unwrap_err().is_retryable());
        assert!(any.next().add_interest(&one, &[channel("c")]).await.unwrap_err().is_retryable());
        assert!(any.next().watch(&one, &tenant("t"), &[user("bob").1]).await.unwrap_err().is_retryable());
        any.next().remove_routes(&one, &[user("alice")]).await.unwrap();
        any.next().remove_interest(&one, &[channel("c")]).await.unwrap();
        any.next().unwatch(&one, &tenant("t"), &[user("bob").1]).await.unwrap();
        assert_eq!((any.gateways_of("alice").await, any.gateways_of_channel("c").await), (vec![], vec![]));
        any.attach("g1").await;
        subject.lapse(&one).await;
        assert!(until(async || !any.next().renew(&one).await.unwrap()).await);
    }
}

/// After everything was lost leases are not renewed, and what gateways register again is there.
pub async fn what_was_lost_is_registered_again(subject: &dyn Subject) {
    let any = Any::of(subject);
    let (one, _) = any.attach("g1").await;
    any.next().add_routes(&one, &[user("alice")]).await.unwrap();
    subject.lose_everything().await;
    assert_eq!(any.gateways_of("alice").await, [] as [&str; 0]);
    assert!(!any.next().renew(&one).await.unwrap());
    any.attach("g1").await;
    any.next().add_routes(&one, &[user("alice")]).await.unwrap();
    assert!(any.next().renew(&one).await.unwrap());
    assert_eq!(any.gateways_of("alice").await, ["g1"]);
}
