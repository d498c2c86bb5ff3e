//! Resumable uploads by the tus protocol, version 1.0.0: <https://tus.io/protocols/resumable-upload>.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use stonechat_errors::{Code, Error};
use stonechat_filing::{
    AppendError, NewUpload, Upload,
    tus::{self, Concat, Metadata},
};
use stonechat_model::FileId;

use crate::{
    Shared,
    callers::{Admitted, TAKING, admit},
    headers::{content_length, drop_body, http_date, number, set, text},
    upload::finish,
};

const OFFSET_TYPE: &str = "application/offset+octet-stream";
/// The protocol's own status: the checksum is not that of the bytes.
const CHECKSUM_MISMATCH: u16 = 460;

/// Why a request is refused: an error of the catalogue, perhaps with a status of the protocol's own.
struct Refused {
    error: Error,
    status: Option<StatusCode>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, status: None }
    }
}

impl From<tus::HeaderError> for Refused {
    fn from(error: tus::HeaderError) -> Self {
        Error::invalid(error.to_string()).into()
    }
}

impl Refused {
    fn with(status: StatusCode, error: Error) -> Self {
        Self { error, status: Some(status) }
    }
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Checksum => Self {
                status: StatusCode::from_u16(CHECKSUM_MISMATCH).ok(),
                error: Error::invalid("the checksum is not that of the bytes"),
            },
            other => Error::from(other).into(),
        }
    }
}

type Answered = Result<Response, Refused>;

/// Every answer says which version it is of.
fn answer(answered: Answered) -> Response {
    let mut response = answered.unwrap_or_else(|refused| match refused.status {
        Some(status) => refused.error.into_response_with(status),
        None => refused.error.into_response(),
    });
    set(response.headers_mut(), "tus-resumable", tus::VERSION);
    response
}

/// Refuses a request of another version.
fn check_version(headers: &HeaderMap) -> Result<(), Refused> {
    if text(headers, "tus-resumable") == Some(tus::VERSION) {
        return Ok(());
    }
    Err(Refused::with(StatusCode::PRECONDITION_FAILED, Error::invalid("Tus-Resumable must be 1.0.0")))
}

fn with_version(answered: Answered) -> Response {
    let mut response = answer(answered);
    if response.status() == StatusCode::PRECONDITION_FAILED {
        set(response.headers_mut(), "tus-version", tus::VERSION);
    }
    response
}

/// `OPTIONS`: what this server speaks.
pub(crate) async fn options(State(shared): State<Arc<Shared>>) -> Response {
    let mut response = answer(Ok(StatusCode::NO_CONTENT.into_response()));
    let headers = response.headers_mut();
    set(headers, "tus-version", tus::VERSION);
    set(headers, "tus-extension", tus::EXTENSIONS);
    set(headers, "tus-checksum-algorithm", tus::CHECKSUMS);
    set(headers, "tus-max-size", &shared.files.max_bytes().to_string());
    response
}

/// `POST /v1/uploads`: begins an upload, perhaps with its first bytes.
pub(crate) async fn create(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Response {
    with_version(begin(&shared, &headers, body).await)
}

/// `HEAD /v1/uploads/{file}`: how far an upload is.
pub(crate) async fn head(State(shared): State<Arc<Shared>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    with_version(tell(&shared, &file, &headers).await)
}

/// `PATCH /v1/uploads/{file}`: more bytes.
pub(crate) async fn patch(
    State(shared): State<Arc<Shared>>,
    Path(file): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    with_version(take(&shared, &file, &headers, body).await)
}

/// `DELETE /v1/uploads/{file}`: ends an upload.
pub(crate) async fn terminate(
    State(shared): State<Arc<Shared>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    with_version(end(&shared, &file, &headers).await)
}

/// `POST /v1/uploads/{file}` with `X-HTTP-Method-Override`, for clients that can send nothing else.
pub(crate) async fn overridden(
    State(shared): State<Arc<Shared>>,
    Path(file): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let method = text(&headers, "x-http-method-override").unwrap_or_default();
    with_version(match Method::from_bytes(method.as_bytes()) {
        Ok(Method::PATCH) => take(&shared, &file, &headers, body).await,
        Ok(Method::DELETE) => end(&shared, &file, &headers).await,
        Ok(Method::HEAD) => tell(&shared, &file, &headers).await,
        _ => Err(Refused::with(StatusCode::METHOD_NOT_ALLOWED, Error::invalid("this path does not take this method"))),
    })
}

async fn find(shared: &Shared, admitted: &Admitted, file: &str) -> Result<Upload, Refused> {
    let id = FileId::parse(file).map_err(|_| Error::not_found("upload"))?;
    let upload = shared.files.upload(&admitted.tenant, &admitted.reader, &id).await?;
    if upload.is_over() {
        return Err(Refused::with(StatusCode::GONE, Error::new(Code::NotFound, "the upload has expired or was ended")));
    }
    Ok(upload)
}

async fn begin(shared: &Arc<Shared>, headers: &HeaderMap, body: Body) -> Answered {
    check_version(headers)?;
    let admitted = admit(shared, &TAKING, headers).await?;
    let metadata_text = text(headers, "upload-metadata").unwrap_or_default();
    let metadata = tus::metadata(metadata_text)?;
    let concat_text = text(headers, "upload-concat").unwrap_or_default();
    let concat = if concat_text.is_empty() { None } else { Some(tus::concat(concat_text)?) };
    let Metadata { name, poster, owner } = metadata;
    let mut new = NewUpload {
        owner: admitted.owner(&owner)?,
        name,
        size_bytes: 0,
        is_part: concat == Some(Concat::Partial),
        metadata: metadata_text.to_owned(),
        concat: concat_text.to_owned(),
        poster,
    };
    if let Some(Concat::Final(parts)) = concat {
        if number(headers, "upload-length").is_some() {
            return Err(Error::invalid("a final upload's length is that of its parts").into());
        }
        let upload = shared.files.concatenate(&admitted.tenant, &admitted.reader, &parts, new).await?;
        made(shared, &admitted, &upload).await?;
        return Ok(created(&upload));
    }
    let length = number(headers, "upload-length");
    new.size_bytes = length.ok_or_else(|| Error::invalid("Upload-Length is missing or no number"))?;
    // Looked at before anything is begun.
    let first = first_bytes(headers, new.size_bytes)?;
    let sum = text(headers, "upload-checksum").map(tus::checksum).transpose()?;
    let mut upload = shared.files.create(&admitted.tenant, admitted.quota, new).await?;
    if first && upload.is_open() {
        upload = match shared.files.append(upload.clone(), body.into_data_stream(), sum).await {
            Ok(upload) => upload,
            // The upload is begun; its client goes on from what is here.
            Err(AppendError::Broken) => find(shared, &admitted, upload.id.as_str()).await?,
            Err(error) => {
                // Nobody goes on with it: nobody knows its id.
                shared.files.terminate(find(shared, &admitted, upload.id.as_str()).await?).await?;
                return Err(error.into());
            }
        };
    }
    match made(shared, &admitted, &upload).await {
        // Every byte is here, and whoever is not told where would bring them again: the file will be made.
        Err(refused) if refused.status == Some(StatusCode::LOCKED) => {}
        made => made?,
    }
    Ok(created(&upload))
}

/// Waits for the file of an upload with every byte: whoever is told of success finds it. One that is not there in time, or
/// cannot be made now, locks its upload, on which clients of the protocol ask again instead of beginning another one.
async fn made(shared: &Arc<Shared>, admitted: &Admitted, upload: &Upload) -> Result<(), Refused> {
    const LATER: Duration = Duration::from_secs(1);
    if !upload.is_to_be_finished() {
        return Ok(());
    }
    let error = match finish(shared, &admitted.tenant, &upload.id).await {
        Ok(true) => return Ok(()),
        Ok(false) => Error::unavailable("the file is being made; ask again"),
        Err(error) if error.is_retryable() => error,
        Err(error) => return Err(error.into()),
    };
    Err(Refused::with(StatusCode::LOCKED, error.retry_after(LATER)))
}

/// Whether a creation comes with bytes, and whether they can be taken.
fn first_bytes(headers: &HeaderMap, size_bytes: u64) -> Result<bool, Refused> {
    let has_some = text(headers, header::CONTENT_TYPE.as_str()).is_some_and(|kind| kind == OFFSET_TYPE);
    if content_length(headers).is_some_and(|length| length > 0) && !has_some {
        return Err(unsupported_type());
    }
    if has_some && content_length(headers).is_some_and(|length| length > size_bytes) {
        return Err(Error::new(Code::TooLarge, "more bytes than the upload has").into());
    }
    Ok(has_some)
}

fn unsupported_type() -> Refused {
    let reason = "content type must be application/offset+octet-stream";
    Refused::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, Error::invalid(reason))
}

fn created(upload: &Upload) -> Response {
    let mut response = StatusCode::CREATED.into_response();
    set(response.headers_mut(), "location", &format!("/v1/uploads/{}", upload.id));
    progress(upload, response.headers_mut());
    response
}

fn progress(upload: &Upload, headers: &mut HeaderMap) {
    set(headers, "upload-offset", &upload.offset_bytes().to_string());
    if let Some(expires_us) = upload.expires_us() {
        set(headers, "upload-expires", &http_date(expires_us));
    }
}

async fn tell(shared: &Arc<Shared>, file: &str, headers: &HeaderMap) -> Answered {
    check_version(headers)?;
    let admitted = admit(shared, &TAKING, headers).await?;
    let upload = find(shared, &admitted, file).await?;
    made(shared, &admitted, &upload).await?;
    let mut response = StatusCode::OK.into_response();
    let told = response.headers_mut();
    progress(&upload, told);
    set(told, "upload-length", &upload.size_bytes().to_string());
    set(told, "cache-control", "no-store");
    for (name, value) in [("upload-metadata", upload.metadata()), ("upload-concat", upload.concat())] {
        if !value.is_empty() {
            set(told, name, value);
        }
    }
    Ok(response)
}

/// Takes more bytes; of a request that is refused they are dropped, so that its client reads why.
async fn take(shared: &Arc<Shared>, file: &str, headers: &HeaderMap, body: Body) -> Answered {
    let mut body = Some(body);
    let answered = go_on(shared, file, headers, &mut body).await;
    if let Some(body) = body {
        drop_body(body).await;
    }
    answered
}

async fn go_on(shared: &Arc<Shared>, file: &str, headers: &HeaderMap, body: &mut Option<Body>) -> Answered {
    check_version(headers)?;
    let admitted = admit(shared, &TAKING, headers).await?;
    if text(headers, header::CONTENT_TYPE.as_str()) != Some(OFFSET_TYPE) {
        return Err(unsupported_type());
    }
    let offset =
        number(headers, "upload-offset").ok_or_else(|| Error::invalid("Upload-Offset is missing or no number"))?;
    let sum = text(headers, "upload-checksum").map(tus::checksum).transpose()?;
    let mut upload = find(shared, &admitted, file).await?;
    if upload.is_final() {
        return Err(Error::denied("a final upload takes no bytes").into());
    }
    if upload.offset_bytes() != offset {
        let reason = format!("the upload's offset is {}", upload.offset_bytes());
        return Err(Refused::with(StatusCode::CONFLICT, Error::new(Code::Conflict, reason)));
    }
    if content_length(headers).is_some_and(|length| length > upload.size_bytes() - offset) {
        return Err(Error::new(Code::TooLarge, "more bytes than the upload has").into());
    }
    if upload.is_open() {
        let mut bytes = body.take().unwrap_or_default().into_data_stream();
        let appended = shared.files.append(upload, &mut bytes, sum).await;
        // What is left, where another request was first.
        *body = Some(Body::from_stream(bytes));
        upload = appended?;
    }
    made(shared, &admitted, &upload).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    progress(&upload, response.headers_mut());
    Ok(response)
}

async fn end(shared: &Arc<Shared>, file: &str, headers: &HeaderMap) -> Answered {
    check_version(headers)?;
    let admitted = admit(shared, &TAKING, headers).await?;
    let upload = find(shared, &admitted, file).await?;
    shared.files.terminate(upload).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
