//! The storm: everybody sends while the server is killed again and again, then everybody catches up.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use stonechat_chaos_checker::{Conversation, Device, Entry, History, Report, check};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::{
    Figures, FollowUp, PartFigures, Plan,
    device::{DeviceTask, Phase, Role, Shared},
    link::{World, WorldError},
    schedule,
};

/// How often the end of a phase is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How long after all was well what comes is still counted as of the blow.
const AFTERMATH: Duration = Duration::from_secs(1);
/// The least time between one blow's end and the next one where blows wait for calm.
const QUIET: Duration = Duration::from_secs(4);
/// Devices of a user.
const DEVICES: u32 = 2;
/// Of the sends so many a second have a file, and not more than this share: each is fetched by every device at the end.
const FILES_PER_S: f64 = 4.0;
const FILES_SHARE: f64 = 0.05;

/// What storm it shall be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long everybody sends.
    pub length: Duration,
    /// How often the server is killed while they do.
    pub kills: usize,
    /// Whether some kills strike before the server has come to itself.
    pub is_awkward: bool,
    /// Whether each blow waits until what the last one held up is worked off, so that its figures are its own.
    pub is_calm: bool,
    /// How many users, with two devices each.
    pub users: usize,
    /// Sends per second, all devices together.
    pub rate: u32,
    /// Where chance begins.
    pub seed: u64,
    /// How long making the conversations, and catching up at the end, may take each.
    pub patience: Duration,
}

/// How it went.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// Conversations.
    pub conversations: usize,
    /// Devices, those that came last included.
    pub devices: usize,
    /// Kills, the one before the end included.
    pub kills: u64,
    /// How many of them struck before the server had come to itself.
    pub awkward_kills: u64,
    /// How long the sending took.
    pub storm_s: f64,
    /// Sends handed over per second of it.
    pub sends_per_second: f64,
    /// Answers per second of it.
    pub acks_per_second: f64,
    /// Events shown, by all devices.
    pub observed: u64,
    /// Refused sends by code.
    pub refusals: BTreeMap<String, u64>,
    /// From the first start, on an empty folder, to ready, in milliseconds.
    pub first_start_ms: u64,
    /// From start to ready, in milliseconds: the median of all restarts.
    pub recovery_p50_ms: u64,
    /// The longest.
    pub recovery_max_ms: u64,
    /// From the first attempt to the answer, across kills.
    pub answer_p50_ms: u64,
    /// Of a thousand answers, 999 took no longer.
    pub answer_p999_ms: u64,
    /// The time of each blow until all was well, and after it the time between them.
    pub parts: Vec<Figures>,
    /// How often a device lost its connection, the one that did most often.
    pub most_disconnects: usize,
    /// How long catching up took after the last send.
    pub settle_ms: u64,
    /// Devices that did not have everything in time; 0 when all is well.
    pub unsettled_devices: usize,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum StormError {
    /// The server cannot be started, or ended by itself.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A device failed.
    #[error("a device failed: {0}")]
    Device(#[from] tokio::task::JoinError),
    /// The conversations could not be made.
    #[error("{0} devices did not have all conversations in time")]
    Create(usize),
}

/// Lets a storm rage and judges what the devices wrote down.
///
/// # Errors
/// A storm that could not be held. Faults of the server are in the report.
pub async fn run(settings: &Settings, world: &mut dyn World) -> Result<(Summary, Report), StormError> {
    let (phases, phase) = watch::channel(Phase::Create);
    let shared = Arc::new(Shared::new(Plan::new(settings.users), phase));
    let mut storm = Storm { settings, shared, phases, tasks: JoinSet::new(), settled: Vec::new() };
    let mut summary = Summary { seed: settings.seed, ..Summary::default() };
    let mut recoveries = Vec::new();
    world.start()?;
    summary.first_start_ms = ms(world.ready().await?);
    for device in 0..DEVICES {
        storm.add_devices(world, device)?;
    }
    match storm.settle().await {
        0 => {}
        behind => return Err(StormError::Create(behind)),
    }
    storm.rage(world, &mut summary, &mut recoveries).await?;
    let ended = Instant::now();
    summary.unsettled_devices = storm.pass(Phase::Settle).await;
    summary.settle_ms = ms(ended.elapsed());
    // What is durable shows itself to those who come last and know nothing, after one more kill.
    world.kill().await?;
    summary.kills += 1;
    world.start()?;
    recoveries.push(world.ready().await?);
    storm.add_devices(world, DEVICES)?;
    summary.unsettled_devices += storm.settle().await;
    let shared = Arc::clone(&storm.shared);
    let history = storm.end().await?;
    summary.refusals = shared.refusals.lock().clone();
    // By now late answers are there too.
    let PartFigures { before, blows, after, between } = shared.latencies.figures();
    for (part, figures) in summary.parts.iter_mut().zip(blows) {
        *part = Figures { what: std::mem::take(&mut part.what), recovery_ms: part.recovery_ms, ..figures };
    }
    let named = |what: &str, figures| Figures { what: what.to_owned(), ..figures };
    summary.parts.insert(0, named("before all of it", before));
    summary.parts.extend([named("after all of it", after), named("between", between)]);
    summary.answer_p50_ms = shared.latencies.at_most_ms(500);
    summary.answer_p999_ms = shared.latencies.at_most_ms(999);
    summary.conversations = history.conversations.len();
    summary.devices = history.devices.len();
    let disconnects = |device: &Device| device.entries.iter().filter(|it| matches!(it, Entry::Disconnected)).count();
    summary.most_disconnects = history.devices.iter().map(disconnects).max().unwrap_or_default();
    recoveries.sort_unstable();
    summary.recovery_p50_ms = recoveries.get(recoveries.len() / 2).copied().map_or(0, ms);
    summary.recovery_max_ms = recoveries.last().copied().map_or(0, ms);
    let report = check(&history);
    summary.observed = report.observed;
    Ok((summary, report))
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

struct Storm<'a> {
    settings: &'a Settings,
    shared: Arc<Shared>,
    phases: watch::Sender<Phase>,
    tasks: JoinSet<Device>,
    settled: Vec<Arc<AtomicBool>>,
}

impl Storm<'_> {
    /// Gives every user one more device; the first two send, later ones only read.
    fn add_devices(&mut self, world: &dyn World, number: u32) -> Result<(), StormError> {
        let plan = &self.shared.plan;
        let senders = f64::from(DEVICES) * f64::from(u32::try_from(plan.users.len()).unwrap_or(u32::MAX));
        let pace = Duration::from_secs_f64(senders / f64::from(self.settings.rate.max(1)));
        for (user, id) in (0u32..).zip(&plan.users) {
            let name = format!("{id}.{number}");
            let link = world.link(id, &name)?;
            let role = Role {
                user,
                name,
                creates: number == 0,
                pace: (number < DEVICES).then_some(pace),
                with_file: (FILES_PER_S / f64::from(self.settings.rate.max(1))).min(FILES_SHARE),
                seed: self.settings.seed ^ (u64::from(user) << 8) ^ u64::from(number),
            };
            let settled = Arc::new(AtomicBool::new(false));
            self.settled.push(Arc::clone(&settled));
            self.tasks.spawn(DeviceTask::new(role, Arc::clone(&self.shared), link, settled).run());
        }
        Ok(())
    }

    async fn pass(&mut self, phase: Phase) -> usize {
        let _ = self.phases.send(phase);
        self.settle().await
    }

    /// Waits until every device has everything; gives how many do not in the end.
    async fn settle(&mut self) -> usize {
        let until = Instant::now() + self.settings.patience;
        let behind = |settled: &[Arc<AtomicBool>]| settled.iter().filter(|s| !s.load(Ordering::Relaxed)).count();
        let mut clean_looks = 0;
        while Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            // Twice, since what one device learns may put another one behind.
            clean_looks = if behind(&self.settled) == 0 { clean_looks + 1 } else { 0 };
            if clean_looks == 2 {
                return 0;
            }
        }
        behind(&self.settled)
    }

    async fn rage(
        &mut self,
        world: &mut dyn World,
        summary: &mut Summary,
        recoveries: &mut Vec<Duration>,
    ) -> Result<(), StormError> {
        let (sent, acked) = (self.shared.sent.load(Ordering::Relaxed), self.shared.acked.load(Ordering::Relaxed));
        let begun = Instant::now();
        let _ = self.phases.send(Phase::Storm);
        let latencies = &self.shared.latencies;
        latencies.begin(false);
        let mut recovered = Vec::new();
        let Settings { seed, length, kills, is_awkward, .. } = *self.settings;
        let mut quiet_until = begun;
        for blow in schedule(seed, length, kills, is_awkward) {
            tokio::time::sleep_until(quiet_until.max(begun + blow.at)).await;
            latencies.begin(true);
            strike(world, summary).await?;
            for follow_up in blow.then {
                match follow_up {
                    FollowUp::AfterStart(wait) => tokio::time::sleep(wait).await,
                    FollowUp::AfterReady(wait) => {
                        recoveries.push(world.ready().await?);
                        tokio::time::sleep(wait).await;
                    }
                }
                summary.awkward_kills += 1;
                strike(world, summary).await?;
            }
            let recovery = world.ready().await?;
            recoveries.push(recovery);
            tokio::time::sleep(AFTERMATH).await;
            if self.settings.is_calm {
                self.calm().await;
                quiet_until = Instant::now() + QUIET;
            }
            recovered.push((world.harm(), recovery));
            latencies.begin(false);
        }
        tokio::time::sleep_until(quiet_until.max(begun + length)).await;
        summary.parts = recovered
            .into_iter()
            .map(|(what, recovery)| Figures { what, recovery_ms: ms(recovery), ..Figures::default() })
            .collect();
        if world.has_ended() {
            return Err(WorldError("the server ended by itself".to_owned()).into());
        }
        let seconds = begun.elapsed().as_secs_f64();
        let since = |now: &std::sync::atomic::AtomicU64, before: u64| {
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let per_second = (now.load(Ordering::Relaxed) - before) as f64 / seconds;
            per_second.round()
        };
        summary.storm_s = (seconds * 10.0).round() / 10.0;
        summary.sends_per_second = since(&self.shared.sent, sent);
        summary.acks_per_second = since(&self.shared.acked, acked);
        Ok(())
    }

    /// Waits until about what is sent in a second is unanswered, or for as long as catching up may take.
    async fn calm(&self) {
        let until = Instant::now() + self.settings.patience;
        let Shared { sent, acked, refusals, .. } = &*self.shared;
        let open = || {
            let refused: u64 = refusals.lock().values().sum();
            sent.load(Ordering::Relaxed).saturating_sub(acked.load(Ordering::Relaxed) + refused)
        };
        while open() > u64::from(self.settings.rate) && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn end(mut self) -> Result<History, StormError> {
        let _ = self.phases.send(Phase::End);
        let mut history = History::default();
        for chat in &self.shared.plan.chats {
            let (name, members) = (chat.id.to_string(), chat.members.clone());
            history.conversations.push(Conversation { name, members });
        }
        while let Some(device) = self.tasks.join_next().await {
            history.devices.push(device?);
        }
        history.devices.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(history)
    }
}

/// Kills the server and starts it again.
async fn strike(world: &mut dyn World, summary: &mut Summary) -> Result<(), StormError> {
    if world.has_ended() {
        return Err(WorldError("the server ended by itself".to_owned()).into());
    }
    world.kill().await?;
    summary.kills += 1;
    world.start()?;
    Ok(())
}
