//! gRPC with encoded messages, for calls that are known from descriptors only.

use hyper::body::{Buf as _, Bytes};
use prost::bytes::BufMut as _;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

use super::{server::Server, within};

/// Messages as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}

/// A caller with a credential.
pub struct Caller {
    grpc: Grpc<Channel>,
    credential: String,
}

impl Caller {
    /// Connects.
    pub async fn new(server: &Server, credential: &str) -> Self {
        let endpoint = Channel::from_shared(server.started.grpc_url.clone()).expect("a URL");
        let channel = within("gRPC connection", endpoint.connect()).await.expect("a connection");
        Self { grpc: Grpc::new(channel), credential: credential.to_owned() }
    }

    /// Calls; gives the answer's bytes or the status.
    pub async fn call(&mut self, path: &str, request: Vec<u8>) -> Result<Bytes, (Code, String)> {
        within("readiness", self.grpc.ready()).await.expect("ready");
        let mut request = Request::new(request);
        let bearer = format!("Bearer {}", self.credential).parse().expect("ASCII");
        request.metadata_mut().insert("authorization", bearer);
        let path = path.parse().expect("a path");
        let answer = within("gRPC answer", self.grpc.unary(request, path, Raw)).await;
        answer.map(tonic::Response::into_inner).map_err(|status| (status.code(), status.message().to_owned()))
    }
}
