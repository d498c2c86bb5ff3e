//! Apache Kafka: one broker, or three.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::server::{BackendError, Folder, Program, Server, Size, fetched, free_ports};

/// What `make backends` fetches.
const JARS: &str = "kafka-4.4.0";
/// Any id does: each cluster has storage of its own.
const CLUSTER_ID: &str = "AAAAAAAAQACAAAAAAAAAAQ";
/// How long a broker may take to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// A request for the versions of the protocol, the one that every broker answers: length, key 18, version 0,
/// correlation 1, no client id.
const VERSIONS_REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
/// Of brokers of every size.
const JAVA: &[&str] = &["-Xss512k", "-XX:+ExitOnOutOfMemoryError"];

/// A cluster of brokers. Its topics are as durable as a production cluster's: nothing about them is set here.
#[derive(Debug)]
pub struct Kafka {
    brokers: Vec<Broker>,
    // Dropped after the brokers.
    _folder: Folder,
}

#[derive(Debug)]
struct Broker {
    port: u16,
    server: Server,
}

impl Kafka {
    /// Starts one broker, and waits until it answers.
    ///
    /// # Errors
    /// It was not fetched, or does not start.
    pub async fn single(size: Size) -> Result<Self, BackendError> {
        Self::start(size, 1).await
    }

    /// Starts three brokers, and waits until they answer.
    ///
    /// # Errors
    /// They were not fetched, or do not start.
    pub async fn three(size: Size) -> Result<Self, BackendError> {
        Self::start(size, 3).await
    }

    async fn start(size: Size, count: usize) -> Result<Self, BackendError> {
        let jars = fetched(JARS)?;
        let folder = Folder::new()?;
        let ports = free_ports(2 * count)?;
        let (clients, controllers) = ports.split_at(count);
        let mut brokers = Vec::with_capacity(count);
        for (index, port) in clients.iter().enumerate() {
            let own = folder.path().join(format!("broker{}", index + 1));
            let properties = properties(index, clients, controllers, &own);
            let file = folder.write(&format!("broker{}/server.properties", index + 1), &properties)?;
            format_storage(&jars, &own, &file)?;
            let program = java(size, &jars, &own).with(["kafka.Kafka".to_owned(), file.display().to_string()]);
            brokers.push(Broker { port: *port, server: Server::start(program)? });
        }
        let mut kafka = Self { brokers, _folder: folder };
        for broker in 0..count {
            kafka.ready(broker).await?;
        }
        Ok(kafka)
    }

    /// `host:port` of each broker, with commas between them.
    pub fn bootstrap(&self) -> String {
        let each: Vec<String> = self.brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port)).collect();
        each.join(",")
    }

    /// How many brokers there are.
    pub fn count(&self) -> usize {
        self.brokers.len()
    }

    /// The process of a broker, counted from 0; `None` while it is killed.
    pub fn pid(&self, broker: usize) -> Option<u32> {
        self.brokers[broker].server.pid()
    }

    /// `kill -9` of a broker.
    pub fn kill(&mut self, broker: usize) {
        self.brokers[broker].server.kill();
    }

    /// SIGSTOP of a broker.
    pub fn pause(&self, broker: usize) {
        self.brokers[broker].server.pause();
    }

    /// SIGCONT of a broker.
    pub fn go_on(&self, broker: usize) {
        self.brokers[broker].server.go_on();
    }

    /// Starts a broker again, which is killed where it runs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self, broker: usize) -> Result<(), BackendError> {
        self.brokers[broker].server.restart()
    }

    /// Waits until a broker answers.
    ///
    /// # Errors
    /// It does not in time, or has ended.
    pub async fn ready(&mut self, broker: usize) -> Result<(), BackendError> {
        let Broker { port, server } = &mut self.brokers[broker];
        let port = *port;
        server.ready(PATIENCE, || answers(port)).await
    }
}

/// How a broker of this size compiles and collects garbage.
fn options(size: Size) -> &'static [&'static str] {
    match size {
        Size::Small => {
            &["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=64m"]
        }
        Size::Large => {
            &["-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"]
        }
    }
}

fn java(size: Size, jars: &Path, folder: &Path) -> Program {
    let classes = jars.join("*").display().to_string();
    Program::new("java", folder).with(JAVA.iter().chain(options(size)).copied()).with(["-cp".to_owned(), classes])
}

fn format_storage(jars: &Path, folder: &Path, properties: &Path) -> Result<(), BackendError> {
    let properties = properties.display().to_string();
    let tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", &properties];
    java(Size::Small, jars, folder).with(tool).run()
}

fn properties(index: usize, clients: &[u16], controllers: &[u16], folder: &Path) -> String {
    let id = index + 1;
    let voters: Vec<String> =
        controllers.iter().enumerate().map(|(index, port)| format!("{}@127.0.0.1:{port}", index + 1)).collect();
    let (voters, client, controller) = (voters.join(","), clients[index], controllers[index]);
    let (replicas, insync) = if clients.len() < 3 { (1, 1) } else { (3, 2) };
    let data: PathBuf = folder.join("data");
    format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{client}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={data}\n\
         auto.create.topics.enable=false\n\
         default.replication.factor={replicas}\n\
         offsets.topic.replication.factor={replicas}\n\
         transaction.state.log.replication.factor={replicas}\n\
         share.coordinator.state.topic.replication.factor={replicas}\n\
         min.insync.replicas={insync}\n\
         transaction.state.log.min.isr={insync}\n\
         share.coordinator.state.topic.min.isr={insync}\n\
         offsets.topic.num.partitions=3\n\
         transaction.state.log.num.partitions=3\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=500\n\
         group.consumer.min.session.timeout.ms=500\n\
         group.consumer.session.timeout.ms=6000\n\
         group.consumer.min.heartbeat.interval.ms=100\n\
         group.consumer.heartbeat.interval.ms=200\n\
         group.consumer.assignment.interval.ms=0\n\
         num.network.threads=2\n\
         num.io.threads=4\n\
         background.threads=2\n\
         log.cleaner.dedupe.buffer.size=4194304\n\
         broker.session.timeout.ms=3000\n\
         broker.heartbeat.interval.ms=500\n",
        data = data.display(),
    )
}

/// Whether a broker answers the simplest question of the protocol.
async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(&VERSIONS_REQUEST).await?;
        let mut head = [0; 8];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head[4..] == [0, 0, 0, 1])
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}
