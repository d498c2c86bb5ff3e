//! The gate that every request passes, whatever its form: who calls, and whether the caller may.

use std::{sync::Arc, time::Instant};

use futures::future::BoxFuture;
use stonechat_auth::Verifier;
use stonechat_errors::Error;
use stonechat_model::now_us;
use tonic::{Request, Response, Status};

use crate::{Caller, Operation};

/// How the gate behaves.
#[derive(Debug, Clone, Default)]
pub struct GateConfig {
    /// The operator's key; without one nobody is the operator.
    pub operator_key: Option<String>,
}

/// The gate of one process, shared by every service that has operations.
pub struct Gate {
    config: GateConfig,
    verifier: Arc<Verifier>,
}

impl Gate {
    /// A gate.
    pub fn new(config: GateConfig, verifier: Arc<Verifier>) -> Self {
        Self { config, verifier }
    }

    /// Finds out who calls from the values `authorization` and `stonechat-device`.
    pub async fn identify(&self, authorization: Option<&str>, device: Option<&str>) -> Result<Caller, Error> {
        let operator_key = self.config.operator_key.as_deref();
        Caller::identify(authorization, device, operator_key, &self.verifier, now_us()).await
    }

    /// Lets a caller through to an operation, or says why not.
    #[expect(clippy::unused_async, reason = "budgets may have to be read")]
    pub async fn admit(&self, operation: &Operation, caller: &Caller) -> Result<(), Error> {
        caller.check(operation.callers)
    }

    /// Runs an operation that was called over gRPC.
    pub async fn grpc<Q, A, F>(
        &self,
        operation: Option<&'static Operation>,
        request: Request<Q>,
        run: F,
    ) -> Result<Response<A>, Status>
    where
        F: FnOnce(Caller, Q) -> BoxFuture<'static, Result<A, Error>>,
    {
        let started = Instant::now();
        let Some(operation) = operation else { return Err(Error::internal().into()) };
        let answered = async {
            let text = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
            let caller = self.identify(text("authorization"), text("stonechat-device")).await?;
            self.admit(operation, &caller).await?;
            run(caller, request.into_inner()).await
        };
        let result = answered.await;
        measure(operation, started, &result);
        Ok(Response::new(result?))
    }
}

fn measure<T>(operation: &'static Operation, started: Instant, result: &Result<T, Error>) {
    let method = operation.method;
    metrics::histogram!("stonechat_api_grpc_request_seconds", "method" => method)
        .record(started.elapsed().as_secs_f64());
    let code = result.as_ref().err().map_or("ok", |error| error.code.as_str());
    metrics::counter!("stonechat_api_grpc_requests_total", "method" => method, "code" => code).increment(1);
}
