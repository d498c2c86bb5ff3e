//! What a server on loopback proves itself with.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::server::{BackendError, Folder};

/// A certificate for loopback, as PEM.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Both in one file.
    pub both: PathBuf,
    /// That of the authority that signed it.
    pub ca: PathBuf,
    _folder: Folder,
}

impl Certificate {
    /// One of an authority that nobody knows yet.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn new() -> Result<Self, BackendError> {
        let folder = Folder::new()?;
        let (cert, key, ca) = issued().map_err(|error| BackendError::Io {
            what: "issue a certificate".to_owned(),
            source: std::io::Error::other(error),
        })?;
        Ok(Self {
            cert: folder.write("cert.pem", &cert)?,
            key: folder.write("key.pem", &key)?,
            both: folder.write("both.pem", &format!("{key}{cert}"))?,
            ca: folder.write("ca.pem", &ca)?,
            _folder: folder,
        })
    }
}

fn issued() -> Result<(String, String, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let cert = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
    Ok((cert.pem(), key.serialize_pem(), authority.pem()))
}
