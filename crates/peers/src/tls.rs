//! Mutual TLS by certificates that one authority signs and that all have one name.
//!
//! Which address a process has does not matter: whoever shows a certificate with the name, signed by the authority,
//! is one of the cluster. The files are read again when they change; connections that are open stay.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{Resumption, danger::HandshakeSignatureValid, verify_server_name},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Only HTTP/2 is spoken.
const ALPN: &[u8] = b"h2";

/// Where a process has its certificate.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, with what is between it and the authority's; PEM.
    pub cert: PathBuf,
    /// Its private key; PEM.
    pub key: PathBuf,
    /// The authority's certificates; PEM.
    pub ca: PathBuf,
    /// The DNS name that every certificate of the cluster has.
    pub name: String,
}

/// Why files are no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read, or is no PEM.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// They do not fit each other.
    #[error("{what}: {source}")]
    Tls {
        /// What was wrong.
        what: &'static str,
        /// Why.
        source: TlsError,
    },
}

/// Who this process is to others, and whom it takes for one of the cluster.
pub struct Identity {
    files: TlsFiles,
    name: ServerName<'static>,
    server: watch::Sender<Arc<ServerConfig>>,
    client: RwLock<Arc<ClientConfig>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The contents of the files.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// One is missing or is not what it should be, key and certificate do not fit, or the name is no DNS name.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, IdentityError> {
        let contents = Contents::read(&files)?;
        let name = ServerName::try_from(files.name.clone())
            .map_err(|error| IdentityError::File { path: files.name.clone().into(), reason: error.to_string() })?;
        let (server, client) = configs(&files, &contents, &name)?;
        Ok(Arc::new(Self { files, name, server: watch::Sender::new(server), client: RwLock::new(client) }))
    }

    /// The side that is called; another one when the files changed.
    pub fn server(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.server.subscribe()
    }

    /// Makes TLS of a connection that was made to another process.
    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let config = match self.client.read() {
            Ok(config) => Arc::clone(&config),
            Err(poisoned) => Arc::clone(&poisoned.into_inner()),
        };
        TlsConnector::from(config).connect(self.name.clone(), stream).await
    }

    /// Takes the files anew whenever they changed, until shutdown. While they are not what they should be, as when
    /// one is written already and the other not yet, the last good ones stay.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut taken = Contents::read(&self.files).ok();
        let mut is_bad = false;
        let mut every = tokio::time::interval(LOOK_EVERY);
        while shutdown.run_until_cancelled(every.tick()).await.is_some() {
            match self.take(&mut taken) {
                Ok(true) => {
                    is_bad = false;
                    tracing::info!("took another certificate");
                    metrics::counter!("stonechat_peers_certificates_total").increment(1);
                }
                Ok(false) => is_bad = false,
                Err(error) => {
                    metrics::counter!("stonechat_peers_certificate_errors_total").increment(1);
                    if !std::mem::replace(&mut is_bad, true) {
                        tracing::error!(%error, "the certificate cannot be taken, the last one stays");
                    }
                }
            }
        }
    }

    fn take(&self, taken: &mut Option<Contents>) -> Result<bool, IdentityError> {
        let now = Contents::read(&self.files)?;
        if taken.as_ref() == Some(&now) {
            return Ok(false);
        }
        let (server, client) = configs(&self.files, &now, &self.name)?;
        self.server.send_replace(server);
        match self.client.write() {
            Ok(mut known) => *known = client,
            Err(poisoned) => *poisoned.into_inner() = client,
        }
        *taken = Some(now);
        Ok(true)
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, IdentityError> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| IdentityError::File { path: path.to_owned(), reason: error.to_string() })
        };
        Ok(Self { cert: read(&files.cert)?, key: read(&files.key)?, ca: read(&files.ca)? })
    }
}

fn configs(
    files: &TlsFiles,
    contents: &Contents,
    name: &ServerName<'static>,
) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), IdentityError> {
    let tls = |what| move |source| IdentityError::Tls { what, source };
    let chain = certificates(&files.cert, &contents.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key)
        .map_err(|error| IdentityError::File { path: files.key.clone(), reason: error.to_string() })?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(&files.ca, &contents.ca)? {
        roots.add(authority).map_err(tls("the authority's certificate"))?;
    }
    let roots = Arc::new(roots);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
    let verifier =
        verifier.map_err(|error| IdentityError::File { path: files.ca.clone(), reason: error.to_string() })?;
    let verifier = Arc::new(Named { verifier, name: name.clone() });
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(tls("protocol versions"))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(tls("certificate and key"))?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    // Each connection proves anew who it is.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls("protocol versions"))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(tls("certificate and key"))?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    Ok((Arc::new(server), Arc::new(client)))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let bad = |reason: String| IdentityError::File { path: path.to_owned(), reason };
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| bad(error.to_string()))?;
    if all.is_empty() { Err(bad("has no certificate".to_owned())) } else { Ok(all) }
}

/// Certificates of the authority that have the name.
#[derive(Debug)]
struct Named {
    verifier: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
