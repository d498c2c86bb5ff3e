//! Apache Cassandra, which speaks the CQL of ScyllaDB.

use std::{path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    certificate::Certificate,
    server::{BackendError, Folder, Program, Server, Size, fetched, free_ports},
};

/// What `make backends` fetches.
const JARS: &str = "cassandra-5.0.9";
/// How long a node may take to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// CQL's OPTIONS, which every node answers: version 4, no flags, stream 0, opcode 5, no body.
const OPTIONS: [u8; 9] = [4, 0, 0, 0, 5, 0, 0, 0, 0];
/// Packages of the Java runtime that it reaches into.
const EXPORTS: &[&str] = &[
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
];
/// Packages of the Java runtime that it looks into.
const OPENS: &[&str] = &[
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.net",
    "jdk.management/com.sun.management.internal",
];
/// Of every node.
const JAVA: &[&str] = &[
    "-Xss512k",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djdk.attach.allowAttachSelf=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dcassandra-foreground=yes",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra.superuser_setup_delay_ms=0",
];
const LOGBACK: &str = r#"<configuration><appender name="out" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%-5level %date{ISO8601} %logger{20} %msg%n</pattern></encoder></appender>
<root level="WARN"><appender-ref ref="out"/></root></configuration>
"#;

/// How a node of this size compiles and collects garbage.
fn java(size: Size) -> &'static [&'static str] {
    match size {
        Size::Small => {
            &["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=128m"]
        }
        Size::Large => &[
            "-Xms2g",
            "-Xmx2g",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=300",
            "-XX:+ParallelRefProcEnabled",
            "-XX:MaxDirectMemorySize=2g",
        ],
    }
}

/// The memory of a node of this size.
fn memory(size: Size) -> &'static str {
    match size {
        Size::Small => {
            "commitlog_segment_size: 8MiB\n\
             memtable_heap_space: 64MiB\n\
             memtable_offheap_space: 64MiB\n\
             file_cache_size: 16MiB\n\
             networking_cache_size: 16MiB\n\
             key_cache_size: 4MiB\n\
             concurrent_reads: 16\n\
             concurrent_writes: 16\n"
        }
        Size::Large => {
            "memtable_heap_space: 512MiB\n\
             memtable_offheap_space: 512MiB\n\
             file_cache_size: 512MiB\n\
             networking_cache_size: 64MiB\n\
             key_cache_size: 100MiB\n\
             column_index_size: 4KiB\n"
        }
    }
}

/// A cluster of one node, every acknowledged write of which is on disk.
#[derive(Debug)]
pub struct Cassandra {
    port: u16,
    server: Server,
    // Dropped after the server.
    _folder: Folder,
}

impl Cassandra {
    /// Starts a node, and waits until it answers.
    ///
    /// # Errors
    /// It was not fetched, or does not start.
    pub async fn single(size: Size) -> Result<Self, BackendError> {
        Self::start(size, None).await
    }

    /// Starts a node that may be talked to by TLS too, on the same port, and waits until it answers.
    ///
    /// # Errors
    /// It was not fetched, or does not start.
    pub async fn single_by_tls(size: Size, certificate: &Certificate) -> Result<Self, BackendError> {
        Self::start(size, Some(certificate)).await
    }

    async fn start(size: Size, certificate: Option<&Certificate>) -> Result<Self, BackendError> {
        let jars = fetched(JARS)?;
        let folder = Folder::new()?;
        let ports = free_ports(2)?;
        let (port, storage) = (ports[0], ports[1]);
        folder.write("tmp/.keep", "")?;
        folder.write("logback.xml", LOGBACK)?;
        let mut settings = settings(size, folder.path(), port, storage);
        settings.extend(certificate.map(by_tls));
        folder.write("cassandra.yaml", &settings)?;
        let server = Server::start(program(size, &jars, folder.path()))?;
        let mut cassandra = Self { port, server, _folder: folder };
        cassandra.ready().await?;
        Ok(cassandra)
    }

    /// `host:port` of the node.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process; `None` while it is killed.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.server.go_on();
    }

    /// Starts it again, after a `kill -9` where it runs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self) -> Result<(), BackendError> {
        self.server.restart()
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// It does not in time, or has ended.
    pub async fn ready(&mut self) -> Result<(), BackendError> {
        let port = self.port;
        self.server.ready(PATIENCE, || answers(port)).await
    }
}

fn program(size: Size, jars: &Path, folder: &Path) -> Program {
    let path = folder.display();
    let of_folder = [
        format!("-Djava.io.tmpdir={path}/tmp"),
        format!("-Dio.netty.tmpdir={path}/tmp"),
        format!("-Djna.tmpdir={path}/tmp"),
        format!("-Dcassandra.config=file://{path}/cassandra.yaml"),
        format!("-Dcassandra.storagedir={path}"),
        format!("-Dlogback.configurationFile={path}/logback.xml"),
    ];
    let each = |option: &'static str, packages: &'static [&'static str]| {
        packages.iter().flat_map(move |package| [option.to_owned(), format!("{package}=ALL-UNNAMED")])
    };
    Program::new("java", folder)
        .with(JAVA.iter().chain(java(size)).copied())
        .with(of_folder)
        .with(each("--add-exports", EXPORTS))
        .with(each("--add-opens", OPENS))
        .with(["-cp".to_owned(), jars.join("*").display().to_string()])
        .with(["org.apache.cassandra.service.CassandraDaemon"])
}

fn settings(size: Size, folder: &Path, port: u16, storage: u16) -> String {
    let path = folder.display();
    format!(
        "cluster_name: test\n\
         partitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
         endpoint_snitch: SimpleSnitch\n\
         num_tokens: 1\n\
         initial_token: \"0\"\n\
         auto_bootstrap: false\n\
         seed_provider:\n  - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n    parameters:\n      - seeds: \"127.0.0.1:{storage}\"\n\
         listen_address: 127.0.0.1\n\
         rpc_address: 127.0.0.1\n\
         storage_port: {storage}\n\
         native_transport_port: {port}\n\
         data_file_directories: [\"{path}/data\"]\n\
         commitlog_directory: {path}/commitlog\n\
         saved_caches_directory: {path}/caches\n\
         hints_directory: {path}/hints\n\
         cdc_raw_directory: {path}/cdc\n\
         commitlog_sync: batch\n\
         counter_cache_size: 0MiB\n\
         concurrent_compactors: 1\n\
         auto_snapshot: false\n\
         {}",
        memory(size)
    )
}

fn by_tls(Certificate { both, ca, .. }: &Certificate) -> String {
    format!(
        "client_encryption_options:\n  enabled: true\n  optional: true\n  require_client_auth: false\n  \
         keystore: {}\n  truststore: {}\n  ssl_context_factory:\n    \
         class_name: org.apache.cassandra.security.PEMBasedSslContextFactory\n",
        both.display(),
        ca.display()
    )
}

/// Whether the node answers the simplest question of CQL.
async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(&OPTIONS).await?;
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        // SUPPORTED.
        Ok::<_, std::io::Error>(head[4] == 6)
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}
