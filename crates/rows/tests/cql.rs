//! Rows in a real Cassandra pass the suite of every engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use stonechat_backends::{cassandra::Cassandra, certificate::Certificate, server::Size};
use stonechat_model::now_us;
use stonechat_rows::{
    Put, Rows, RowsError,
    conformance::Engine,
    cql::{CqlConfig, CqlRows, Replication, prepare},
    tables,
};
use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};

/// How long Cassandra may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The one server of these tests. It ends with the process.
static CASSANDRA: OnceCell<Cassandra> = OnceCell::const_new();
/// What it proves itself with to those who ask by TLS.
static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| Certificate::new().unwrap());
/// A keyspace is used by one test after the other: making its tables takes seconds.
static FREE: OnceCell<Vec<(String, Arc<Mutex<()>>)>> = OnceCell::const_new();
const KEYSPACES: usize = 3;

async fn cassandra() -> Cassandra {
    Cassandra::single_by_tls(Size::Small, &CERTIFICATE).await.unwrap()
}

async fn config(keyspace: &str) -> CqlConfig {
    let cassandra = CASSANDRA.get_or_init(cassandra).await;
    CqlConfig {
        nodes: vec![cassandra.address()],
        keyspace: keyspace.to_owned(),
        request_timeout: PATIENCE,
        ..CqlConfig::default()
    }
}

/// An empty keyspace that nobody else uses.
async fn keyspace() -> (CqlConfig, OwnedMutexGuard<()>) {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let make = async || {
        let mut made = Vec::new();
        for number in 0..KEYSPACES {
            let name = format!("test{number}");
            prepare(&config(&name).await, Replication(1)).await.unwrap();
            made.push((name, Arc::default()));
        }
        made
    };
    let all = FREE.get_or_init(make).await;
    let turn = TURN.fetch_add(1, Ordering::Relaxed) as usize;
    let (name, mutex) = &all[turn % KEYSPACES];
    let guard = Arc::clone(mutex).lock_owned().await;
    (config(name).await, guard)
}

async fn fresh() -> Engine {
    let (config, guard) = keyspace().await;
    stonechat_rows::cql::truncate(&config).await.unwrap();
    let rows = CqlRows::open(&config).await.unwrap();
    Engine { rows, is_atomic: false, equal_replaces: false, guard: Box::new(guard) }
}

stonechat_rows::rows_conformance!(fresh);

#[tokio::test]
async fn preparing_again_makes_nothing_and_at_once_does_no_harm() {
    let config = config("again").await;
    let (one, other) = tokio::join!(prepare(&config, Replication(1)), prepare(&config, Replication(1)));
    one.unwrap();
    other.unwrap();
    assert!(prepare(&config, Replication(1)).await.unwrap().made.is_empty());
}

#[tokio::test]
async fn a_keyspace_that_was_not_prepared_is_told() {
    let error = CqlRows::open(&config("nothing").await).await.err().unwrap().to_string();
    assert!(error.contains("table events is missing") && error.contains("stonechat admin prepare"), "{error}");
}

/// A client that believes what this authority signed.
fn believing(certificate: &Certificate) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate.ca).unwrap()).unwrap();
    Some(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

#[tokio::test]
async fn rows_are_read_by_tls_of_those_who_prove_themselves() {
    let (config, _guard) = keyspace().await;
    let rows = CqlRows::open(&CqlConfig { tls: believing(&CERTIFICATE), ..config.clone() }).await.unwrap();
    let key = tables::counter("tls");
    let put = Put { key: key.clone(), value: vec![1].into(), version: 1, ttl: None };
    rows.write(vec![put]).await.unwrap();
    assert!(rows.get(&[key]).await.unwrap()[0].is_some());
    let other = Certificate::new().unwrap();
    let error = CqlRows::open(&CqlConfig { tls: believing(&other), ..config }).await.err().unwrap();
    assert!(matches!(error, RowsError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_version_of_the_future_is_refused() {
    let engine = fresh().await;
    let version = u64::try_from(now_us()).unwrap() + 60_000_000;
    let put = Put { key: tables::counter("future"), value: vec![1].into(), version, ttl: None };
    let error = engine.rows.write(vec![put]).await.unwrap_err();
    assert!(matches!(error, RowsError::BadRequest(_)), "{error}");
}

#[tokio::test]
async fn calls_beyond_the_bound_are_refused_and_the_rest_done() {
    let (config, _guard) = keyspace().await;
    let rows = CqlRows::open(&CqlConfig { in_flight: 4, ..config }).await.unwrap();
    let reads = (0..64).map(|number| {
        let rows = Arc::clone(&rows);
        tokio::spawn(async move { rows.get(&[tables::counter(&format!("c{number}"))]).await })
    });
    let (mut done, mut refused) = (0, 0);
    for read in reads.collect::<Vec<_>>() {
        match read.await.unwrap() {
            Ok(_) => done += 1,
            Err(RowsError::Unavailable(reason)) if reason.contains("too many") => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(done >= 4 && refused > 0, "{done} done, {refused} refused");
}
