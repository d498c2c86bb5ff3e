//! Sessions that keep their gateway, and go on chatting.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::Rng as _;
use stonechat_proto::v1::{ConversationKind, server_frame};
use tokio::{
    task::JoinSet,
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{ReconnectArgs, Shared};
use crate::cli::{
    CliError,
    bench::{
        connection::{Connection, text},
        direct::arrival,
        report::{Latencies, latencies, record},
    },
};

/// How long a message may take before it counts as an error.
const STRAGGLER: Duration = Duration::from_secs(20);

/// Users elsewhere who chat in pairs all the time.
pub(super) struct Others {
    pairs: JoinSet<Sent>,
    over: CancellationToken,
}

/// What they sent: when, and how long it was on its way.
#[derive(Default)]
pub(super) struct Sent {
    pub sent: Vec<(Instant, Duration)>,
    pub errors: u64,
}

impl Others {
    /// Opens their sessions and lets them begin.
    pub async fn start(shared: &Arc<Shared>, args: &ReconnectArgs) -> Result<Self, CliError> {
        let (mut pairs, over) = (JoinSet::new(), CancellationToken::new());
        let count = u32::try_from((args.others / 2).max(1)).unwrap_or(u32::MAX);
        let interval = Duration::from_secs(1) * count / args.others_rate.max(1);
        for pair in 0..count {
            let open = async |side: &str| {
                let mut connection = Connection::dial(&shared.server.hosts[1], format!("o{pair}{side}")).await?;
                connection.hello(&shared.server, Vec::new(), 0).await?;
                while !matches!(connection.next().await?, server_frame::Kind::Synced(_)) {}
                Ok::<_, CliError>(connection)
            };
            let (mut a, b) = (open("a").await?, open("b").await?);
            let conversation = a.create(ConversationKind::Direct, vec![b.user.clone()]).await?;
            pairs.spawn(chat(a, b, conversation, interval, over.clone()));
        }
        Ok(Self { pairs, over })
    }

    /// What they sent.
    pub async fn end(mut self) -> Sent {
        self.over.cancel();
        let mut all = Sent::default();
        while let Some(Ok(one)) = self.pairs.join_next().await {
            all.sent.extend(one.sent);
            all.errors += one.errors;
        }
        all
    }
}

impl Sent {
    /// Latencies of what was sent in a span of time.
    pub fn within(&self, from: Instant, until: Instant) -> Latencies {
        let mut all = latencies();
        let within = self.sent.iter().filter(|(at, _)| (from..until).contains(at));
        within.for_each(|(_, took)| record(&mut all, *took));
        all
    }
}

/// One pair, at a fixed rate whatever the answers take.
async fn chat(a: Connection, b: Connection, conversation: String, interval: Duration, over: CancellationToken) -> Sent {
    let (mut sender, mut receiver) = (a, b);
    let mut sent = Sent::default();
    let mut due = Instant::now() + interval.mul_f64(rand::rng().random_range(0.0..1.0));
    let mut id = 1;
    while over.run_until_cancelled(sleep_until(due.into())).await.is_some() {
        id += 1;
        let said = async {
            sender.command(id, &conversation, text("how are you".to_owned())).await?;
            arrival(&mut receiver, &sender.user).await
        };
        match timeout(STRAGGLER, said).await {
            Ok(Ok(errors)) => sent.errors += errors,
            _ => sent.errors += 1,
        }
        sent.sent.push((due, due.elapsed()));
        due += interval;
        std::mem::swap(&mut sender, &mut receiver);
    }
    sent
}
