//! The state of presence: pure, with time as an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, TenantId, TimeUs, UserId};
use stonechat_proto::v1::{Availability, Status};
use stonechat_rpc::{StatusUpdate, Target, TargetQuery};

pub(crate) type User = (TenantId, UserId);
pub(crate) type Channel = (TenantId, ConversationId);

/// What is said to a gateway that registers something without having a lease: it must attach first.
pub(crate) fn not_attached() -> Error {
    Error::unavailable("the gateway is not attached")
}

/// What one gateway registered.
#[derive(Debug, Default)]
struct Registered {
    lease_until_us: TimeUs,
    users: BTreeSet<User>,
    channels: BTreeSet<Channel>,
    watched: BTreeSet<User>,
}

/// What is known of a user.
#[derive(Debug, Default, Clone, PartialEq)]
struct Known {
    away: bool,
    text: String,
    emoji: String,
    last_seen_us: TimeUs,
}

/// A status that changed, and the gateways that follow it.
pub(crate) type Change = (User, Status, Vec<GatewayId>);

/// Routes, interest, leases, statuses.
#[derive(Debug, Default)]
pub(crate) struct State {
    gateways: BTreeMap<GatewayId, Registered>,
    routes: HashMap<User, Vec<GatewayId>>,
    interest: HashMap<Channel, Vec<GatewayId>>,
    watchers: HashMap<User, Vec<GatewayId>>,
    known: HashMap<User, Known>,
}

fn add<K: Eq + std::hash::Hash>(map: &mut HashMap<K, Vec<GatewayId>>, key: K, gateway: &GatewayId) -> bool {
    let gateways = map.entry(key).or_default();
    if gateways.contains(gateway) {
        return false;
    }
    gateways.push(gateway.clone());
    gateways.len() == 1
}

/// Says whether the last one went.
fn take<K: Eq + std::hash::Hash>(map: &mut HashMap<K, Vec<GatewayId>>, key: &K, gateway: &GatewayId) -> bool {
    let Some(gateways) = map.get_mut(key) else { return false };
    gateways.retain(|known| known != gateway);
    let is_empty = gateways.is_empty();
    if is_empty {
        map.remove(key);
    }
    is_empty
}

impl State {
    /// Knows a gateway anew, without routes.
    pub fn attach(&mut self, gateway: &GatewayId, lease_until_us: TimeUs, now_us: TimeUs) -> Vec<Change> {
        let changes = self.detach(gateway, now_us);
        self.gateways.insert(gateway.clone(), Registered { lease_until_us, ..Registered::default() });
        changes
    }

    /// Renews a lease; `false` when there is none.
    pub fn renew(&mut self, gateway: &GatewayId, lease_until_us: TimeUs) -> bool {
        let known = self.gateways.get_mut(gateway);
        known.map(|registered| registered.lease_until_us = lease_until_us).is_some()
    }

    /// Takes out a gateway and all it registered.
    pub fn detach(&mut self, gateway: &GatewayId, now_us: TimeUs) -> Vec<Change> {
        let Some(registered) = self.gateways.remove(gateway) else { return Vec::new() };
        for channel in &registered.channels {
            take(&mut self.interest, channel, gateway);
        }
        for user in &registered.watched {
            take(&mut self.watchers, user, gateway);
        }
        let users = registered.users.into_iter();
        users.filter_map(|user| self.take_route(user, gateway, now_us)).collect()
    }

    /// Takes out the gateways whose leases lapsed.
    pub fn expire(&mut self, now_us: TimeUs) -> Vec<Change> {
        let lapsed = |(gateway, registered): (&GatewayId, &Registered)| {
            (registered.lease_until_us <= now_us).then(|| gateway.clone())
        };
        let lapsed: Vec<_> = self.gateways.iter().filter_map(lapsed).collect();
        lapsed.iter().flat_map(|gateway| self.detach(gateway, now_us)).collect()
    }

    /// Forgets the users who were seen last the longest ago when more than `max` are known, a tenth of them at once;
    /// never one who is online.
    pub fn forget_long_gone(&mut self, max: usize) {
        if self.known.len() <= max {
            return;
        }
        let excess = self.known.len() - max + max / 10;
        let is_offline = |(user, _): &(&User, &Known)| !self.routes.contains_key(*user);
        let mut seen: Vec<TimeUs> = self.known.iter().filter(is_offline).map(|(_, known)| known.last_seen_us).collect();
        if seen.is_empty() {
            return;
        }
        let last = excess.min(seen.len()) - 1;
        let (_, newest_forgotten, _) = seen.select_nth_unstable(last);
        let newest_forgotten = *newest_forgotten;
        let routes = &self.routes;
        self.known.retain(|user, known| known.last_seen_us > newest_forgotten || routes.contains_key(user));
    }

    /// Whether the gateway has a lease.
    pub fn knows(&self, gateway: &GatewayId) -> bool {
        self.gateways.contains_key(gateway)
    }

    fn registered(&mut self, gateway: &GatewayId) -> Result<&mut Registered, Error> {
        self.gateways.get_mut(gateway).ok_or_else(not_attached)
    }

    /// Adds routes; what was not there before is online now.
    pub fn add_routes(&mut self, gateway: &GatewayId, users: &[User]) -> Result<Vec<Change>, Error> {
        let registered = self.registered(gateway)?;
        registered.users.extend(users.iter().cloned());
        let mut changes = Vec::new();
        for user in users {
            if add(&mut self.routes, user.clone(), gateway) {
                if let Some(known) = self.known.get_mut(user) {
                    known.away = false;
                }
                changes.extend(self.change_of(user));
            }
        }
        Ok(changes)
    }

    /// Takes routes out; whose last one goes is offline now.
    pub fn remove_routes(&mut self, gateway: &GatewayId, users: &[User], now_us: TimeUs) -> Vec<Change> {
        if let Some(registered) = self.gateways.get_mut(gateway) {
            registered.users.retain(|user| !users.contains(user));
        }
        users.iter().filter_map(|user| self.take_route(user.clone(), gateway, now_us)).collect()
    }

    fn take_route(&mut self, user: User, gateway: &GatewayId, now_us: TimeUs) -> Option<Change> {
        if !take(&mut self.routes, &user, gateway) {
            return None;
        }
        self.known.entry(user.clone()).or_default().last_seen_us = now_us;
        self.change_of(&user)
    }

    /// Adds interest in channels.
    pub fn add_interest(&mut self, gateway: &GatewayId, channels: &[Channel]) -> Result<(), Error> {
        self.registered(gateway)?.channels.extend(channels.iter().cloned());
        for channel in channels {
            add(&mut self.interest, channel.clone(), gateway);
        }
        Ok(())
    }

    /// Takes interest in channels out.
    pub fn remove_interest(&mut self, gateway: &GatewayId, channels: &[Channel]) {
        let Some(registered) = self.gateways.get_mut(gateway) else { return };
        for channel in channels {
            registered.channels.remove(channel);
            take(&mut self.interest, channel, gateway);
        }
    }

    /// Where something goes.
    pub fn targets(&self, query: &TargetQuery) -> Vec<Target> {
        match query {
            TargetQuery::Channel(tenant, id) => {
                let gateways = self.interest.get(&(tenant.clone(), id.clone())).map_or(&[][..], Vec::as_slice);
                gateways.iter().map(|gateway| Target { gateway: gateway.clone(), users: Vec::new() }).collect()
            }
            TargetQuery::Users(tenant, users) => {
                let mut targets: Vec<Target> = Vec::new();
                for user in users.iter() {
                    let Some(gateways) = self.routes.get(&(tenant.clone(), user.clone())) else { continue };
                    for gateway in gateways {
                        match targets.iter_mut().find(|target| target.gateway == *gateway) {
                            Some(target) => target.users.push(user.clone()),
                            None => targets.push(Target { gateway: gateway.clone(), users: vec![user.clone()] }),
                        }
                    }
                }
                targets
            }
        }
    }

    /// Changes a user's own status.
    pub fn set_status(&mut self, user: &User, update: StatusUpdate) -> Option<Change> {
        let known = self.known.entry(user.clone()).or_default();
        let before = known.clone();
        known.away = update.away.unwrap_or(known.away);
        known.text = update.text.unwrap_or_else(|| std::mem::take(&mut known.text));
        known.emoji = update.emoji.unwrap_or_else(|| std::mem::take(&mut known.emoji));
        if *known == before { None } else { self.change_of(user) }
    }

    /// A user's status.
    pub fn status(&self, user: &User) -> Status {
        let known = self.known.get(user).cloned().unwrap_or_default();
        let availability = match (self.routes.contains_key(user), known.away) {
            (false, _) => Availability::Offline,
            (true, true) => Availability::Away,
            (true, false) => Availability::Online,
        };
        let is_offline = availability == Availability::Offline;
        Status {
            user: user.1.to_string(),
            availability: availability.into(),
            last_seen_us: if is_offline { known.last_seen_us } else { 0 },
            text: known.text,
            emoji: known.emoji,
        }
    }

    fn change_of(&self, user: &User) -> Option<Change> {
        let watchers = self.watchers.get(user)?;
        Some((user.clone(), self.status(user), watchers.clone()))
    }

    /// Has a gateway follow users' statuses.
    pub fn watch(&mut self, gateway: &GatewayId, users: &[User]) -> Result<(), Error> {
        self.registered(gateway)?.watched.extend(users.iter().cloned());
        for user in users {
            add(&mut self.watchers, user.clone(), gateway);
        }
        Ok(())
    }

    /// Has a gateway follow users' statuses no more.
    pub fn unwatch(&mut self, gateway: &GatewayId, users: &[User]) {
        let Some(registered) = self.gateways.get_mut(gateway) else { return };
        for user in users {
            registered.watched.remove(user);
            take(&mut self.watchers, user, gateway);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE_US: TimeUs = 1_000;

    fn gateway(text: &str) -> GatewayId {
        GatewayId::parse(text).unwrap()
    }

    fn user(text: &str) -> User {
        (TenantId::parse("t").unwrap(), UserId::parse(text).unwrap())
    }

    fn targets(state: &State, text: &str) -> Vec<String> {
        let (tenant, user) = user(text);
        let query = TargetQuery::Users(tenant, [user].into());
        state.targets(&query).iter().map(|target| target.gateway.to_string()).collect()
    }

    #[test]
    fn a_lapsed_lease_takes_routes_and_interest_along() {
        let mut state = State::default();
        let (one, two) = (gateway("g1"), gateway("g2"));
        state.attach(&one, LEASE_US, 0);
        state.attach(&two, LEASE_US * 3, 0);
        state.add_routes(&one, &[user("alice")]).unwrap();
        state.add_routes(&two, &[user("alice")]).unwrap();
        let channel = (TenantId::parse("t").unwrap(), ConversationId::parse("c").unwrap());
        state.add_interest(&one, std::slice::from_ref(&channel)).unwrap();
        state.expire(LEASE_US);
        assert_eq!(targets(&state, "alice"), ["g2"]);
        assert_eq!(state.targets(&TargetQuery::Channel(channel.0, channel.1)), []);
        assert!(!state.renew(&one, LEASE_US * 9));
        assert!(state.renew(&two, LEASE_US * 9));
    }

    #[test]
    fn followers_hear_of_coming_going_and_status() {
        let mut state = State::default();
        let (one, two) = (gateway("g1"), gateway("g2"));
        state.attach(&one, LEASE_US, 0);
        state.attach(&two, LEASE_US, 0);
        state.watch(&two, &[user("alice")]).unwrap();
        let [(_, status, watchers)] = &state.add_routes(&one, &[user("alice")]).unwrap()[..] else {
            panic!("no change")
        };
        assert_eq!((status.availability(), &watchers[..]), (Availability::Online, &[gateway("g2")][..]));
        assert_eq!(state.add_routes(&two, &[user("alice")]).unwrap(), [], "already online");
        let update = StatusUpdate { away: Some(true), text: Some("lunch".to_owned()), emoji: None };
        let (_, status, _) = state.set_status(&user("alice"), update.clone()).unwrap();
        assert_eq!((status.availability(), status.text.as_str()), (Availability::Away, "lunch"));
        assert_eq!(state.set_status(&user("alice"), update), None, "nothing changed");
        assert_eq!(state.remove_routes(&one, &[user("alice")], 7), [], "another session is open");
        let [(_, status, _)] = &state.remove_routes(&two, &[user("alice")], 9)[..] else { panic!("no change") };
        assert_eq!((status.availability(), status.last_seen_us), (Availability::Offline, 9));
    }

    #[test]
    fn a_gateway_without_a_lease_registers_nothing() {
        let mut state = State::default();
        let refused = state.add_routes(&gateway("g1"), &[user("alice")]).unwrap_err();
        assert!(refused.is_retryable());
        assert_eq!(targets(&state, "alice"), [] as [&str; 0]);
    }

    #[test]
    fn those_who_are_gone_for_longest_are_forgotten_and_nobody_who_is_there() {
        let mut state = State::default();
        let gateway = gateway("g1");
        state.attach(&gateway, LEASE_US, 0);
        let names: Vec<User> = (0..40).map(|number| user(&format!("u{number}"))).collect();
        state.add_routes(&gateway, &names).unwrap();
        let away = StatusUpdate { away: Some(true), ..StatusUpdate::default() };
        state.set_status(&names[0], away);
        for (time, user) in names[1..].iter().enumerate() {
            state.remove_routes(&gateway, std::slice::from_ref(user), 10 + i64::try_from(time).unwrap());
        }
        state.forget_long_gone(40);
        assert_eq!(state.known.len(), 40, "so many may be known");
        state.forget_long_gone(20);
        assert_eq!(state.known.len(), 18);
        assert_eq!(state.status(&names[0]).availability(), Availability::Away);
        assert_eq!(state.status(&names[1]).last_seen_us, 0, "forgotten");
        assert_eq!(state.status(&names[39]).last_seen_us, 48);
    }

    #[test]
    fn tenants_do_not_see_each_other() {
        let mut state = State::default();
        state.attach(&gateway("g1"), LEASE_US, 0);
        state.add_routes(&gateway("g1"), &[user("alice")]).unwrap();
        let other = TenantId::parse("u").unwrap();
        let query = TargetQuery::Users(other, [UserId::parse("alice").unwrap()].into());
        assert_eq!(state.targets(&query), []);
    }
}
