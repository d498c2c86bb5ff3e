//! A cluster as the world of a storm.

mod faults;
mod watch;

use std::{
    collections::VecDeque,
    path::PathBuf,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use stonechat_backends::{
    proxy::{Network, Proxy},
    server::BackendError,
};
use stonechat_chaos::{ClientLink, Link, World, WorldError};
use stonechat_model::UserId;

use crate::{Cluster, ClusterError, Demo, Kind, Plan};
pub use faults::{Backend, Fault, Named, backends_away, every_fault, few_faults, rolling, slow_storage, upgrade};
pub use watch::{Memory, Probes, Seen, Watch};

/// How long a process may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(40);

/// A cluster whose clients come through a load balancer, and to which things happen one after the other.
pub struct ClusterWorld {
    cluster: Cluster,
    demo: Demo,
    balancer: Proxy,
    faults: VecDeque<Fault>,
    last: Option<Fault>,
    /// The new version, for upgrades.
    program: PathBuf,
    started: Instant,
}

impl ClusterWorld {
    /// Starts a cluster to which these things will happen, then again from the first one.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(plan: &Plan, faults: Vec<Fault>) -> Result<Self, ClusterError> {
        let program = plan.program.clone();
        let cluster = Cluster::start(plan).await?;
        let demo = cluster.demo().await?;
        let balancer = Proxy::start(cluster.publics(Kind::Gateway)).await?;
        Ok(Self { cluster, demo, balancer, faults: faults.into(), last: None, program, started: Instant::now() })
    }

    /// Begins to look at memory, and at what senders are told.
    ///
    /// # Errors
    /// The api does not answer.
    pub async fn watch(&self) -> Result<Watch, ClusterError> {
        Watch::begin(&self.cluster, &self.demo).await
    }

    /// The cluster.
    pub fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    fn set(&self, from: Kind, to: Kind, network: Network) {
        for detour in self.cluster.detours.iter().filter(|it| it.from.0 == from && it.to.0 == to) {
            detour.proxy.set(network);
        }
    }

    fn set_storage(&self, network: Network) {
        [Kind::Router, Kind::Gateway, Kind::Api].into_iter().for_each(|from| self.set(from, Kind::Storage, network));
    }

    async fn strike(&mut self, fault: &Fault) -> Result<(), BackendError> {
        match fault {
            Fault::Kill(processes) => {
                for process in processes {
                    self.cluster.process(*process)?.server().kill();
                }
            }
            Fault::Restart(named) | Fault::Upgrade(named) => {
                let mut others = self.cluster.publics(Kind::Gateway);
                let process = self.cluster.process(*named)?;
                // Whoever balances looks at readiness, which ends as the drain begins.
                let own = process.public;
                others.retain(|address| *address != own);
                self.balancer.retarget(others);
                let process = self.cluster.process(*named)?;
                if !process.server().stop(STOP).await {
                    return Err(process.server().program().failed("it did not end by itself"));
                }
            }
            Fault::Pause(process, time) => {
                let server = self.cluster.process(*process)?.server();
                server.pause();
                tokio::time::sleep(*time).await;
                server.go_on();
            }
            Fault::Network(from, to, network, time) => {
                self.set(*from, *to, *network);
                tokio::time::sleep(*time).await;
            }
            Fault::SlowStorage(by, time) => {
                // Half of it on the way there, and half on the way back.
                self.set_storage(Network::Delay(*by / 2));
                tokio::time::sleep(*time).await;
                self.set_storage(Network::Pass);
            }
            Fault::KillBroker(broker) => self.cluster.backends.kafka.kill(*broker),
            Fault::RestartBrokers => {
                let kafka = &mut self.cluster.backends.kafka;
                (0..kafka.count()).for_each(|broker| kafka.kill(broker));
            }
            Fault::RestartCassandra => {
                if let Some(cassandra) = &mut self.cluster.backends.cassandra {
                    cassandra.kill();
                }
            }
            Fault::EmptyRedis => self.cluster.backends.redis.empty(0).await?,
            Fault::RestartRedis => self.cluster.backends.redis.kill(0),
            Fault::PauseBackend(backend, time) => {
                self.hold(*backend, true);
                tokio::time::sleep(*time).await;
                self.hold(*backend, false);
            }
        }
        Ok(())
    }

    fn hold(&self, backend: Backend, is_held: bool) {
        let backends = &self.cluster.backends;
        match (backend, is_held) {
            (Backend::Kafka, true) => (0..backends.kafka.count()).for_each(|broker| backends.kafka.pause(broker)),
            (Backend::Kafka, false) => (0..backends.kafka.count()).for_each(|broker| backends.kafka.go_on(broker)),
            (Backend::Cassandra, true) => backends.cassandra.iter().for_each(|it| it.pause()),
            (Backend::Cassandra, false) => backends.cassandra.iter().for_each(|it| it.go_on()),
            (Backend::Redis, true) => backends.redis.pause(0),
            (Backend::Redis, false) => backends.redis.go_on(0),
        }
    }

    /// Repairs what happened last.
    fn repair(&mut self) -> Result<(), BackendError> {
        match self.last.clone() {
            Some(Fault::Kill(processes)) => {
                for process in processes {
                    self.cluster.process(process)?.server().restart()?;
                }
            }
            Some(Fault::Restart(process)) => self.cluster.process(process)?.server().restart()?,
            Some(Fault::Upgrade(process)) => {
                let program = self.program.clone();
                let server = self.cluster.process(process)?.server();
                server.replace(&program);
                server.restart()?;
            }
            Some(Fault::Network(from, to, ..)) => self.set(from, to, Network::Pass),
            Some(Fault::KillBroker(broker)) => self.cluster.backends.kafka.restart(broker)?,
            Some(Fault::RestartBrokers) => {
                let kafka = &mut self.cluster.backends.kafka;
                (0..kafka.count()).try_for_each(|broker| kafka.restart(broker))?;
            }
            Some(Fault::RestartCassandra) => {
                if let Some(cassandra) = &mut self.cluster.backends.cassandra {
                    cassandra.restart()?;
                }
            }
            Some(Fault::RestartRedis) => self.cluster.backends.redis.restart(0)?,
            Some(Fault::Pause(..) | Fault::EmptyRedis | Fault::PauseBackend(..) | Fault::SlowStorage(..)) | None => {}
        }
        Ok(())
    }

    async fn all_ready(&mut self) -> Result<(), BackendError> {
        self.cluster.backends.ready().await?;
        for process in &mut self.cluster.processes {
            process.ready().await?;
        }
        self.balancer.retarget(self.cluster.publics(Kind::Gateway));
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> WorldError {
    WorldError(error.to_string())
}

#[async_trait]
impl World for ClusterWorld {
    fn link(&self, user: &UserId, device: &str) -> Result<Box<dyn Link>, WorldError> {
        let token = self.demo.token(user).map_err(failed)?;
        let url = format!("http://{}", self.balancer.address());
        Ok(Box::new(ClientLink::open(&url, token, device).map_err(failed)?))
    }

    fn start(&mut self) -> Result<(), WorldError> {
        self.started = Instant::now();
        self.repair().map_err(failed)
    }

    async fn ready(&mut self) -> Result<Duration, WorldError> {
        self.all_ready().await.map_err(failed)?;
        Ok(self.started.elapsed())
    }

    async fn kill(&mut self) -> Result<(), WorldError> {
        let Some(fault) = self.faults.pop_front() else { return Ok(()) };
        self.faults.push_back(fault.clone());
        self.last = Some(fault.clone());
        self.strike(&fault).await.map_err(failed)
    }

    fn harm(&self) -> String {
        self.last.as_ref().map_or_else(String::new, ToString::to_string)
    }

    fn has_ended(&mut self) -> bool {
        self.cluster.processes.iter_mut().any(|process| !process.server().is_running())
    }
}
