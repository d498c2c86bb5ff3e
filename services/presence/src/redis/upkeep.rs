//! Keeping the connection, seeing that data was lost, and sweeping away what gateways left that are gone.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use redis::{Cmd, FromRedisValue, Value};
use stonechat_errors::Error;
use stonechat_model::{GatewayId, limits};
use tokio_util::sync::CancellationToken;

use super::{
    RedisPresence,
    connection::Pushed,
    keys::{Kind, spread_tags},
    leases, pairs,
    replies::texts,
    scripts, unreadable,
};

/// How often leases are read, and whether data was lost is looked at.
const BEAT: Duration = Duration::from_secs(1);
/// The first pause before another connection is tried, doubled until it comes to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Beats that fail before the connection is made anew.
const FAILED_BEATS: u32 = 2;
/// Parts of a cluster's slots that each have a mark; more masters than this are not expected.
const MARKS: u32 = 64;
/// What is swept away at once.
const SWEPT: usize = 200;
/// Whoever sweeps has this long, then another process may begin; it is renewed with every part.
const SWEEP_TURN_MS: u64 = 10_000;

/// By what lost data is seen.
#[derive(Default, PartialEq, Eq)]
struct Seen {
    replications: BTreeSet<String>,
    marks: Vec<Option<String>>,
}

impl RedisPresence {
    pub(super) async fn run(self: Arc<Self>, mut pushed: Pushed, shutdown: CancellationToken) {
        let hearing = async {
            while let Some(info) = pushed.recv().await {
                self.hear(info);
            }
        };
        let working = async {
            tokio::join!(hearing, self.keep_connected());
        };
        shutdown.run_until_cancelled(working).await;
    }

    async fn keep_connected(&self) {
        let mut pause = FIRST_PAUSE;
        let mut seen = None;
        let channel = self.keys.instance(&self.instance);
        let tags = if self.connection.is_cluster() { spread_tags(MARKS) } else { vec!["0".to_owned()] };
        loop {
            match self.connection.connect(&channel).await {
                Ok(()) => {
                    tracing::info!("connected to redis");
                    pause = FIRST_PAUSE;
                    if seen.is_some() {
                        // Signals passed by meanwhile.
                        self.unsure();
                    }
                    self.beat_until_broken(&tags, &mut seen).await;
                    tracing::warn!("the connection to redis was lost");
                }
                Err(error) => tracing::warn!(%error, "redis cannot be reached"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn beat_until_broken(&self, tags: &[String], seen: &mut Option<Seen>) {
        let mut every = tokio::time::interval(BEAT);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failed = 0;
        loop {
            tokio::select! {
                biased;
                () = self.connection.broken() => return,
                _ = every.tick() => {}
            }
            match self.beat(tags, seen).await {
                Ok(()) => failed = 0,
                Err(error) => {
                    failed += 1;
                    tracing::warn!(%error, "redis did not answer");
                }
            }
            if failed >= FAILED_BEATS {
                self.connection.give_up();
            }
        }
    }

    async fn beat(&self, tags: &[String], seen: &mut Option<Seen>) -> Result<(), Error> {
        let now = self.look(tags).await?;
        let has_lost_signals = self.connection.has_lost();
        let is_changed = seen.as_ref().is_some_and(|before| *before != now);
        *seen = Some(now);
        if is_changed {
            tracing::warn!("redis has lost data or was replaced, gateways register again");
            metrics::counter!("stonechat_presence_redis_lost_total").increment(1);
        }
        if is_changed || has_lost_signals {
            self.unsure();
        }
        self.read_leases().await?;
        let dropped = self.leases.take_leftovers().into_iter();
        let dropped = dropped.map(|it| scripts::drop_from(&it.hash, &it.gateway, &it.incarnation));
        self.connection.run(dropped.collect()).await.map(|_| ())
    }

    /// Reads the marks, which are set where they are missing, and what servers call their data.
    async fn look(&self, tags: &[String]) -> Result<Seen, Error> {
        let replications = self.connection.replications().await?;
        let new = uuid::Uuid::now_v7().simple().to_string();
        let mut commands = Vec::with_capacity(tags.len() * 2);
        for tag in tags {
            let (mut set, mut get) = (redis::cmd("SET"), redis::cmd("GET"));
            set.arg(self.keys.mark(tag)).arg(&new).arg("NX");
            get.arg(self.keys.mark(tag));
            commands.extend([set, get]);
        }
        let values = self.connection.run(commands).await?.into_iter().skip(1).step_by(2);
        let mark = |value| Option::<String>::from_redis_value(value).map_err(|error| unreadable(&error));
        Ok(Seen { replications, marks: values.map(mark).collect::<Result<_, _>>()? })
    }

    /// Reads every lease; has what those without one left swept away.
    async fn read_leases(&self) -> Result<(), Error> {
        let attached: Vec<_> =
            self.inboxes.lock().iter().map(|(gateway, it)| (gateway.clone(), Arc::clone(&it.incarnation))).collect();
        let mut list = redis::cmd("HGETALL");
        list.arg(self.keys.incarnations());
        let listed = pairs(self.connection.run(vec![list]).await?.pop().unwrap_or_default())?;
        let parsed = |(incarnation, gateway): (String, String)| Some((GatewayId::parse(&gateway).ok()?, incarnation));
        let mut all: Vec<(GatewayId, String)> = listed.into_iter().filter_map(parsed).collect();
        let count = all.len();
        all.extend(attached.iter().map(|(gateway, incarnation)| (gateway.clone(), incarnation.to_string())));
        let get = |(gateway, _): &(GatewayId, String)| {
            let mut get = redis::cmd("GET");
            get.arg(self.keys.lease(gateway));
            get
        };
        let values = self.connection.run(all.iter().map(get).collect()).await?;
        let mut living = HashMap::new();
        let mut gone = Vec::new();
        for (place, ((gateway, incarnation), value)) in all.into_iter().zip(values).enumerate() {
            match leases::parse(value)? {
                Some(lease) if *lease.incarnation == *incarnation => {
                    living.insert(gateway.to_string(), lease);
                }
                _ if place < count => gone.push((gateway, incarnation)),
                _ => {
                    // Attached here once, and lapsed or attached elsewhere since.
                    let mut inboxes = self.inboxes.lock();
                    if inboxes.get(&gateway).is_some_and(|it| *it.incarnation == *incarnation) {
                        inboxes.remove(&gateway);
                    }
                }
            }
        }
        metrics::gauge!("stonechat_presence_gateways").set(living.len() as f64);
        self.leases.replace(living);
        for (gateway, incarnation) in gone {
            self.sweep(&gateway, &incarnation).await?;
        }
        Ok(())
    }

    /// Lists an incarnation as one that may register something.
    pub(super) fn list(&self, gateway: &GatewayId, incarnation: &str) -> Cmd {
        let mut list = redis::cmd("HSET");
        list.arg(self.keys.incarnations()).arg(incarnation).arg(gateway.as_str());
        list
    }

    /// Takes out what an incarnation registered that has no lease any more, unless another process does so now.
    pub(super) async fn sweep(&self, gateway: &GatewayId, incarnation: &str) -> Result<(), Error> {
        let turn = self.keys.mark(&format!("sweep-{incarnation}"));
        let mut take = redis::cmd("SET");
        take.arg(&turn).arg(&self.instance).arg("NX").arg("PX").arg(SWEEP_TURN_MS);
        if self.connection.run(vec![take]).await? != [Value::Okay] {
            return Ok(());
        }
        let swept = self.sweep_parts(gateway, incarnation, &turn).await;
        let mut release = redis::cmd("DEL");
        release.arg(&turn);
        self.connection.run(vec![release]).await?;
        swept
    }

    async fn sweep_parts(&self, gateway: &GatewayId, incarnation: &str, turn: &str) -> Result<(), Error> {
        for kind in Kind::ALL {
            let registered = self.keys.registered(gateway, incarnation, kind);
            loop {
                let (mut some, mut renew) = (redis::cmd("SRANDMEMBER"), redis::cmd("PEXPIRE"));
                some.arg(&registered).arg(SWEPT.min(limits::REDIS_PIPELINE));
                renew.arg(turn).arg(SWEEP_TURN_MS);
                let items = self.connection.run(vec![some, renew]).await?.into_iter().next().unwrap_or_default();
                let items = texts(items)?;
                if items.is_empty() {
                    break;
                }
                let drop_of = |hash: String| scripts::drop_from(&hash, gateway.as_str(), incarnation);
                match kind {
                    Kind::Routes => self.leave(gateway, incarnation, &items).await?,
                    Kind::Interest => {
                        let drops = items.iter().map(|item| drop_of(self.keys.channel_of(item)));
                        self.connection.run(drops.collect()).await?;
                    }
                    Kind::Watched => {
                        let drops = items.iter().map(|item| drop_of(self.keys.user_of(item).watchers));
                        self.connection.run(drops.collect()).await?;
                    }
                }
                let mut remove = redis::cmd("SREM");
                remove.arg(&registered).arg(&items);
                self.connection.run(vec![remove]).await?;
            }
        }
        let mut unlist = redis::cmd("HDEL");
        unlist.arg(self.keys.incarnations()).arg(incarnation);
        self.connection.run(vec![unlist]).await?;
        Ok(())
    }

    /// Gateways that are attached here are to register everything again.
    fn unsure(&self) {
        let attached: Vec<_> = self.inboxes.lock().values().map(|it| Arc::clone(&it.inbox)).collect();
        attached.iter().for_each(|inbox| inbox.unsure());
    }
}
