//! The gate that every request passes, whatever its form: who calls, whether the caller may, whether there is budget for
//! it. It also keeps answers for repeated requests, and writes down who did what.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{extract::ConnectInfo, http::HeaderMap};
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use stonechat_auth::Verifier;
use stonechat_errors::{Code, Error};
use stonechat_model::now_us;
use stonechat_quotas::{Meter, Rates, Taken};
use stonechat_rows::Rows;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    Audit, Caller, Class, Fields, Operation,
    answers::Answers,
    audit::{Attempt, is_audited},
    budgets, deadline,
};

/// How the gate behaves.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// The operator's key; without one nobody is the operator.
    pub operator_key: Option<String>,
    /// Processes that share the tenants' rates, this one among them.
    pub processes: u32,
}

/// What the gate works with.
pub struct GateDependencies {
    /// Verifies credentials.
    pub verifier: Arc<Verifier>,
    /// Where answers and the audit log are kept.
    pub rows: Arc<dyn Rows>,
    /// Counts what tenants use.
    pub meter: Arc<Meter>,
}

/// The gate of one process, shared by every service that has operations.
pub struct Gate {
    config: GateConfig,
    verifier: Arc<Verifier>,
    rates: Rates,
    meter: Arc<Meter>,
    pub(crate) answers: Answers,
    audit: Audit,
}

impl Gate {
    /// A gate.
    pub fn new(config: GateConfig, dependencies: GateDependencies) -> Self {
        let GateDependencies { verifier, rows, meter } = dependencies;
        let (answers, audit) = (Answers::new(Arc::clone(&rows)), Audit::new(rows));
        Self { config, verifier, rates: Rates::default(), meter, answers, audit }
    }

    /// The log of who did what.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Finds out who calls from the values `authorization` and `stonechat-device`.
    pub async fn identify(&self, authorization: Option<&str>, device: Option<&str>) -> Result<Caller, Error> {
        let operator_key = self.config.operator_key.as_deref();
        Caller::identify(authorization, device, operator_key, &self.verifier, now_us()).await
    }

    /// Lets a caller through to an operation, or says why not. Gives what is left of the budgets that were asked.
    pub fn admit(&self, operation: &Operation, caller: &Caller) -> (Vec<Taken>, Result<(), Error>) {
        let now_us = now_us();
        // Who may not call is told so, however much is left: what is left of a budget says nothing to others.
        let (taken, admitted) = match caller.check(operation.callers) {
            Ok(()) => self.rates.take(&budgets::budgets(operation.class, caller, self.config.processes), now_us),
            Err(error) => (Vec::new(), Err(error)),
        };
        if let Some(tenant) = caller.tenant_id() {
            self.meter.count(tenant, now_us, |used| match &admitted {
                Ok(()) => used.api_requests += 1,
                Err(_) => used.refused += 1,
            });
        }
        (taken, admitted)
    }

    /// Remembers what became of an operation.
    pub(crate) async fn ended<T>(
        &self,
        operation: &Operation,
        caller: &Caller,
        attempt: Option<Attempt>,
        result: &Result<T, Error>,
    ) {
        if let (Class::Send, Some(tenant), Ok(_)) = (operation.class, caller.tenant_id(), result) {
            self.meter.count(tenant, now_us(), |used| used.sends += 1);
        }
        if let Some(attempt) = attempt {
            self.audit.write(attempt, outcome(result)).await;
        }
    }

    /// Runs an operation that was called over gRPC, within the caller's deadline.
    pub async fn grpc<Q, A, F>(
        &self,
        operation: Option<&'static Operation>,
        request: Request<Q>,
        run: F,
    ) -> Result<Response<A>, Status>
    where
        Q: Serialize,
        A: Send + 'static,
        F: FnOnce(Caller, Q) -> BoxFuture<'static, Result<A, Error>>,
    {
        let started = Instant::now();
        let Some(operation) = operation else { return Err(Error::internal().into()) };
        let mut taken = Vec::new();
        let deadline = deadline::of(request.metadata());
        let answered = tokio::time::timeout(deadline, Box::pin(self.answer(operation, request, run, &mut taken))).await;
        // Timers are coarse: an answer after the deadline is none, its caller has gone.
        let is_late = started.elapsed() > deadline;
        let late = || Err(Error::new(Code::DeadlineExceeded, "the call's deadline has passed; it may have been done"));
        let result = answered.ok().filter(|_| !is_late).unwrap_or_else(late);
        measure(operation, started, &result);
        match result {
            Ok(answer) => {
                let mut response = Response::new(answer);
                tell(&taken, response.metadata_mut());
                Ok(response)
            }
            Err(error) => {
                let mut status = Status::from(error);
                tell(&taken, status.metadata_mut());
                Err(status)
            }
        }
    }

    async fn answer<Q, A, F>(
        &self,
        operation: &'static Operation,
        request: Request<Q>,
        run: F,
        taken: &mut Vec<Taken>,
    ) -> Result<A, Error>
    where
        Q: Serialize,
        A: Send + 'static,
        F: FnOnce(Caller, Q) -> BoxFuture<'static, Result<A, Error>>,
    {
        let text = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let caller = self.identify(text("authorization"), text("stonechat-device")).await?;
        let admitted;
        (*taken, admitted) = self.admit(operation, &caller);
        let peer = source(request.extensions().get());
        let request = request.into_inner();
        let attempt = is_audited(operation).then(|| {
            let fields = match serde_json::to_value(&request) {
                Ok(Value::Object(fields)) => fields,
                _ => Fields::new(),
            };
            Attempt::new(operation, &caller, &fields, &peer)
        });
        let Some(attempt) = attempt else {
            admitted?;
            let result = run(caller.clone(), request).await;
            self.ended(operation, &caller, None, &result).await;
            return result;
        };
        let audit = self.audit.clone();
        let work = admitted.map(|()| run(caller, request));
        // Done to its end, and written down, though the caller has gone.
        let done = tokio::spawn(async move {
            let result = match work {
                Ok(work) => work.await,
                Err(error) => Err(error),
            };
            audit.write(attempt, outcome(&result)).await;
            result
        });
        done.await.unwrap_or_else(|_| Err(Error::internal()))
    }
}

/// What became of it, as the audit log and the metrics have it.
fn outcome<T>(result: &Result<T, Error>) -> &'static str {
    result.as_ref().err().map_or("ok", |error| error.code.as_str())
}

/// Where a request came from: the other end of its connection. What headers claim is not asked.
pub(crate) fn source(peer: Option<&ConnectInfo<SocketAddr>>) -> String {
    peer.map(|ConnectInfo(peer)| peer.ip().to_string()).unwrap_or_default()
}

fn tell(taken: &[Taken], metadata: &mut MetadataMap) {
    let mut headers = HeaderMap::new();
    budgets::tell(taken, &mut headers);
    for (name, value) in [("ratelimit", budgets::RATE_LIMIT), ("ratelimit-policy", budgets::RATE_LIMIT_POLICY)] {
        let text = headers.get(value).and_then(|value| value.to_str().ok());
        if let Some(value) = text.and_then(|text| text.parse().ok()) {
            metadata.insert(name, value);
        }
    }
}

fn measure<T>(operation: &'static Operation, started: Instant, result: &Result<T, Error>) {
    let method = operation.method;
    metrics::histogram!("stonechat_api_grpc_request_seconds", "method" => method)
        .record(started.elapsed().as_secs_f64());
    let code = outcome(result);
    metrics::counter!("stonechat_api_grpc_requests_total", "method" => method, "code" => code).increment(1);
}
