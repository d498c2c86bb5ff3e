//! A server behind a connection that is cut, and that is killed.

use std::{future::Future, net::SocketAddr, path::Path, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stonechat_backends::{
    proxy::{Network, Proxy},
    server::free_ports,
};
use stonechat_chaos::{Server, Started};

use crate::{Failure, process::Process};

/// How long a start may take before something is wrong.
pub const START: Duration = Duration::from_secs(60);
/// The least time between two cuts.
const QUIET_MS: u64 = 20;

/// How much trouble there is.
#[derive(Clone, Copy)]
pub struct Pace {
    /// The most milliseconds between two cuts.
    pub cut_ms: u64,
    /// The most bytes that pass between two cuts.
    pub cut_bytes: u64,
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
    /// The most that the server's memory grew by, from when it was ready to when it was killed or all was done.
    pub growth_bytes: u64,
}

/// A server that is reached through a bad network.
pub struct Trouble {
    server: Server,
    process: Process,
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
        let process = process_of(&server)?;
        Ok(Self { server, process, started, proxy, pace, chance: StdRng::seed_from_u64(seed) })
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
                done = &mut work => return self.counted(done, count),
                () = self.pause() => {}
            }
            let done = self.blow_during(&mut work, &mut count).await?;
            if let Some(done) = done {
                return self.counted(done, count);
            }
        }
    }

    /// Makes trouble once, to its end though the work is done meanwhile: a server that was killed is started again.
    async fn blow_during<T>(
        &mut self,
        work: &mut (impl Future<Output = T> + Unpin),
        count: &mut Count,
    ) -> Result<Option<T>, Failure> {
        let mut done = None;
        let blow = self.blow(count);
        tokio::pin!(blow);
        loop {
            tokio::select! {
                ended = &mut *work, if done.is_none() => done = Some(ended),
                made = &mut blow => return made.map(|()| done),
            }
        }
    }

    fn counted<T>(&self, done: Result<T, Failure>, mut count: Count) -> Result<(T, Count), Failure> {
        count.growth_bytes = count.growth_bytes.max(self.process.growth_bytes()?);
        Ok((done?, count))
    }

    /// Waits for some time, or until some bytes have passed.
    async fn pause(&mut self) {
        let pause = Duration::from_millis(self.chance.random_range(QUIET_MS..=self.pace.cut_ms));
        let bytes = self.proxy.passed_bytes() + self.chance.random_range(self.pace.cut_bytes / 2..=self.pace.cut_bytes);
        let _ = tokio::time::timeout(pause, self.proxy.until_passed(bytes)).await;
    }

    /// Cuts the connections, or kills the server and starts it again.
    async fn blow(&mut self, count: &mut Count) -> Result<(), Failure> {
        if (count.cuts + count.kills + 1).is_multiple_of(self.pace.cuts_per_kill) {
            count.growth_bytes = count.growth_bytes.max(self.process.growth_bytes()?);
            self.server.kill().await?;
            self.server.start()?;
            let (started, _) = self.server.ready(START).await?;
            (self.started, self.process) = (started, process_of(&self.server)?);
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

fn process_of(server: &Server) -> Result<Process, Failure> {
    Process::of(server.pid().ok_or("the server has ended")?)
}
