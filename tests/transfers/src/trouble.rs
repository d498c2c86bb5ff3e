//! A server behind a connection that is cut, and that is killed.

use std::{future::Future, net::SocketAddr, path::Path, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stonechat_backends::{
    proxy::{Network, Proxy},
    server::free_ports,
};
use stonechat_chaos::{Server, Started};

use crate::Failure;

/// How long a start may take before something is wrong.
const START: Duration = Duration::from_secs(60);
/// The least time between two cuts.
const QUIET_MS: u64 = 20;

/// How much trouble there is.
#[derive(Clone, Copy)]
pub struct Pace {
    /// The most milliseconds between two cuts.
    pub cut_ms: u64,
    /// After so many cuts the server is killed instead.
    pub cuts_per_kill: u64,
}

/// How much there was.
#[derive(Default)]
pub struct Count {
    /// Cuts.
    pub cuts: u64,
    /// Kills.
    pub kills: u64,
}

/// A server that is reached through a bad network.
pub struct Trouble {
    server: Server,
    started: Started,
    proxy: Proxy,
    pace: Pace,
    chance: StdRng,
}

impl Trouble {
    /// Starts the server, with its data in a folder.
    pub async fn start(program: &Path, folder: &Path, pace: Pace, seed: u64) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)?[0]));
        let mut server = Server::new(program.to_owned(), folder.join("data"), address, folder.join("server.log"));
        server.start()?;
        let (started, _) = server.ready(START).await?;
        let proxy = Proxy::start(vec![address]).await?;
        Ok(Self { server, started, proxy, pace, chance: StdRng::seed_from_u64(seed) })
    }

    /// What the server said when it started.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    /// Makes trouble for as long as something takes; gives what came of it and how much trouble there was.
    pub async fn during<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<(T, Count), Failure> {
        let mut count = Count::default();
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok((done?, count)),
                made = self.make_some(&mut count) => made?,
            }
        }
    }

    /// To be begun again where it was left: the server is started anew before anything else.
    async fn make_some(&mut self, count: &mut Count) -> Result<(), Failure> {
        let pause = self.chance.random_range(QUIET_MS..=self.pace.cut_ms);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if (count.cuts + count.kills + 1).is_multiple_of(self.pace.cuts_per_kill) {
            self.server.kill().await?;
            self.server.start()?;
            let (started, _) = self.server.ready(START).await?;
            self.started = started;
            count.kills += 1;
        } else {
            self.proxy.set(Network::Cut);
            tokio::time::sleep(Duration::from_millis(QUIET_MS)).await;
            self.proxy.set(Network::Pass);
            count.cuts += 1;
        }
        Ok(())
    }
}
