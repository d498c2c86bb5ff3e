//! What may happen to a cluster.

use std::{fmt, time::Duration};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use stonechat_backends::proxy::Network;

use crate::Kind;

/// A process: its role, and which of that role, from 0 on.
pub type Named = (Kind, usize);

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of processes at once.
    Kill(Vec<Named>),
    /// SIGTERM; the process ends in its time and another one starts.
    Restart(Named),
    /// The same, and the other one is of the new version.
    Upgrade(Named),
    /// SIGSTOP for so long, then SIGCONT.
    Pause(Named, Duration),
    /// The network from one role's processes to another's is like this for so long.
    Network(Kind, Kind, Network, Duration),
    /// Every answer of storage, to whomever, comes so much later for so long.
    SlowStorage(Duration, Duration),
    /// `kill -9` of one of Kafka's brokers.
    KillBroker(usize),
    /// All brokers are killed, and start again.
    RestartBrokers,
    /// Cassandra is killed, and starts again.
    RestartCassandra,
    /// Redis loses everything it has.
    EmptyRedis,
    /// Redis is killed, and starts again without data.
    RestartRedis,
    /// A backend stands still for so long.
    PauseBackend(Backend, Duration),
}

/// A backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Every broker of it.
    Kafka,
    /// The store of rows.
    Cassandra,
    /// The store of presence.
    Redis,
}

fn name((kind, index): &Named) -> String {
    format!("{}{}", kind.role(), index + 1)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(processes) => {
                write!(f, "kill -9 {}", processes.iter().map(name).collect::<Vec<_>>().join(" and "))
            }
            Self::Restart(process) => write!(f, "restart {}", name(process)),
            Self::Upgrade(process) => write!(f, "upgrade {}", name(process)),
            Self::SlowStorage(by, time) => {
                write!(f, "answers of storage {} ms late {} s", by.as_millis(), time.as_secs())
            }
            Self::Pause(process, time) => write!(f, "SIGSTOP {} {} s", name(process), time.as_secs()),
            Self::Network(from, to, network, time) => {
                let what = match network {
                    Network::Delay(by) => format!("delayed by {} ms", by.as_millis()),
                    Network::Cut => "cut".to_owned(),
                    Network::Hold => "half-open".to_owned(),
                    Network::HoldUp => "half-open, calls lost".to_owned(),
                    Network::HoldDown => "half-open, replies lost".to_owned(),
                    Network::Pass => "well".to_owned(),
                };
                write!(f, "{} to {} {what} {} s", from.role(), to.role(), time.as_secs())
            }
            Self::KillBroker(broker) => write!(f, "kill -9 kafka{}", broker + 1),
            Self::RestartBrokers => f.write_str("restart all of kafka"),
            Self::RestartCassandra => f.write_str("restart cassandra"),
            Self::EmptyRedis => f.write_str("empty redis"),
            Self::RestartRedis => f.write_str("restart redis"),
            Self::PauseBackend(backend, time) => write!(f, "{backend:?} stands still {} s", time.as_secs()),
        }
    }
}

const MOMENT: Duration = Duration::from_secs(2);
const SHORT: Duration = Duration::from_secs(6);
/// Longer than a router's session in its group.
const LONG: Duration = Duration::from_secs(13);
/// How late a slow network is.
const LATE: Duration = Duration::from_millis(200);

/// Everything that may happen, in an order that the seed decides.
pub fn every_fault(seed: u64, brokers: usize) -> Vec<Fault> {
    use Kind::{Api, Gateway, Presence, Router, Storage};
    let mut faults = vec![
        Fault::Kill(vec![(Storage, 0)]),
        Fault::Kill(vec![(Presence, 0)]),
        Fault::Kill(vec![(Router, 0)]),
        Fault::Kill(vec![(Gateway, 0)]),
        Fault::Kill(vec![(Api, 0)]),
        Fault::Kill(vec![(Router, 1), (Gateway, 1)]),
        Fault::Kill(vec![(Storage, 0), (Storage, 1)]),
        Fault::Kill(vec![(Router, 0), (Router, 1)]),
        Fault::Kill(vec![(Presence, 0), (Storage, 1)]),
        Fault::Pause((Router, 0), LONG),
        Fault::Pause((Gateway, 1), SHORT),
        Fault::Network(Gateway, Router, Network::Cut, SHORT),
        Fault::Network(Gateway, Router, Network::Delay(LATE), SHORT),
        Fault::Network(Gateway, Router, Network::Hold, LONG),
        Fault::Network(Gateway, Router, Network::HoldDown, LONG),
        Fault::Network(Router, Storage, Network::Cut, SHORT),
        Fault::Network(Router, Storage, Network::Delay(LATE), SHORT),
        Fault::Network(Router, Storage, Network::Hold, LONG),
        Fault::Network(Router, Presence, Network::HoldUp, LONG),
        Fault::RestartBrokers,
        Fault::RestartCassandra,
        Fault::EmptyRedis,
        Fault::RestartRedis,
    ];
    if brokers > 1 {
        faults.extend((0..brokers).map(Fault::KillBroker));
    }
    faults.shuffle(&mut StdRng::seed_from_u64(seed));
    faults
}

impl Fault {
    /// Whether processes of ours go on through it: then they are the same ones afterwards.
    pub fn spares_processes(&self) -> bool {
        !matches!(self, Self::Kill(_) | Self::Restart(_) | Self::Upgrade(_))
    }

    /// Whether it ends sessions of a gateway, in order.
    pub fn renews_gateway(&self) -> bool {
        matches!(self, Self::Restart((Kind::Gateway, _)) | Self::Upgrade((Kind::Gateway, _)))
    }
}

/// A few that are different in kind, for a look in short.
pub fn few_faults() -> Vec<Fault> {
    vec![
        Fault::Kill(vec![(Kind::Router, 0)]),
        Fault::Kill(vec![(Kind::Gateway, 0)]),
        Fault::EmptyRedis,
        Fault::Network(Kind::Gateway, Kind::Router, Network::Cut, MOMENT),
        Fault::Kill(vec![(Kind::Storage, 0), (Kind::Presence, 0)]),
        Fault::Restart((Kind::Router, 1)),
        Fault::PauseBackend(Backend::Kafka, MOMENT),
        Fault::PauseBackend(Backend::Cassandra, MOMENT),
    ]
}

/// Every process is restarted, one after the other.
pub fn rolling(counts: impl Fn(Kind) -> usize) -> Vec<Fault> {
    let of_kind = |kind| (0..counts(kind)).map(move |index| Fault::Restart((kind, index)));
    Kind::ALL.into_iter().flat_map(of_kind).collect()
}

/// Every process is replaced by one of the new version, one after the other, in the order in which they are to be.
pub fn upgrade(counts: impl Fn(Kind) -> usize) -> Vec<Fault> {
    let of_kind = |kind| (0..counts(kind)).map(move |index| Fault::Upgrade((kind, index)));
    Kind::ALL.into_iter().flat_map(of_kind).collect()
}

/// Storage answers late.
pub fn slow_storage(time: Duration) -> Vec<Fault> {
    vec![Fault::SlowStorage(LATE, time)]
}

/// Each backend stands still for so long.
pub fn backends_away(time: Duration) -> Vec<Fault> {
    [Backend::Kafka, Backend::Cassandra, Backend::Redis].map(|backend| Fault::PauseBackend(backend, time)).into()
}
