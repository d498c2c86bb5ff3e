//! Giving files: ranges, conditions, and headers that make a hostile file harmless.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use stonechat_errors::Error;
use stonechat_filing::{Asked, Link, Reader, Shown, Variant, asked_range, content_disposition};
use stonechat_model::{FileId, TenantId};

use crate::{
    Shared,
    callers::{GIVING, admit},
    headers::{set, text},
};

/// Nothing in a file is run, loaded or shown in a frame, whatever a browser takes it for.
const POLICY: &str = "default-src 'none'; sandbox";
/// Bytes under an id never change, but who may have them does: they are asked for again each time.
const CACHE: &str = "private, no-cache";

/// What stands in the query: a link's own words, and whether the file is to be saved.
#[derive(Debug, Deserialize)]
pub(crate) struct Asking {
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    expires: String,
    #[serde(default)]
    signature: String,
    #[serde(default)]
    download: String,
    #[serde(default)]
    direct: String,
}

impl Asking {
    /// Whether the file is to be saved, not shown.
    fn is_saved(&self) -> bool {
        self.download == "1" || self.download == "true"
    }

    /// Whether the caller would follow to the store.
    fn may_be_direct(&self) -> bool {
        self.direct != "0" && self.direct != "false"
    }
}

/// `GET /v1/files/{file}`.
pub(crate) async fn file(
    State(shared): State<Arc<Shared>>,
    Path(file): Path<String>,
    query: Query<Asking>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let wanted = Wanted { file: &file, variant: Variant::Whole, is_head: method == Method::HEAD };
    give(&shared, wanted, &query, &headers).await.unwrap_or_else(IntoResponse::into_response)
}

/// `GET /v1/files/{file}/thumbnails/{size}`.
pub(crate) async fn thumbnail(
    State(shared): State<Arc<Shared>>,
    Path((file, size)): Path<(String, String)>,
    query: Query<Asking>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(variant) = Variant::parse(&size).filter(|variant| *variant != Variant::Whole) else {
        return Error::not_found("thumbnail").into_response();
    };
    let wanted = Wanted { file: &file, variant, is_head: method == Method::HEAD };
    give(&shared, wanted, &query, &headers).await.unwrap_or_else(IntoResponse::into_response)
}

/// What is asked for.
struct Wanted<'a> {
    file: &'a str,
    variant: Variant,
    is_head: bool,
}

/// Who asks: whoever a link was made for, or a caller with a credential.
async fn reader(
    shared: &Shared,
    id: &FileId,
    wanted: &Wanted<'_>,
    asking: &Asking,
    headers: &HeaderMap,
) -> Result<(TenantId, Reader), Error> {
    if asking.signature.is_empty() {
        let admitted = admit(shared, &GIVING, headers).await?;
        return Ok((admitted.tenant, admitted.reader));
    }
    let link = Link {
        tenant: asking.tenant.clone(),
        user: asking.user.clone(),
        expires_s: asking.expires.parse().unwrap_or(0),
        signature: asking.signature.clone(),
    };
    shared.files.linked(id, wanted.variant, &link).await
}

async fn give(
    shared: &Arc<Shared>,
    wanted: Wanted<'_>,
    asking: &Asking,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let id = FileId::parse(wanted.file).map_err(|_| Error::not_found("file"));
    // Who is nobody is told so before anything of an id.
    let id = match id {
        Ok(id) => id,
        Err(error) => {
            admit(shared, &GIVING, headers).await?;
            return Err(error);
        }
    };
    let (tenant, reader) = reader(shared, &id, &wanted, asking, headers).await?;
    let shown = shared.files.show(&tenant, &reader, &id, wanted.variant).await?;
    let tag = format!("\"{}\"", shown.content);
    let mut response = if is_known(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if let Some(link) = direct_link(shared, &tenant, &shown, &wanted, asking).await? {
        return Ok(redirect(&link));
    } else {
        let range = text(headers, "range").filter(|_| may_be_part(headers, &tag));
        body(shared, &tenant, &shown, asked_range(range, shown.size_bytes), wanted.is_head).await?
    };
    describe(&shown, &tag, asking.is_saved(), response.headers_mut());
    Ok(response)
}

/// Where the store itself gives the file, if the caller is to go there. A link is for fetching only: what `HEAD` asks is
/// answered here, as is what is asked of thumbnails.
async fn direct_link(
    shared: &Shared,
    tenant: &TenantId,
    shown: &Shown,
    wanted: &Wanted<'_>,
    asking: &Asking,
) -> Result<Option<String>, Error> {
    if wanted.is_head || wanted.variant != Variant::Whole || !asking.may_be_direct() {
        return Ok(None);
    }
    let (kind, disposition) = form(shown, asking.is_saved());
    shared.files.direct_link(tenant, &shown.file, disposition, kind).await
}

/// Sends the caller to the store, this once: whether it may have the file is asked again each time.
fn redirect(link: &str) -> Response {
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    let headers = response.headers_mut();
    set(headers, "location", link);
    set(headers, "cache-control", "no-store");
    set(headers, "referrer-policy", "no-referrer");
    response
}

/// Whether the caller has these bytes already (RFC 9110, section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = text(headers, "if-none-match").unwrap_or_default();
    known.trim() == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

/// Whether a range is of the bytes that the caller has begun to fetch (RFC 9110, section 13.1.5).
fn may_be_part(headers: &HeaderMap, tag: &str) -> bool {
    text(headers, "if-range").is_none_or(|known| known.trim() == tag)
}

async fn body(
    shared: &Arc<Shared>,
    tenant: &TenantId,
    shown: &Shown,
    asked: Asked,
    is_head: bool,
) -> Result<Response, Error> {
    let size = shown.size_bytes;
    let (first, last, status) = match asked {
        Asked::Beyond => {
            let mut response =
                Error::invalid("the range is beyond the file").into_response_with(StatusCode::RANGE_NOT_SATISFIABLE);
            set(response.headers_mut(), "content-range", &format!("bytes */{size}"));
            return Ok(response);
        }
        Asked::Whole if size == 0 => {
            let mut response = StatusCode::OK.into_response();
            set(response.headers_mut(), "content-length", "0");
            return Ok(response);
        }
        Asked::Whole => (0, size - 1, StatusCode::OK),
        Asked::Part { first, last } => (first, last, StatusCode::PARTIAL_CONTENT),
    };
    let body = if is_head {
        Body::empty()
    } else {
        Body::from_stream(shared.files.bytes(tenant, &shown.content, first, last).await?)
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    set(headers, "content-length", &(last - first + 1).to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        set(headers, "content-range", &format!("bytes {first}-{last}/{size}"));
    }
    Ok(response)
}

/// As what the bytes are given, whoever gives them: their `Content-Type`, and their `Content-Disposition`, by which a
/// browser shows what is harmless and saves everything else.
fn form(shown: &Shown, is_saved: bool) -> (String, String) {
    let kind = shown.content_type.clone();
    let is_inline = ["image/", "audio/", "video/"].iter().any(|inline| kind.starts_with(inline)) && !is_saved;
    (kind, content_disposition(&shown.file.name, is_inline))
}

/// What a browser may do with the bytes: nothing but show what is harmless.
fn describe(shown: &Shown, tag: &str, is_saved: bool, headers: &mut HeaderMap) {
    let (kind, disposition) = form(shown, is_saved);
    if !headers.contains_key(header::CONTENT_TYPE) {
        set(headers, "content-type", &kind);
    }
    set(headers, "content-disposition", &disposition);
    set(headers, "etag", tag);
    set(headers, "accept-ranges", "bytes");
    set(headers, "cache-control", CACHE);
    set(headers, "x-content-type-options", "nosniff");
    set(headers, "content-security-policy", POLICY);
    set(headers, "cross-origin-resource-policy", "same-origin");
    set(headers, "referrer-policy", "no-referrer");
}
