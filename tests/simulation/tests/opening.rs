//! Sessions that wait for their turn to open: their clients hear that the server is there, and what became of their
//! users meanwhile counts. Those that are open look at their heads now and then, each in its step of the time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use prost::Message as _;
use stonechat_gateway::{GatewayConfig, Rules};
use stonechat_model::{GatewayId, TenantId, UserId};
use stonechat_proto::{
    internal::v1::UserRow,
    v1::{ClientFrame, Hello, ServerFrame, client_frame, server_frame},
};
use stonechat_rows::{Key, Put, Range, Row, Rows, RowsError, tables};
use stonechat_simulation::{
    api_node::TENANT,
    bell::Bell,
    executor::{Runtime, WORLD},
    faults::{Faults, Mix},
    gateway_node::{self, GatewayNode, GatewayWorld},
    links::Links,
    presence::SimPresence,
    random::Random,
    rows::SimRows,
    wire::Wire,
    world::{START_US, seed_credentials, token},
};

/// Sessions that open at once at first.
const AT_ONCE: usize = 4;
const SECOND_US: i64 = 1_000_000;

/// Rows of which the users' conversations are not read until they go on.
struct Standing {
    rows: SimRows,
    goes_on: AtomicBool,
    bell: Bell,
}

#[async_trait]
impl Rows for Standing {
    async fn write(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        self.rows.write(puts).await
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError> {
        self.rows.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Vec<Row>, RowsError> {
        if range.table.name == tables::MEMBERSHIPS.name {
            self.bell.until(|| self.goes_on.load(Ordering::Relaxed).then_some(())).await;
        }
        self.rows.range(range).await
    }

    async fn compare_and_set(&self, put: Put, expected: Option<u64>) -> Result<bool, RowsError> {
        self.rows.compare_and_set(put, expected).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), RowsError> {
        self.rows.delete(keys).await
    }
}

/// What a client heard.
#[derive(Default)]
struct Heard {
    frames: Vec<server_frame::Kind>,
    is_closed: bool,
}

struct World {
    runtime: Runtime,
    faults: Faults,
    rows: Arc<Standing>,
    gateway: GatewayNode,
}

fn user(number: usize) -> UserId {
    UserId::parse(&format!("u{number}")).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let runtime = Runtime::new(seed, START_US);
        let faults = Faults::new(runtime.clone(), Mix::none());
        let rows = SimRows::new(seed, faults.clone());
        seed_credentials(&rows);
        let rows = Arc::new(Standing { rows, goes_on: AtomicBool::new(false), bell: Bell::default() });
        let world = GatewayWorld {
            runtime: runtime.clone(),
            rows: Arc::clone(&rows) as Arc<dyn Rows>,
            presence: Arc::new(SimPresence::new(seed, faults.clone())),
            links: Links::new(seed, faults.clone()),
            rules: Rules::default(),
        };
        let gateway = gateway_node::start(&world, &GatewayId::parse("gateway").unwrap());
        Self { runtime, faults, rows, gateway }
    }

    /// Reads go on.
    fn go_on(&self) {
        self.rows.goes_on.store(true, Ordering::Relaxed);
        self.rows.bell.ring();
    }

    fn pass(&self, us: i64) {
        let until = self.runtime.now_us() + us;
        while self.runtime.now_us() < until {
            self.runtime.step();
        }
    }

    /// Connects a user's device; a second later another one may.
    fn hello(&self, number: usize) -> Arc<Mutex<Heard>> {
        let wire = Wire::new(&self.faults, &Random::new(number as u64, "wire"));
        self.gateway.connect(wire.clone());
        let hello = Hello { token: token(&user(number)), device: "phone".to_owned(), ..Hello::default() };
        let frame = ClientFrame { kind: Some(client_frame::Kind::Hello(hello)) };
        wire.up.send(frame.encode_to_vec().into());
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let hears = Arc::clone(&heard);
        self.runtime.spawn(WORLD, async move {
            while let Some(bytes) = wire.down.next().await {
                hears.lock().frames.extend(ServerFrame::decode(bytes).unwrap().kind);
            }
            hears.lock().is_closed = true;
        });
        self.pass(SECOND_US);
        heard
    }
}

#[test]
fn whoever_waits_for_a_turn_hears_of_the_server_and_opens_only_while_their_token_is_good() {
    for seed in 0..20 {
        let world = World::new(seed);
        let opening: Vec<_> = (0..AT_ONCE).map(|number| world.hello(number)).collect();
        let [waiting, revoked] = [AT_ONCE, AT_ONCE + 1].map(|number| world.hello(number));
        let heartbeat = GatewayConfig::new(GatewayId::parse("any").unwrap()).heartbeat;
        world.pass(i64::try_from(heartbeat.as_micros()).unwrap());
        for heard in [&waiting, &revoked] {
            let heard = heard.lock();
            let [server_frame::Kind::Ready(_), signs @ ..] = &heard.frames[..] else {
                panic!("seed {seed}: {:?}", heard.frames)
            };
            assert!(signs.len() >= 2, "seed {seed}: several within a heartbeat");
            let sign = |it: &server_frame::Kind| matches!(it, server_frame::Kind::Pong(pong) if pong.id == 0);
            assert!(signs.iter().all(sign), "seed {seed}: {signs:?}");
        }

        let row = UserRow { revoked_before_us: START_US + SECOND_US, ..UserRow::default() };
        let key = tables::user(&TenantId::parse(TENANT).unwrap(), &user(AT_ONCE + 1));
        world.rows.rows.seed_row(&Put { key, value: row.encode_to_vec().into(), version: 1, ttl: None });
        world.go_on();
        world.pass(10 * SECOND_US);
        for heard in opening.iter().chain([&waiting]) {
            let heard = heard.lock();
            let synced = matches!(heard.frames.last(), Some(server_frame::Kind::Synced(_)));
            assert!(synced && !heard.is_closed, "seed {seed}: {:?}", heard.frames);
        }
        let heard = revoked.lock();
        let tells = |it: &server_frame::Kind| matches!(it, server_frame::Kind::Page(_) | server_frame::Kind::Synced(_));
        assert!(heard.is_closed && !heard.frames.iter().any(tells), "seed {seed}: {:?}", heard.frames);
    }
}

#[test]
fn each_session_looks_at_its_heads_in_one_step_of_the_time() {
    const STEPS: u64 = 3;
    let world = World::new(1);
    world.go_on();
    let sessions: Vec<_> = (0..5).map(|number| world.hello(number)).collect();
    let looks = || -> Vec<usize> {
        let is_look = |it: &&server_frame::Kind| matches!(it, server_frame::Kind::Synced(_));
        sessions.iter().map(|heard| heard.lock().frames.iter().filter(is_look).count()).collect()
    };
    assert_eq!(looks(), [1; 5], "each is open");
    let mut in_steps = Vec::new();
    for step in 0..STEPS {
        let before: usize = looks().iter().sum();
        world.gateway.hub.look_again(step, STEPS);
        world.pass(SECOND_US);
        in_steps.push(looks().iter().sum::<usize>() - before);
    }
    assert_eq!(looks(), [2; 5], "once each");
    assert!(in_steps.iter().all(|it| (1..=2).contains(it)), "not all in the same step: {in_steps:?}");

    world.gateway.hub.register_again();
    world.pass(SECOND_US);
    assert_eq!(looks(), [2; 5], "to be registered again costs no reads");
}
