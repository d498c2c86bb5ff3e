//! Blobs in S3 and what speaks like it: `blobs/<tenant>/<name>`, and `direct/<tenant>/<name>` for what clients fetch.

use std::{net::IpAddr, ops::Range, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use object_store::{
    ClientOptions, Error as StoreError, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    multipart::MultipartStore as _,
    path::Path,
    signer::{Method, SignedUrlOptions, Signer as _, Url},
};
use stonechat_model::{TenantId, limits};

use crate::{BlobError, BlobKey, Blobs, Direct, Found, Link, Pieces, key::tenant_folder, length_bytes};

/// Parts of a composed object that are on their way at once, each of [`PART_BYTES`]; one more is being gathered.
const PARTS_AT_ONCE: usize = 2;
const PART_BYTES: usize = 8 << 20;
/// The longest that S3 lets a link be good.
const LINK_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How a store is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// `https://` and a host; `http://` only to this machine or with `allow_http`. Empty: AWS's of the region.
    pub endpoint: String,
    /// The bucket, which is there.
    pub bucket: String,
    /// The region.
    pub region: String,
    /// The id of the access key.
    pub access_key: String,
    /// The access key's secret.
    pub secret_key: String,
    /// Whether `http://` will do beyond this machine.
    pub allow_http: bool,
    /// How long a request may take.
    pub timeout: Duration,
    /// How often a request is tried again.
    pub retries: usize,
}

/// Blobs in a bucket.
pub struct S3Blobs {
    store: AmazonS3,
}

impl S3Blobs {
    /// A store; whether it answers shows in its use.
    ///
    /// # Errors
    /// [`BlobError::Setup`], with what is to be changed.
    pub fn new(config: &S3Config) -> Result<Self, BlobError> {
        let refused = |reason: &str| BlobError::Setup(format!("s3: {reason}"));
        for (name, value) in [
            ("bucket", &config.bucket),
            ("region", &config.region),
            ("access key", &config.access_key),
            ("secret key", &config.secret_key),
        ] {
            if value.is_empty() {
                return Err(refused(&format!("no {name}")));
            }
        }
        let is_http = config.endpoint.starts_with("http://");
        if is_http && !config.allow_http && !is_loopback(&config.endpoint) {
            return Err(refused("endpoint is http:// beyond this machine; see s3.allow_http"));
        }
        let client = ClientOptions::new()
            .with_allow_http(is_http)
            .with_timeout(config.timeout)
            .with_connect_timeout(config.timeout);
        let retry =
            RetryConfig { max_retries: config.retries, retry_timeout: 2 * config.timeout, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_access_key_id(&config.access_key)
            .with_secret_access_key(&config.secret_key)
            .with_client_options(client)
            .with_retry(retry);
        if !config.endpoint.is_empty() {
            builder = builder.with_endpoint(config.endpoint.trim_end_matches('/'));
        }
        let store = builder.build().map_err(|error| refused(&error.to_string()))?;
        Ok(Self { store })
    }

    /// Why a range cannot be read, once it could not be.
    async fn explain(&self, key: &BlobKey, range: &Range<u64>, error: BlobError) -> BlobError {
        match self.size(key).await {
            Ok(Some(size_bytes)) if range.end > size_bytes => BlobError::OutOfRange { size_bytes },
            Ok(None) => BlobError::NotFound,
            _ => error,
        }
    }

    async fn delete_below(&self, prefix: Path) -> Result<(), BlobError> {
        let found = self.store.list(Some(&prefix)).map_ok(|object| object.location).boxed();
        let mut deleted = self.store.delete_stream(found);
        while let Some(one) = deleted.next().await {
            absent_is_fine(one.map(|_| ()))?;
        }
        Ok(())
    }
}

fn is_loopback(endpoint: &str) -> bool {
    let Ok(url) = Url::parse(endpoint) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn prefix(kind: &str, tenant: &TenantId) -> Path {
    Path::from_iter([kind, &tenant_folder(tenant)])
}

fn path(kind: &str, key: &BlobKey) -> Path {
    Path::from_iter([kind, &tenant_folder(key.tenant()), key.name()])
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn put(&self, key: &BlobKey, parts: Vec<Bytes>) -> Result<(), BlobError> {
        if length_bytes(&parts) > limits::BLOB_BYTES {
            return Err(BlobError::TooLarge);
        }
        self.store.put(&path("blobs", key), PutPayload::from_iter(parts)).await.map_err(failed)?;
        Ok(())
    }

    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let length = range.end.checked_sub(range.start).filter(|length| *length > 0);
        let Some(length) = length else {
            // No range of HTTP is empty.
            let size_bytes = self.size(key).await?.ok_or(BlobError::NotFound)?;
            let is_within = range.start == range.end && range.end <= size_bytes;
            return if is_within { Ok(Bytes::new()) } else { Err(BlobError::OutOfRange { size_bytes }) };
        };
        if length > limits::BLOB_BYTES as u64 {
            return Err(match self.size(key).await? {
                Some(size_bytes) if range.end > size_bytes => BlobError::OutOfRange { size_bytes },
                Some(_) => BlobError::TooLarge,
                None => BlobError::NotFound,
            });
        }
        match self.store.get_range(&path("blobs", key), range.clone()).await.map_err(failed) {
            Ok(bytes) if bytes.len() as u64 == length => Ok(bytes),
            Ok(_) => Err(self.explain(key, &range, BlobError::Unavailable("answer broke off".to_owned())).await),
            Err(BlobError::NotFound) => Err(BlobError::NotFound),
            Err(error) => Err(self.explain(key, &range, error).await),
        }
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError> {
        match self.store.head(&path("blobs", key)).await {
            Ok(object) => Ok(Some(object.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        absent_is_fine(self.store.delete(&path("blobs", key)).await)
    }

    async fn list(&self, tenant: &TenantId, after: Option<&BlobKey>, limit: usize) -> Result<Vec<Found>, BlobError> {
        let prefix = prefix("blobs", tenant);
        let objects = match after {
            Some(after) => self.store.list_with_offset(Some(&prefix), &path("blobs", after)),
            None => self.store.list(Some(&prefix)),
        };
        let found = objects.try_filter_map(|object| std::future::ready(Ok(found(tenant, &object))));
        found.take(limit.min(limits::BLOBS_LISTED)).try_collect().await.map_err(failed)
    }

    async fn delete_tenant(&self, tenant: &TenantId) -> Result<(), BlobError> {
        self.delete_below(prefix("blobs", tenant)).await?;
        self.delete_below(prefix("direct", tenant)).await
    }

    fn direct(&self) -> Option<&dyn Direct> {
        Some(self)
    }
}

#[async_trait]
impl Direct for S3Blobs {
    async fn begin(&self, key: &BlobKey) -> Result<String, BlobError> {
        self.store.create_multipart(&path("direct", key)).await.map_err(failed)
    }

    async fn compose(&self, key: &BlobKey, begun: &str, pieces: Pieces<'_>) -> Result<u64, BlobError> {
        let (path, id) = (path("direct", key), begun.to_owned());
        let put = |(number, part): (usize, Result<Bytes, BlobError>)| {
            let (path, id) = (&path, &id);
            async move {
                let part = part?;
                let length = part.len() as u64;
                let put = self.store.put_part(path, id, number, part.into()).await.map_err(failed)?;
                Ok::<_, BlobError>((put, length))
            }
        };
        let written: Vec<_> = parts(pieces).enumerate().map(put).buffered(PARTS_AT_ONCE).try_collect().await?;
        let length = written.iter().map(|(_, length)| length).sum();
        let written = written.into_iter().map(|(part, _)| part).collect();
        self.store.complete_multipart(&path, &id, written).await.map_err(failed)?;
        Ok(length)
    }

    async fn give_up(&self, key: &BlobKey, begun: &str) -> Result<(), BlobError> {
        absent_is_fine(self.store.abort_multipart(&path("direct", key), &begun.to_owned()).await)
    }

    async fn presign_get(&self, key: &BlobKey, link: &Link) -> Result<String, BlobError> {
        let options = SignedUrlOptions::new().with_query([
            ("response-content-disposition", link.content_disposition.as_str()),
            ("response-content-type", link.content_type.as_str()),
        ]);
        let (expiry, path) = (link.expiry.min(LINK_MAX), path("direct", key));
        let url = self.store.signed_url_opts(Method::GET, &path, expiry, &options).await.map_err(failed)?;
        Ok(url.into())
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        absent_is_fine(self.store.delete(&path("direct", key)).await)
    }
}

/// Pieces as parts of [`PART_BYTES`], the last one shorter.
fn parts(pieces: Pieces<'_>) -> impl Stream<Item = Result<Bytes, BlobError>> {
    stream::try_unfold((pieces, BytesMut::new()), |(mut pieces, mut kept)| async move {
        while kept.len() < PART_BYTES {
            let Some(piece) = pieces.try_next().await? else { break };
            kept.reserve(PART_BYTES.saturating_sub(kept.len()).max(piece.len()));
            kept.extend_from_slice(&piece);
        }
        let part = kept.split_to(kept.len().min(PART_BYTES)).freeze();
        Ok((!part.is_empty()).then_some((part, (pieces, kept))))
    })
}

/// An object as a blob; none where it is none of ours.
fn found(tenant: &TenantId, object: &ObjectMeta) -> Option<Found> {
    let key = BlobKey::new(tenant, object.location.filename()?).ok()?;
    (path("blobs", &key) == object.location).then(|| Found {
        key,
        size_bytes: object.size,
        modified_us: object.last_modified.timestamp_micros(),
    })
}

fn absent_is_fine(result: Result<(), StoreError>) -> Result<(), BlobError> {
    match result {
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: StoreError) -> BlobError {
    match error {
        StoreError::NotFound { .. } => BlobError::NotFound,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            BlobError::Setup("s3: the store refuses the access key".to_owned())
        }
        error @ (StoreError::NotSupported { .. } | StoreError::NotImplemented { .. }) => {
            BlobError::Setup(format!("s3: {error}"))
        }
        error => BlobError::Unavailable(reason(&error)),
    }
}

/// The last cause of an error; those above it name the object and the store's address.
fn reason(error: &StoreError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> S3Config {
        S3Config {
            endpoint: "http://127.0.0.1:9".to_owned(),
            bucket: "chat".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "key".to_owned(),
            secret_key: "secret".to_owned(),
            allow_http: false,
            timeout: Duration::from_secs(1),
            retries: 0,
        }
    }

    #[test]
    fn a_store_without_what_it_needs_is_refused() {
        assert!(S3Blobs::new(&config()).is_ok());
        let without = [
            S3Config { bucket: String::new(), ..config() },
            S3Config { region: String::new(), ..config() },
            S3Config { access_key: String::new(), ..config() },
            S3Config { secret_key: String::new(), ..config() },
        ];
        for config in without {
            assert!(matches!(S3Blobs::new(&config), Err(BlobError::Setup(_))), "{config:?}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for endpoint in ["http://s3.example:9000", "http://127.0.0.1.example", "http://10.0.0.1", "http://x@10.0.0.1"] {
            let config = S3Config { endpoint: endpoint.to_owned(), ..config() };
            assert!(S3Blobs::new(&config).is_err(), "{endpoint}");
            assert!(S3Blobs::new(&S3Config { allow_http: true, ..config }).is_ok(), "{endpoint}");
        }
        for endpoint in ["http://127.0.0.1:9000", "http://localhost:9000/", "http://[::1]:9000", "https://s3.example"] {
            let config = S3Config { endpoint: endpoint.to_owned(), ..config() };
            assert!(S3Blobs::new(&config).is_ok(), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn a_link_is_signed_with_what_the_answer_says() {
        let blobs = S3Blobs::new(&config()).unwrap();
        let key = BlobKey::new(&TenantId::parse("..").unwrap(), "a1").unwrap();
        let link = Link {
            expiry: Duration::from_secs(600),
            content_disposition: "attachment; filename=\"a\"".to_owned(),
            content_type: "application/octet-stream".to_owned(),
        };
        let url = blobs.presign_get(&key, &link).await.unwrap();
        assert!(url.starts_with("http://127.0.0.1:9/chat/direct/"), "{url}");
        assert!(
            !url.contains("/../") && url.contains("X-Amz-Expires=600") && url.contains("X-Amz-Signature="),
            "{url}"
        );
        assert!(url.contains("response-content-disposition=attachment%3B"), "{url}");
    }
}
