//! What is known of files, for REST and gRPC.

use std::sync::Arc;

use stonechat_errors::Error;
use stonechat_filing::{Files, Reader, Variant};
use stonechat_model::{FileId, TenantId, TimeUs, UserId, limits, now_us};
use stonechat_operations::Caller;
use stonechat_proto::{
    internal::v1::{FileRow, FileState},
    v1::{
        CreateFileLinkRequest, DeleteFileRequest, DeleteFileResponse, File, FileLink, FileStatus, GetFileRequest,
        ListFilesRequest, ListFilesResponse, Thumbnail, file_service_server::FileServiceServer,
    },
};
use tonic::service::Routes;

use crate::OPERATIONS;

/// Files of a page where the caller does not say, and at most.
const PAGE_FILES: u32 = 50;
const PAGE_FILES_MOST: u32 = 200;

/// Operations on what is known of files.
pub(crate) struct Service {
    files: Arc<Files>,
}

stonechat_operations::serve! {
    Service, OPERATIONS;
    file_service_server::FileService {
        get_file: GetFileRequest => File;
        list_files: ListFilesRequest => ListFilesResponse;
        delete_file: DeleteFileRequest => DeleteFileResponse;
        create_file_link: CreateFileLinkRequest => FileLink;
    }
}

/// The gRPC service.
pub(crate) fn routes(served: &Served) -> axum::Router {
    let service = FileServiceServer::new(served.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES);
    // The fallback of unknown paths belongs to others.
    Routes::new(service).into_axum_router().reset_fallback()
}

fn file_id(text: &str) -> Result<FileId, Error> {
    FileId::parse(text).map_err(|_| Error::not_found("file"))
}

fn reader(caller: &Caller) -> Result<(TenantId, Reader), Error> {
    match caller {
        Caller::Operator => Err(Error::denied("this is not for the operator")),
        Caller::Tenant(key) => Ok((key.tenant.clone(), Reader::Tenant)),
        Caller::User(user) => Ok((user.tenant.clone(), Reader::User(user.user.clone()))),
    }
}

/// A file as callers see it.
pub(crate) fn to_file(id: &FileId, row: FileRow) -> File {
    let status = match row.state() {
        FileState::Scanning => FileStatus::Scanning,
        FileState::Infected => FileStatus::Infected,
        FileState::Ready => FileStatus::Ready,
        FileState::Deleted | FileState::Unspecified => FileStatus::Unspecified,
    };
    let shown = row.description.unwrap_or_default();
    let variants = [Variant::Small, Variant::Large];
    let thumbnails = shown.thumbnails.iter().zip(variants).map(|(thumbnail, variant)| Thumbnail {
        width: thumbnail.width,
        height: thumbnail.height,
        url: variant.path(id),
    });
    File {
        id: id.to_string(),
        owner: row.owner,
        name: row.name,
        content_type: row.content_type,
        size_bytes: row.size_bytes,
        status: status.into(),
        width: shown.width,
        height: shown.height,
        duration_ms: shown.duration_ms,
        blurhash: shown.blurhash,
        waveform: shown.waveform.into(),
        animated: shown.animated,
        thumbnails: thumbnails.collect(),
        url: Variant::Whole.path(id),
        created_us: row.created_us,
        expires_us: row.expires_us,
    }
}

impl Service {
    pub(crate) fn new(files: Arc<Files>) -> Self {
        Self { files }
    }

    pub async fn get_file(&self, caller: &Caller, request: GetFileRequest) -> Result<File, Error> {
        let (tenant, reader) = reader(caller)?;
        let id = file_id(&request.file)?;
        Ok(to_file(&id, self.files.file(&tenant, &reader, &id).await?))
    }

    pub async fn list_files(&self, caller: &Caller, request: ListFilesRequest) -> Result<ListFilesResponse, Error> {
        let (tenant, user) = caller.acting_user(&request.user)?;
        let size = if request.page_size == 0 { PAGE_FILES } else { request.page_size.min(PAGE_FILES_MOST) };
        let from = match request.page_token.as_str() {
            "" => None,
            token => Some(FileId::parse(token).map_err(|_| Error::invalid("page_token is none of ours"))?),
        };
        let (files, next) = self.files.files_of(&tenant, &user, from.as_ref(), size as usize).await?;
        Ok(ListFilesResponse {
            files: files.into_iter().map(|(id, row)| to_file(&id, row)).collect(),
            next_page_token: next.map(|id| id.to_string()).unwrap_or_default(),
        })
    }

    pub async fn delete_file(&self, caller: &Caller, request: DeleteFileRequest) -> Result<DeleteFileResponse, Error> {
        let (tenant, reader) = reader(caller)?;
        let id = file_id(&request.file)?;
        let row = self.files.file(&tenant, &reader, &id).await?;
        if reader.user().is_some_and(|user| row.owner != user.as_str()) {
            return Err(Error::denied("a file is deleted by its owner or the tenant"));
        }
        self.files.delete(&tenant, &id).await?;
        Ok(DeleteFileResponse {})
    }

    pub async fn create_file_link(&self, caller: &Caller, request: CreateFileLinkRequest) -> Result<FileLink, Error> {
        let (tenant, reader) = reader(caller)?;
        let id = file_id(&request.file)?;
        let reader = match (reader, request.user.as_str()) {
            (reader, "") => reader,
            (Reader::Tenant, user) => {
                Reader::User(UserId::parse(user).map_err(|e| Error::invalid(format!("user: {e}")))?)
            }
            (Reader::User(own), user) if own.as_str() == user => Reader::User(own),
            (Reader::User(_), _) => return Err(Error::denied("a user acts for nobody else")),
        };
        let variant =
            Variant::parse(&request.thumbnail).ok_or_else(|| Error::invalid("thumbnail is small or large"))?;
        let ttl_s = if request.ttl_s == 0 { limits::FILE_LINK_TTL_S } else { u64::from(request.ttl_s) };
        if ttl_s > limits::FILE_LINK_TTL_MAX_S {
            return Err(Error::invalid(format!("a link is good for {} seconds at most", limits::FILE_LINK_TTL_MAX_S)));
        }
        self.files.show(&tenant, &reader, &id, variant).await?;
        let expires_us = now_us().saturating_add(TimeUs::try_from(ttl_s).unwrap_or(0) * 1_000_000);
        let url = self.files.link(&tenant, reader.user(), &id, variant, expires_us).await?;
        Ok(FileLink { url, expires_us })
    }
}

#[cfg(test)]
mod tests {
    use stonechat_operations::Contract;

    use super::*;

    #[test]
    fn every_operation_has_an_example_and_every_rpc_a_rest_form() {
        for operation in OPERATIONS {
            assert_eq!(Served::check(operation), Ok(()), "{} {}", operation.method, operation.path);
        }
        for rpc in Contract::get().methods.keys().filter(|rpc| rpc.starts_with("FileService/")) {
            assert!(OPERATIONS.iter().any(|operation| operation.rpc() == *rpc), "{rpc} has no REST form");
        }
    }
}
