//! Processes that prove to each other who they are, over real connections.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use stonechat_lifecycle::{ServeLimits, serve_tls};
use stonechat_peers::{Identity, TlsFiles, dialer};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;
use tower::{Service, ServiceExt};

const PATIENCE: Duration = Duration::from_secs(20);
const NAME: &str = "stonechat";

struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What is wrong with a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    Expired,
    OtherName,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate, its key and the authority's certificate.
    fn issue(&self, folder: &Path, flaw: Flaw) -> TlsFiles {
        let name = if flaw == Flaw::OtherName { "somebody" } else { NAME };
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if flaw == Flaw::Expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        let files = files(folder);
        std::fs::write(&files.cert, cert.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::write(&files.ca, self.0.pem()).unwrap();
        files
    }
}

fn files(folder: &Path) -> TlsFiles {
    let path = |name: &str| folder.join(name);
    TlsFiles { cert: path("cert.pem"), key: path("key.pem"), ca: path("ca.pem"), name: NAME.to_owned() }
}

async fn server(identity: &Identity) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, end) = (listener.local_addr().unwrap(), CancellationToken::new());
    let app = Router::new().route("/", get(async || "here"));
    let limits = ServeLimits { drain_timeout: Duration::from_millis(100), ..ServeLimits::default() };
    tokio::spawn(serve_tls(listener, app, limits, identity.server(), end.clone()));
    (address, end.drop_guard())
}

async fn ask(channel: &mut Channel) -> Result<u16, String> {
    let request = http::Request::get("http://any/").body(tonic::body::Body::empty()).unwrap();
    let asking = async { channel.ready().await?.call(request).await };
    let reply = tokio::time::timeout(PATIENCE, asking).await.unwrap();
    reply.map(|reply| reply.status().as_u16()).map_err(|error| format!("{error:?}"))
}

fn identity(authority: &Authority, flaw: Flaw) -> (Arc<Identity>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Identity::load(authority.issue(folder.path(), flaw)).unwrap(), folder)
}

#[tokio::test]
async fn certificates_of_one_authority_and_name_connect() {
    let authority = Authority::new("the authority");
    let ((one, _one), (other, _other)) = (identity(&authority, Flaw::None), identity(&authority, Flaw::None));
    let (address, _end) = server(&one).await;
    assert_eq!(ask(&mut dialer(Some(other))(address)).await, Ok(200));
}

#[tokio::test]
async fn neither_side_takes_a_certificate_that_is_not_of_the_cluster() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (good, _good) = identity(&ours, Flaw::None);
    let (address, _end) = server(&good).await;
    let bad = [
        ("other authority", identity(&theirs, Flaw::None)),
        ("expired", identity(&ours, Flaw::Expired)),
        ("other name", identity(&ours, Flaw::OtherName)),
    ];
    for (what, (bad, _folder)) in bad {
        let called = ask(&mut dialer(Some(Arc::clone(&bad)))(address)).await;
        assert!(called.is_err(), "{what} was taken as a caller: {called:?}");
        let (address, _end) = server(&bad).await;
        let called = ask(&mut dialer(Some(Arc::clone(&good)))(address)).await;
        assert!(called.is_err(), "{what} was called: {called:?}");
    }
}

#[tokio::test]
async fn without_a_certificate_nobody_is_served() {
    let (good, _good) = identity(&Authority::new("ours"), Flaw::None);
    let (address, _end) = server(&good).await;
    assert!(ask(&mut dialer(None)(address)).await.is_err(), "plaintext HTTP/2");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: any\r\n\r\n").await.unwrap();
    let mut reply = Vec::new();
    // A reset is as good as an end.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await.unwrap();
    assert!(!String::from_utf8_lossy(&reply).contains("here"));
}

#[tokio::test]
async fn renewed_files_are_taken_and_open_connections_stay() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (identity, folder) = identity(&old, Flaw::None);
    let end = CancellationToken::new();
    tokio::spawn(Arc::clone(&identity).follow(end.clone()));
    let (address, _end) = server(&identity).await;
    let mut open = dialer(Some(Arc::clone(&identity)))(address);
    assert_eq!(ask(&mut open).await, Ok(200));

    // The key of one and the certificate of another: the last good ones stay.
    let mut server_side = identity.server();
    server_side.mark_unchanged();
    let half = tempfile::tempdir().unwrap();
    let half = new.issue(half.path(), Flaw::None);
    std::fs::copy(&half.key, files(folder.path()).key).unwrap();
    let (other, _other) = {
        let folder = tempfile::tempdir().unwrap();
        (Identity::load(old.issue(folder.path(), Flaw::None)).unwrap(), folder)
    };
    assert_eq!(ask(&mut dialer(Some(other))(address)).await, Ok(200));
    assert!(!server_side.has_changed().unwrap());

    new.issue(folder.path(), Flaw::None);
    tokio::time::timeout(PATIENCE, server_side.changed()).await.unwrap().unwrap();
    let (newer, _newer) = {
        let folder = tempfile::tempdir().unwrap();
        (Identity::load(new.issue(folder.path(), Flaw::None)).unwrap(), folder)
    };
    assert_eq!(ask(&mut dialer(Some(newer))(address)).await, Ok(200), "the new authority is known");
    assert_eq!(ask(&mut open).await, Ok(200), "the connection from before goes on");
    end.cancel();
}

#[test]
fn files_that_are_no_identity_are_told() {
    let authority = Authority::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let told = |files: TlsFiles| Identity::load(files).unwrap_err().to_string();
    assert!(told(files(folder.path())).contains("cert.pem"));
    let good = authority.issue(folder.path(), Flaw::None);
    std::fs::write(&good.ca, "nothing").unwrap();
    assert!(told(good.clone()).contains("ca.pem: has no certificate"));
    let good = authority.issue(folder.path(), Flaw::None);
    std::fs::write(&good.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(told(good.clone()).contains("certificate and key"));
    let good = authority.issue(folder.path(), Flaw::None);
    assert!(told(TlsFiles { name: "no name".to_owned(), ..good }).contains("no name"));
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_taken_for_lost() {
    // It speaks HTTP/2 at first: an empty SETTINGS frame, and the acknowledgement of the other's.
    const SETTINGS: [u8; 18] = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&SETTINGS).await.unwrap();
        let mut nothing = [0; 4096];
        while stream.read(&mut nothing).await.is_ok_and(|count| count > 0) {}
    });
    assert!(ask(&mut dialer(None)(address)).await.is_err());
    silent.await.unwrap();
}
