//! Everything as it is before the gateway is killed: the conversations, then the sessions.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream::iter};
use stonechat_model::limits;
use stonechat_proto::v1::{AddMembers, ConversationKind, action, server_frame};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{Session, Shared};
use crate::cli::{
    CliError,
    bench::{
        connection::Connection,
        progress::{Progress, within},
        server::Server,
    },
};

/// Channels that are made at once.
const MADE_AT_ONCE: usize = 16;
/// Sessions that are opened at once before the gateway is killed.
const OPENED_AT_ONCE: usize = 32;
/// Users whose sessions tell how far the user logs are.
const PROBES: usize = 32;
/// How long it may take to make all channels.
const MAKE_PATIENCE: Duration = Duration::from_secs(1_200);
/// How long it may take until the user logs know of them.
const JOIN_PATIENCE: Duration = Duration::from_secs(1_800);
/// How long it may take to open all sessions.
const OPEN_PATIENCE: Duration = Duration::from_secs(1_200);
/// How often it is looked how far a phase is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) fn user(index: usize) -> String {
    format!("r{index}")
}

/// Makes channels whose members are all users and a writer.
pub(super) async fn make_channels(server: &Server, users: usize, count: usize) -> Result<Vec<String>, CliError> {
    let makers = count.clamp(1, MADE_AT_ONCE);
    let added = AtomicUsize::new(0);
    let added = &added;
    let make = |maker: usize| async move {
        let mut writer = Connection::dial(&server.hosts[1], format!("writer{maker}")).await?;
        writer.hello(server, Vec::new(), 0).await?;
        let mut made = Vec::new();
        for _ in (maker..count).step_by(makers) {
            // Who creates it is a member anyway.
            let first = if maker == 0 { Vec::new() } else { vec!["writer0".to_owned()] };
            let channel = writer.create(ConversationKind::Channel, first).await?;
            let all: Vec<String> = (0..users).map(user).collect();
            for some in all.chunks(limits::MEMBERS_PER_COMMAND) {
                let add = AddMembers { users: some.to_vec(), role: 0 };
                writer.call(&channel, action::Kind::AddMembers(add)).await?;
                added.fetch_add(some.len(), Ordering::Relaxed);
            }
            made.push(channel);
        }
        Ok::<_, CliError>(made)
    };
    let mut progress = Progress::begin("members added", users * count);
    let making = iter((0..makers).map(make)).buffered(makers).try_collect::<Vec<_>>();
    let making = looking(making, || progress.at(added.load(Ordering::Relaxed)));
    let made = within("make the channels", MAKE_PATIENCE, making).await?;
    progress.end();
    Ok(made.into_iter().flatten().collect())
}

/// Waits until the user logs know of the channels, which follows from their events: sessions that open meanwhile
/// would each be told of one conversation after the other. Sessions of some users tell, the last one among them.
pub(super) async fn know_channels(server: &Server, users: usize, conversations: usize) -> Result<(), CliError> {
    let step = users.div_ceil(PROBES).max(1);
    let probed: Vec<usize> = (0..users).rev().step_by(step).collect();
    let known = AtomicUsize::new(0);
    let known = &known;
    let probe = |index: usize| async move {
        let mut connection = Connection::dial(&server.hosts[1], user(index)).await?;
        connection.hello(server, Vec::new(), 0).await?;
        let mut seen = BTreeSet::new();
        while seen.len() < conversations {
            if let server_frame::Kind::Page(page) = connection.next_alive().await? {
                let before = seen.len();
                seen.extend(page.conversations.into_iter().map(|it| it.id));
                known.fetch_add(seen.len() - before, Ordering::Relaxed);
            }
        }
        Ok::<_, CliError>(())
    };
    let mut progress = Progress::begin("conversations known, of some users", probed.len() * conversations);
    let probes = probed.len();
    let knowing = iter(probed.into_iter().map(probe)).buffer_unordered(probes).try_collect::<()>();
    let knowing = looking(knowing, || progress.at(known.load(Ordering::Relaxed)));
    within("hear of all channels", JOIN_PATIENCE, knowing).await?;
    progress.end();
    Ok(())
}

/// Opens the sessions, each of which lives from then on, and waits until each knows all its conversations.
pub(super) async fn open_sessions(shared: &Arc<Shared>, users: usize) -> Result<JoinSet<()>, CliError> {
    let mut progress = Progress::begin("sessions opened", users);
    let opening = async {
        let mut sessions = JoinSet::new();
        let opened = iter(0..users).map(|index| Session::open(Arc::clone(shared), index));
        let mut opened = opened.buffer_unordered(OPENED_AT_ONCE);
        while let Some(session) = opened.try_next().await? {
            sessions.spawn(session.live());
            progress.at(sessions.len());
        }
        Ok(sessions)
    };
    let sessions = within("open the sessions", OPEN_PATIENCE, opening).await?;
    progress.end();
    shared.none_lost()?;
    Ok(sessions)
}

/// Does something, and looks now and then how far it is.
async fn looking<T>(work: impl Future<Output = T>, mut look: impl FnMut()) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = work.as_mut() => return done,
            () = sleep_until(Instant::now() + LOOK_EVERY) => look(),
        }
    }
}
