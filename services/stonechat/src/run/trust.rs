//! Whose certificates of a backend are believed.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::RunError;

/// The authorities that signed a backend's certificates, with their PEM; `None`: those that the system knows.
///
/// # Errors
/// The file of this key cannot be read, has no certificate, or one that is no authority's.
pub fn authorities(key: &str, file: &Path) -> Result<Option<(Vec<u8>, RootCertStore)>, RunError> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let refused = |reason: &dyn std::fmt::Display| RunError::Refused(format!("{key}: {}: {reason}", file.display()));
    let pem = std::fs::read(file).map_err(|error| refused(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| refused(&error))?;
        roots.add(certificate).map_err(|error| refused(&error))?;
    }
    if roots.is_empty() {
        return Err(refused(&"there is no certificate in it"));
    }
    Ok(Some((pem, roots)))
}

/// A client that believes them.
///
/// # Errors
/// The file of this key cannot be used, or the system knows no authorities.
pub fn client(key: &str, file: &Path) -> Result<Arc<ClientConfig>, RunError> {
    let roots = match authorities(key, file)? {
        Some((_, roots)) => roots,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(RunError::Refused(format!("{key}: the system knows no authorities")));
            }
            roots
        }
    };
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    fn refusal(file: &Path) -> String {
        client("redis.tls_ca", file).map(|_| ()).expect_err("refused").to_string()
    }

    #[test]
    fn a_file_without_authorities_is_refused_with_its_key() {
        let refused = refusal(Path::new("/nonexistent/ca.pem"));
        assert!(refused.starts_with("redis.tls_ca: /nonexistent/ca.pem: "), "{refused}");
        assert!(refusal(file("").path()).ends_with("there is no certificate in it"));
        let text = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        assert!(refusal(file(text).path()).starts_with("redis.tls_ca: "));
        // It is PEM of a certificate that is none.
        let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(refusal(file(text).path()).starts_with("redis.tls_ca: "));
    }

    #[test]
    fn the_authorities_of_a_file_are_believed() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let file = file(&made.cert.pem());
        let (pem, roots) = authorities("cql.tls_ca", file.path()).expect("read").expect("some");
        assert_eq!((pem, roots.len()), (made.cert.pem().into_bytes(), 1));
        client("cql.tls_ca", file.path()).expect("a client");
        assert!(authorities("cql.tls_ca", Path::new("")).expect("nothing to read").is_none());
    }
}
