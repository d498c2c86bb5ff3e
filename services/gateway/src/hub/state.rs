//! Which sessions there are, by what they are found.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{Attached, Channel, User};

type Sessions = BTreeMap<u64, Arc<Attached>>;

/// The sessions, by number, user, channel and followed user. What is empty is not there.
#[derive(Default)]
pub(crate) struct State {
    by_id: Sessions,
    by_user: HashMap<User, Vec<Arc<Attached>>>,
    by_channel: HashMap<Channel, Sessions>,
    by_watched: HashMap<User, Sessions>,
    /// The channels among them that presence was told of since anything may have been lost there.
    told: HashSet<Channel>,
}

fn user_of(session: &Attached) -> User {
    (session.tenant.clone(), session.user.clone())
}

impl State {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn all(&self) -> Vec<Arc<Attached>> {
        self.by_id.values().cloned().collect()
    }

    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.by_id.keys().copied()
    }

    pub fn get(&self, id: u64) -> Option<&Arc<Attached>> {
        self.by_id.get(&id)
    }

    pub fn of_user(&self, user: &User) -> &[Arc<Attached>] {
        self.by_user.get(user).map_or(&[], Vec::as_slice)
    }

    pub fn of_channel(&self, channel: &Channel) -> impl Iterator<Item = &Arc<Attached>> {
        self.by_channel.get(channel).into_iter().flat_map(BTreeMap::values)
    }

    pub fn channel_len(&self, channel: &Channel) -> usize {
        self.by_channel.get(channel).map_or(0, BTreeMap::len)
    }

    pub fn watching(&self, user: &User) -> impl Iterator<Item = &Arc<Attached>> {
        self.by_watched.get(user).into_iter().flat_map(BTreeMap::values)
    }

    pub fn has_user(&self, user: &User) -> bool {
        self.by_user.contains_key(user)
    }

    pub fn has_channel(&self, channel: &Channel) -> bool {
        self.by_channel.contains_key(channel)
    }

    /// Whether presence knows that a channel is wanted here, as far as can be known.
    pub fn is_told(&self, channel: &Channel) -> bool {
        self.told.contains(channel)
    }

    /// Presence was told of a channel. One that nobody wants any more is about to be taken back.
    pub fn tell(&mut self, channel: &Channel) {
        if self.has_channel(channel) {
            self.told.insert(channel.clone());
        }
    }

    /// Presence may have lost what it was told.
    pub fn forget_told(&mut self) {
        self.told.clear();
    }

    pub fn has_watched(&self, user: &User) -> bool {
        self.by_watched.contains_key(user)
    }

    /// Every user, channel and followed user, in order.
    pub fn registered(&self) -> (Vec<User>, Vec<Channel>, Vec<User>) {
        fn sorted<K: Clone + Ord, V>(map: &HashMap<K, V>) -> Vec<K> {
            let mut keys: Vec<K> = map.keys().cloned().collect();
            keys.sort_unstable();
            keys
        }
        (sorted(&self.by_user), sorted(&self.by_channel), sorted(&self.by_watched))
    }

    /// Adds a session; gives the user's oldest one when there are more than `max`.
    pub fn insert(&mut self, session: &Arc<Attached>, max: usize) -> Option<Arc<Attached>> {
        self.by_id.insert(session.id, Arc::clone(session));
        let of_user = self.by_user.entry(user_of(session)).or_default();
        of_user.push(Arc::clone(session));
        if of_user.len() > max { of_user.first().cloned() } else { None }
    }

    /// Takes a session out of everything.
    pub fn remove(&mut self, session: &Attached) {
        self.by_id.remove(&session.id);
        let user = user_of(session);
        if let Some(of_user) = self.by_user.get_mut(&user) {
            of_user.retain(|other| other.id != session.id);
            if of_user.is_empty() {
                self.by_user.remove(&user);
            }
        }
        for conversation in session.interests.lock().iter() {
            self.remove_from(&(session.tenant.clone(), conversation.clone()), session.id);
        }
        for watched in session.watched.lock().iter() {
            remove(&mut self.by_watched, &(session.tenant.clone(), watched.clone()), session.id);
        }
    }

    /// Adds a session's interest, unless the session is gone.
    pub fn add_interest(&mut self, session: &Arc<Attached>, channel: Channel) {
        if self.by_id.contains_key(&session.id) {
            session.interests.lock().insert(channel.1.clone());
            self.by_channel.entry(channel).or_default().insert(session.id, Arc::clone(session));
        }
    }

    pub fn remove_interest(&mut self, session: &Attached, channel: &Channel) {
        session.interests.lock().remove(&channel.1);
        self.remove_from(channel, session.id);
    }

    fn remove_from(&mut self, channel: &Channel, id: u64) {
        remove(&mut self.by_channel, channel, id);
        if !self.has_channel(channel) {
            self.told.remove(channel);
        }
    }

    /// Has a session follow a user, unless the session is gone.
    pub fn add_watch(&mut self, session: &Arc<Attached>, user: User) {
        if self.by_id.contains_key(&session.id) {
            session.watched.lock().insert(user.1.clone());
            self.by_watched.entry(user).or_default().insert(session.id, Arc::clone(session));
        }
    }

    pub fn remove_watch(&mut self, session: &Attached, user: &User) {
        session.watched.lock().remove(&user.1);
        remove(&mut self.by_watched, user, session.id);
    }
}

fn remove<K: Eq + std::hash::Hash>(map: &mut HashMap<K, Sessions>, key: &K, id: u64) {
    if let Some(sessions) = map.get_mut(key) {
        sessions.remove(&id);
        if sessions.is_empty() {
            map.remove(key);
        }
    }
}
