//! What is watched while processes should stand firm: their memory, and what senders are told.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use stonechat_chaos::probe::{counter, get};
use stonechat_model::limits;
use stonechat_proto::v1::{
    ConversationKind, CreateConversationRequest, Message, SendMessageRequest,
    conversation_service_client::ConversationServiceClient, message_service_client::MessageServiceClient,
};
use tokio::{sync::watch, task::JoinHandle};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{Cluster, ClusterError, Demo, Kind};

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often somebody sends and sees what is answered.
const SEND_EVERY: Duration = Duration::from_millis(250);
/// What a process may take: its queues' bounds are far below.
const MEMORY_KIB: u64 = 512 * 1024;
/// A sender that hears nothing for so long is left alone: the longest wait for an outcome, and time for a busy machine.
const SILENCE: Duration = Duration::from_millis(limits::COMMAND_TIMEOUT_MS + 10_000);

/// A process's memory (RSS) over a storm.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// As in `router2`.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Before anything happened.
    pub before_kib: u64,
    /// At most.
    pub peak_kib: u64,
    /// In the end.
    pub after_kib: u64,
    /// Whether it is still the same process.
    pub lives: bool,
}

/// What one sender after the other was told by the api.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    /// Whose sends were done.
    pub done: u64,
    /// Who was told to send again, by the code.
    pub again: BTreeMap<String, u64>,
    /// Who was told something else.
    pub failed: BTreeMap<String, u64>,
    /// Who waited for longer than anybody should.
    pub silent: u64,
    /// The longest wait.
    pub longest: Duration,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Of every process.
    pub memory: Vec<Memory>,
    /// Of the senders.
    pub probes: Probes,
    /// Commands that gateways and apis refused since those before them were decided too slowly.
    pub shed: u64,
    /// Commands that were not decided in time.
    pub late: u64,
}

impl Seen {
    /// What should not have been, in words.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for Memory { name, peak_kib, lives, .. } in &self.memory {
            if !lives {
                faults.push(format!("{name} is not the process that it was"));
            }
            if *peak_kib > MEMORY_KIB {
                faults.push(format!("{name} took {peak_kib} KiB"));
            }
        }
        let Probes { failed, silent, .. } = &self.probes;
        if !failed.is_empty() || *silent > 0 {
            faults.push(format!("senders were told {failed:?}, and {silent} were told nothing"));
        }
        faults
    }
}

/// Watches until it is asked what it saw.
pub struct Watch {
    end: watch::Sender<bool>,
    memory: JoinHandle<Vec<Memory>>,
    probes: JoinHandle<Probes>,
    nodes: Vec<SocketAddr>,
}

impl Watch {
    pub(super) async fn begin(cluster: &Cluster, demo: &Demo) -> Result<Self, ClusterError> {
        let (end, ended) = watch::channel(false);
        let of = |process: &crate::Process| {
            let pid = process.pid().unwrap_or_default();
            Memory { name: process.name(), pid, before_kib: rss_kib(pid).unwrap_or_default(), ..Memory::default() }
        };
        let memory = tokio::spawn(look(cluster.processes.iter().map(of).collect(), ended.clone()));
        let api = cluster.public(Kind::Api, 0).ok_or_else(|| ClusterError::Tenant("there is no api".to_owned()))?;
        let prober = Prober::new(api, &demo.server_key).await?;
        let probes = tokio::spawn(prober.run(ended));
        let is_node = |kind| matches!(kind, Kind::Gateway | Kind::Api);
        let nodes = cluster.processes.iter().filter(|it| is_node(it.kind)).map(|it| it.public).collect();
        Ok(Self { end, memory, probes, nodes })
    }

    /// What was seen until now.
    pub async fn end(self) -> Seen {
        self.end.send_replace(true);
        let (memory, probes) = (self.memory.await.unwrap_or_default(), self.probes.await.unwrap_or_default());
        let (mut shed, mut late) = (0, 0);
        for node in self.nodes {
            let metrics = get(node, "/metrics").await.unwrap_or_default();
            shed += counter(&metrics, "stonechat_rpc_commands_shed_total");
            late += counter(&metrics, "stonechat_rpc_commands_late_total");
        }
        Seen { memory, probes, shed, late }
    }
}

async fn look(mut memory: Vec<Memory>, ended: watch::Receiver<bool>) -> Vec<Memory> {
    while !*ended.borrow() {
        for it in &mut memory {
            let now = rss_kib(it.pid);
            it.lives = now.is_some();
            it.after_kib = now.unwrap_or_default();
            it.peak_kib = it.peak_kib.max(it.after_kib);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    memory
}

/// What a process has in memory.
fn rss_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Sends as a customer's server does, again and again, without repeating anything.
struct Prober {
    messages: MessageServiceClient<Channel>,
    bearer: MetadataValue<Ascii>,
    conversation: String,
}

impl Prober {
    async fn new(api: SocketAddr, server_key: &str) -> Result<Self, ClusterError> {
        let failed = |error: &dyn std::fmt::Display| ClusterError::Tenant(error.to_string());
        let channel = Endpoint::from_shared(format!("http://{api}")).map_err(|e| failed(&e))?;
        let channel = channel.connect().await.map_err(|e| failed(&e))?;
        let bearer = MetadataValue::try_from(format!("Bearer {server_key}")).map_err(|e| failed(&e))?;
        let create = CreateConversationRequest {
            id: "probes".to_owned(),
            kind: ConversationKind::Group.into(),
            members: vec!["prober".to_owned(), "probed".to_owned()],
            ..CreateConversationRequest::default()
        };
        let mut request = Request::new(create);
        request.metadata_mut().insert("authorization", bearer.clone());
        let made = ConversationServiceClient::new(channel.clone()).create_conversation(request).await;
        let conversation = made.map_err(|e| failed(&e))?.into_inner().id;
        Ok(Self { messages: MessageServiceClient::new(channel), bearer, conversation })
    }

    async fn run(mut self, ended: watch::Receiver<bool>) -> Probes {
        let mut probes = Probes::default();
        while !*ended.borrow() {
            let begun = Instant::now();
            let told = tokio::time::timeout(SILENCE, self.send()).await;
            probes.longest = probes.longest.max(begun.elapsed());
            match told {
                Ok(Ok(())) => probes.done += 1,
                Ok(Err(status)) => {
                    let code = status.code();
                    let is_again = matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted);
                    let told = if is_again { &mut probes.again } else { &mut probes.failed };
                    *told.entry(format!("{code:?}: {}", status.message())).or_default() += 1;
                }
                Err(_) => probes.silent += 1,
            }
            tokio::time::sleep(SEND_EVERY).await;
        }
        probes
    }

    async fn send(&mut self) -> Result<(), Status> {
        let message = Some(Message { text: "is anybody there?".to_owned(), ..Message::default() });
        let (conversation, sender) = (self.conversation.clone(), "prober".to_owned());
        let send = SendMessageRequest { conversation, sender, client_id: String::new(), message };
        let mut request = Request::new(send);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        self.messages.send_message(request).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_restarted_or_grew_and_a_sender_that_heard_nothing_are_faults() {
        let memory = Memory { name: "router1".to_owned(), lives: true, peak_kib: MEMORY_KIB, ..Memory::default() };
        let well = Seen { memory: vec![memory.clone()], ..Seen::default() };
        assert!(well.faults().is_empty());
        let grew = Memory { peak_kib: MEMORY_KIB + 1, ..memory.clone() };
        let ended = Memory { lives: false, ..memory };
        let probes = Probes { silent: 1, ..Probes::default() };
        assert_eq!(Seen { memory: vec![grew, ended], probes, ..well }.faults().len(), 3);
    }

    #[test]
    fn the_memory_of_this_process_is_seen() {
        assert!(rss_kib(std::process::id()).is_some_and(|kib| kib > 100));
        assert_eq!(rss_kib(0), None);
    }
}
