//! The operations on data in their gRPC and REST forms.

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::{Stream, StreamExt as _, stream};
use serde::Serialize;
use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, limits};
use stonechat_operations::{Backend, Call, Caller, Gate};
use stonechat_proto::v1::{
    DataItem, ExportDataRequest, ImportDataRequest, ImportDataResponse, ImportMembersRequest, ImportMembersResponse,
    data_service_server::DataServiceServer, deletion_service_server::DeletionServiceServer, transfer_service_server,
};
use tokio::sync::mpsc;
use tonic::{Request, Status, Streaming, service::Routes};

use super::{Data, Export, Import, Lines, Members, service::DataOperations};
use crate::{operations, service::user_id};

stonechat_operations::serve! {
    DataOperations, operations::data();
    data_service_server::DataService {
        create_users: CreateUsersRequest => CreateUsersResponse;
        erase_user: EraseUserRequest => Work;
        get_erasure: GetErasureRequest => Work;
        set_user_status: SetUserStatusRequest => Status;
        list_unread: ListUnreadRequest => ListUnreadResponse;
        get_message: GetMessageRequest => ListMessagesResponse;
        list_pinned: ListPinnedRequest => ListMessagesResponse;
        list_readers: ListReadersRequest => ListMembersResponse;
    }
    deletion_service_server::DeletionService {
        delete_tenant: DeleteTenantRequest => Work;
        get_deletion: GetDeletionRequest => Work;
        purge_storage: PurgeStorageRequest => PurgeStorageResponse;
    }
}

/// Lines of JSON.
const LINES: &str = "application/x-ndjson";
/// Lines that are written into one piece of a body.
const LINES_AT_ONCE: usize = 64;

/// What streams.
#[derive(Clone)]
pub(crate) struct Transfer {
    data: Data,
    gate: Arc<Gate>,
}

/// The gRPC services of data.
pub(crate) fn routes(served: &Served, transfer: &Transfer) -> axum::Router {
    let most = limits::HTTP_BODY_BYTES;
    let transfer = transfer_service_server::TransferServiceServer::new(transfer.clone());
    Routes::new(DataServiceServer::new(served.clone()).max_decoding_message_size(most))
        .add_service(DeletionServiceServer::new(served.clone()).max_decoding_message_size(most))
        .add_service(transfer.max_decoding_message_size(most))
        .into_axum_router()
        .reset_fallback()
}

impl Transfer {
    pub fn new(data: Data, gate: Arc<Gate>) -> Self {
        Self { data, gate }
    }

    async fn admit<T>(&self, method: &str, request: &Request<T>) -> Result<Caller, Error> {
        let text = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let operation = stonechat_operations::find(operations::transfer(), "TransferService", method);
        let operation = operation.ok_or_else(Error::internal)?;
        let caller = self.gate.identify(text("authorization"), text("stonechat-device")).await?;
        self.gate.admit(operation, &caller).1?;
        Ok(caller)
    }

    fn import(&self, caller: &Caller) -> Result<Import, Error> {
        Ok(Import::new(self.data.clone(), caller.tenant()?.clone(), caller.quotas().users))
    }

    async fn import_lines(&self, caller: &Caller, body: Body) -> Result<ImportDataResponse, Error> {
        let mut lines = Lines::new(body.into_data_stream());
        let mut import = self.import(caller)?;
        let taken = async {
            while let Some(line) = lines.next().await? {
                import.take_line(&line).await?;
            }
            import.finish().await
        };
        let taken = taken.await;
        if taken.is_err() {
            lines.drain().await;
        }
        taken
    }

    async fn member_lines(
        &self,
        tenant: TenantId,
        conversation: String,
        body: Body,
    ) -> Result<ImportMembersResponse, Error> {
        let mut lines = Lines::new(body.into_data_stream());
        let mut members = Members::new(self.data.clone(), tenant, conversation);
        let taken = async {
            while let Some(line) = lines.next().await? {
                members.take_line(&line).await?;
            }
            members.finish().await
        };
        let taken = taken.await;
        if taken.is_err() {
            lines.drain().await;
        }
        taken
    }

    fn export(&self, caller: &Caller, user: &str) -> Result<mpsc::Receiver<Result<DataItem, Error>>, Error> {
        let user = if user.is_empty() { None } else { Some(user_id(user)?) };
        Ok(Export::begin(self.data.clone(), caller.tenant()?.clone(), user))
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Error> {
    let body = stonechat_operations::write(value)?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn demand_lines(headers: &HeaderMap) -> Result<(), Error> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or(LINES);
    let is_lines = [LINES, "application/jsonl", "application/json-lines"].iter().any(|kind| given.starts_with(kind));
    if is_lines { Ok(()) } else { Err(Error::invalid(format!("content type must be {LINES}"))) }
}

/// Items as lines, many in one piece; after an error the body breaks off, so that nobody takes it for whole.
fn lines_of(items: mpsc::Receiver<Result<DataItem, Error>>) -> Body {
    let pieces = stream::unfold(items, |mut items| async move {
        let mut some = Vec::with_capacity(LINES_AT_ONCE);
        if items.recv_many(&mut some, LINES_AT_ONCE).await == 0 {
            return None;
        }
        let mut piece = Vec::new();
        for item in some {
            let line = item.and_then(|item| stonechat_operations::write(&item));
            match line {
                Ok(line) => piece.extend_from_slice(&line),
                Err(error) => return Some((Err(std::io::Error::other(error.to_string())), items)),
            }
            piece.push(b'\n');
        }
        Some((Ok(Bytes::from(piece)), items))
    });
    Body::from_stream(pieces)
}

#[async_trait]
impl Backend for Transfer {
    async fn call(&self, _: Call) -> Result<Vec<u8>, Error> {
        Err(Error::internal())
    }

    async fn raw(&self, call: Call, headers: HeaderMap, body: Body) -> Result<Response, Error> {
        let text = |name: &str| call.fields.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        match call.operation.method {
            "ImportData" => {
                demand_lines(&headers)?;
                json(StatusCode::OK, &self.import_lines(&call.caller, body).await?)
            }
            "ImportMembers" => {
                demand_lines(&headers)?;
                let (tenant, conversation) = (call.caller.tenant()?.clone(), text("conversation").to_owned());
                json(StatusCode::OK, &self.member_lines(tenant, conversation, body).await?)
            }
            "ExportData" => {
                let items = self.export(&call.caller, text("user"))?;
                Ok(([(header::CONTENT_TYPE, LINES)], lines_of(items)).into_response())
            }
            _ => Err(Error::internal()),
        }
    }
}

type Answer<T> = Result<tonic::Response<T>, Status>;

#[async_trait]
impl transfer_service_server::TransferService for Transfer {
    async fn import_data(&self, request: Request<Streaming<ImportDataRequest>>) -> Answer<ImportDataResponse> {
        let caller = self.admit("import_data", &request).await?;
        let mut parts = request.into_inner();
        let mut import = self.import(&caller)?;
        while let Some(part) = parts.message().await? {
            for item in part.items {
                import.take(item).await?;
            }
        }
        Ok(tonic::Response::new(import.finish().await?))
    }

    type ExportDataStream = Pin<Box<dyn Stream<Item = Result<DataItem, Status>> + Send>>;

    async fn export_data(&self, request: Request<ExportDataRequest>) -> Answer<Self::ExportDataStream> {
        let caller = self.admit("export_data", &request).await?;
        let items = self.export(&caller, &request.into_inner().user)?;
        let items = stream::unfold(items, |mut items| async move { items.recv().await.map(|item| (item, items)) });
        Ok(tonic::Response::new(Box::pin(items.map(|item| item.map_err(Status::from)))))
    }

    async fn import_members(&self, request: Request<Streaming<ImportMembersRequest>>) -> Answer<ImportMembersResponse> {
        let tenant = self.admit("import_members", &request).await?.tenant()?.clone();
        let mut parts = request.into_inner();
        let mut members: Option<Members> = None;
        let mut named = String::new();
        while let Some(part) = parts.message().await? {
            if members.is_none() {
                named.clone_from(&part.conversation);
            }
            if !part.conversation.is_empty() && part.conversation != named {
                return Err(Error::new(Code::InvalidArgument, "every part names the same conversation").into());
            }
            let members = members.get_or_insert_with(|| Members::new(self.data.clone(), tenant.clone(), named.clone()));
            for user in part.users {
                members.take(user).await?;
            }
        }
        let members = members.ok_or_else(|| Error::invalid("users are missing"))?;
        Ok(tonic::Response::new(members.finish().await?))
    }
}
