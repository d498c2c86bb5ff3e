//! One request, one file.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use stonechat_errors::{Code, Error};
use stonechat_filing::NewUpload;
use stonechat_model::limits;

use crate::{
    Shared,
    callers::{TAKING, admit},
    headers::{content_length, drop_body, text},
    service::to_file,
};

/// How long a request waits for the file that it was the last for: less than clients and what stands before them do.
const MADE_WAIT: Duration = Duration::from_secs(limits::UPLOAD_MADE_WAIT_S);

/// What stands in the query.
#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    #[serde(default)]
    name: String,
    #[serde(default)]
    owner: String,
}

/// `POST /v1/files`: the body is the file.
pub(crate) async fn upload(
    State(shared): State<Arc<Shared>>,
    Query(named): Query<Named>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut body = Some(body);
    let answered = take(&shared, named, &headers, &mut body).await.unwrap_or_else(IntoResponse::into_response);
    if let Some(body) = body {
        drop_body(body).await;
    }
    answered
}

async fn take(
    shared: &Arc<Shared>,
    named: Named,
    headers: &HeaderMap,
    body: &mut Option<Body>,
) -> Result<Response, Error> {
    let admitted = admit(shared, &TAKING, headers).await?;
    let owner = admitted.owner(&named.owner)?;
    let Some(size_bytes) = content_length(headers) else {
        let error = Error::invalid("Content-Length is missing");
        return Ok(error.into_response_with(StatusCode::LENGTH_REQUIRED));
    };
    if size_bytes > limits::FILE_ONE_SHOT_BYTES {
        let reason = format!("more than {} bytes go to /v1/uploads", limits::FILE_ONE_SHOT_BYTES);
        return Err(Error::new(Code::TooLarge, reason));
    }
    if text(headers, header::CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("multipart/")) {
        return Err(Error::invalid("the body is the file itself, no form"));
    }
    let new = NewUpload {
        owner,
        name: named.name,
        size_bytes,
        is_part: false,
        metadata: String::new(),
        concat: String::new(),
        poster: None,
    };
    let upload = shared.files.create(&admitted.tenant, admitted.quota, new).await?;
    let id = upload.id.clone();
    let done = if upload.is_open() {
        let body = body.take().unwrap_or_default();
        match shared.files.append(upload.clone(), body.into_data_stream(), None).await {
            Ok(upload) if upload.is_open() => Err(Error::invalid("body is shorter than Content-Length")),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    } else {
        Ok(())
    };
    if let Err(error) = done {
        // Nobody goes on with it: nobody knows its id.
        let left = shared.files.upload(&admitted.tenant, &admitted.reader, &id).await;
        if let Ok(left) = left
            && let Err(error) = shared.files.terminate(left).await
        {
            tracing::debug!(%error, "what was left of an upload will expire");
        }
        return Err(error);
    }
    if !finish(shared, &admitted.tenant, &id).await? {
        return Err(Error::unavailable("the file is not made yet; it will be"));
    }
    let row = shared.files.file(&admitted.tenant, &admitted.reader, &id).await?;
    let location = [(header::LOCATION, format!("/v1/files/{id}"))];
    Ok((StatusCode::CREATED, location, axum::Json(to_file(&id, row))).into_response())
}

/// Makes the file, and has it scanned, to the end though the caller goes; a caller who comes again joins. Says whether it
/// is there within [`limits::UPLOAD_MADE_WAIT_S`]. Waits a little for the scan, so that a file is ready as a rule when its
/// upload is.
pub(crate) async fn finish(
    shared: &Arc<Shared>,
    tenant: &stonechat_model::TenantId,
    id: &stonechat_model::FileId,
) -> Result<bool, Error> {
    let (shared, tenant, id) = (Arc::clone(shared), tenant.clone(), id.clone());
    let finishing = tokio::spawn(async move {
        let is_done = Box::pin(shared.files.finished(&tenant, &id)).await?;
        // Of a file that is scanned the scan has the object made.
        let scanning = is_done.then(|| shared.files.scan(&tenant, &id)).flatten();
        if is_done && scanning.is_none() {
            drop(shared.files.compose(&tenant, &id));
        }
        Ok::<_, Error>((is_done, scanning))
    });
    let Ok(ended) = tokio::time::timeout(MADE_WAIT, finishing).await else { return Ok(false) };
    let (is_done, scanning) = ended.map_err(|_| Error::internal())??;
    if let Some(scanning) = scanning {
        // Whatever comes of it is in the file's row.
        drop(tokio::time::timeout(Duration::from_secs(limits::SCAN_WAIT_S), scanning).await);
    }
    Ok(is_done)
}
