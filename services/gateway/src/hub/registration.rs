//! Registering with presence what the hub's sessions need, and taking it back.
//!
//! The hub's own state changes first when something is added, and is looked at again under a lock before something
//! is taken back: so a session that goes never takes the route of one that comes.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use stonechat_errors::Error;
use tokio::sync::{Mutex, MutexGuard};

use super::{Attached, Channel, Hub, User};

const LOCKS: usize = 64;

/// Locks by what is registered; held across calls to presence.
pub(crate) struct Locks(Vec<Mutex<()>>);

impl Default for Locks {
    fn default() -> Self {
        Self((0..LOCKS).map(|_| Mutex::new(())).collect())
    }
}

impl Locks {
    async fn lock(&self, key: &impl Hash) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0);
        self.0[index].lock().await
    }
}

impl Hub {
    /// Adds a session: from here on it gets what is delivered to its user.
    pub(crate) async fn attach(&self, session: &Arc<Attached>) -> Result<(), Error> {
        let excess = self.state.lock().insert(session, self.config.sessions_per_user);
        if let Some(oldest) = excess {
            oldest.outbox.close(crate::close::Close::REPLACED);
        }
        metrics::gauge!("stonechat_gateway_sessions").set(self.sessions() as f64);
        self.note_open(session);
        self.add_route(session).await
    }

    pub(crate) async fn add_route(&self, session: &Attached) -> Result<(), Error> {
        let user = (session.tenant.clone(), session.user.clone());
        let _lock = self.locks.lock(&user).await;
        self.dependencies.presence.add_routes(&self.config.id, std::slice::from_ref(&user)).await
    }

    /// Takes a session out, and back what only it needed.
    pub(crate) async fn detach(&self, session: &Attached) {
        let channels: Vec<Channel> =
            session.interests.lock().iter().map(|id| (session.tenant.clone(), id.clone())).collect();
        let watched: Vec<User> =
            session.watched.lock().iter().map(|user| (session.tenant.clone(), user.clone())).collect();
        self.state.lock().remove(session);
        self.note_closed(session);
        metrics::gauge!("stonechat_gateway_sessions").set(self.sessions() as f64);
        let user = (session.tenant.clone(), session.user.clone());
        let taken_back = async {
            let presence = &self.dependencies.presence;
            {
                let _lock = self.locks.lock(&user).await;
                if !self.state.lock().has_user(&user) {
                    presence.remove_routes(&self.config.id, std::slice::from_ref(&user)).await?;
                }
            }
            for channel in channels {
                self.release_channel(&channel).await?;
            }
            for user in watched {
                self.release_watch(&user).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = taken_back.await {
            // What stays registered costs a delivery to nobody, and goes with the next lease.
            tracing::debug!(%error, "a session's registration was not taken back");
        }
    }

    /// Has sessions get what is delivered to a channel. Presence is told by the first of them; should it lose that
    /// meanwhile, everything is registered again and these sessions look at their heads.
    pub(crate) async fn add_interest(&self, sessions: &[Arc<Attached>], channels: &[Channel]) -> Result<(), Error> {
        let untold: Vec<&Channel> = {
            let mut state = self.state.lock();
            for session in sessions {
                channels.iter().for_each(|channel| state.add_interest(session, channel.clone()));
            }
            channels.iter().filter(|channel| !state.is_told(channel)).collect()
        };
        // One lock at a time: presence calls are idempotent, so many channels need no common moment.
        for channel in untold {
            let _lock = self.locks.lock(channel).await;
            if self.state.lock().is_told(channel) {
                continue;
            }
            self.dependencies.presence.add_interest(&self.config.id, std::slice::from_ref(channel)).await?;
            self.state.lock().tell(channel);
        }
        Ok(())
    }

    pub(crate) async fn release_channel(&self, channel: &Channel) -> Result<(), Error> {
        let _lock = self.locks.lock(channel).await;
        if self.state.lock().has_channel(channel) {
            return Ok(());
        }
        self.dependencies.presence.remove_interest(&self.config.id, std::slice::from_ref(channel)).await
    }

    pub(crate) async fn add_watch(&self, session: &Arc<Attached>, users: &[User]) -> Result<(), Error> {
        for user in users {
            self.state.lock().add_watch(session, user.clone());
            let _lock = self.locks.lock(user).await;
            let watched = std::slice::from_ref(&user.1);
            self.dependencies.presence.watch(&self.config.id, &user.0, watched).await?;
        }
        Ok(())
    }

    pub(crate) async fn remove_watch(&self, session: &Attached, users: &[User]) -> Result<(), Error> {
        for user in users {
            self.state.lock().remove_watch(session, user);
            self.release_watch(user).await?;
        }
        Ok(())
    }

    async fn release_watch(&self, user: &User) -> Result<(), Error> {
        let _lock = self.locks.lock(user).await;
        if self.state.lock().has_watched(user) {
            return Ok(());
        }
        self.dependencies.presence.unwatch(&self.config.id, &user.0, std::slice::from_ref(&user.1)).await
    }
}
