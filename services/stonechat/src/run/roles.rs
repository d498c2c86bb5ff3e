//! The roles of this process, wired to each other.

use std::{future::Future, sync::Arc, time::Duration};

use axum::Router;
use stonechat_api::ApiConfig;
use stonechat_auth::Verifier;
use stonechat_config::Config;
use stonechat_gateway::{Gateway, GatewayConfig};
use stonechat_lifecycle::{Health, Readiness, ServeLimits, Shutdown, serve};
use stonechat_model::GatewayId;
use stonechat_router::RouterService;
use stonechat_rpc::{CommandCaller, Control, Inbox, Inboxes, RouterLink};
use stonechat_telemetry::Metrics;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Backends, drain_time};

/// Roles at work.
pub struct Roles {
    app: Router,
    gateway: Arc<Gateway>,
    ready: Readiness,
    limits: ServeLimits,
    drain: Duration,
    /// Ends what works behind the listener.
    end: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// A node's name: what it is, and which start of this data it is of.
fn node(role: &str, backends: &Backends) -> GatewayId {
    let name = format!("{role}-{}", backends.generation);
    GatewayId::parse(&name).unwrap_or_else(|_| unreachable!("a role's name is an id"))
}

impl Roles {
    /// Starts every role.
    pub fn start(config: &Config, backends: Backends, health: &Health, metrics: Option<&Metrics>) -> Self {
        let end = CancellationToken::new();
        let ready = health.part("gateway");
        let inboxes = Arc::new(Inboxes::default());
        let verifier = Arc::new(Verifier::new(Arc::clone(&backends.rows)));
        let link: Arc<dyn RouterLink> = Arc::new(RouterService::new(
            Arc::clone(&backends.log),
            Arc::clone(&backends.rows),
            Arc::clone(&backends.presence),
            Arc::clone(&inboxes),
        ));
        let router = start_router(&backends, &inboxes, &link, end.clone());
        let gateway = start_gateway(config, &backends, &inboxes, &link, &verifier);
        let api = start_api(config, &backends, &inboxes, &link, &verifier);
        let mut app = Router::new().merge(gateway.router()).merge(health.routes()).merge(api);
        if let Some(metrics) = metrics {
            app = app.merge(metrics.routes());
        }
        let working = tokio::spawn(Arc::clone(&gateway).run(end.clone()));
        let limits = ServeLimits {
            connections: config.server.connections,
            header_timeout: Duration::from_secs(config.server.header_timeout_s),
            drain_timeout: drain_time(config),
        };
        ready.set(true);
        Self { app, gateway, ready, limits, drain: drain_time(config), end, tasks: vec![router, working] }
    }

    /// Serves until a signal, drains, and ends every role.
    pub fn serve(self, listener: TcpListener, shutdown: &Shutdown) -> impl Future<Output = ()> {
        let (drain, force) = (shutdown.drain(), shutdown.force());
        let closing = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, self.app, self.limits, closing.clone()));
        async move {
            drain.cancelled().await;
            tracing::info!(drain.seconds = self.drain.as_secs(), "draining");
            self.ready.set(false);
            force.run_until_cancelled(Box::pin(self.gateway.drain(self.drain))).await;
            closing.cancel();
            if let Some(Ok(Err(error))) = force.run_until_cancelled(serving).await {
                tracing::error!(%error, "serving failed");
            }
            self.end.cancel();
            for task in self.tasks {
                force.run_until_cancelled(task).await;
            }
            tracing::info!("stopped");
        }
    }
}

fn start_router(
    backends: &Backends,
    inboxes: &Arc<Inboxes>,
    link: &Arc<dyn RouterLink>,
    end: CancellationToken,
) -> JoinHandle<()> {
    let name = node("router", backends);
    let caller = CommandCaller::new(name.clone(), Arc::clone(link), |_| {});
    inboxes.insert(name, Arc::clone(&caller) as Arc<dyn Inbox>);
    let dependencies = stonechat_router::Dependencies {
        log: Arc::clone(&backends.log),
        stream: Arc::clone(&backends.stream),
        rows: Arc::clone(&backends.rows),
        presence: Arc::clone(&backends.presence),
        inboxes: Arc::clone(inboxes),
        caller,
    };
    tokio::spawn(stonechat_router::run(dependencies, end))
}

fn start_gateway(
    config: &Config,
    backends: &Backends,
    inboxes: &Arc<Inboxes>,
    link: &Arc<dyn RouterLink>,
    verifier: &Arc<Verifier>,
) -> Arc<Gateway> {
    let settings = &config.gateway;
    let gateway_config = GatewayConfig {
        allowed_origins: settings.allowed_origins.clone(),
        hello_timeout: Duration::from_secs(settings.hello_timeout_s),
        heartbeat: Duration::from_secs(settings.heartbeat_s),
        commands_per_s: settings.commands_per_s,
        commands_burst: settings.commands_burst,
        session_queue_bytes: settings.session_queue_bytes,
        sessions_per_user: settings.sessions_per_user,
        ..GatewayConfig::new(node("gateway", backends))
    };
    let dependencies = stonechat_gateway::Dependencies {
        rows: Arc::clone(&backends.rows),
        presence: Arc::clone(&backends.presence),
        link: Arc::clone(link),
        verifier: Arc::clone(verifier),
        inboxes: Arc::clone(inboxes),
    };
    Gateway::new(gateway_config, dependencies)
}

fn start_api(
    config: &Config,
    backends: &Backends,
    inboxes: &Arc<Inboxes>,
    link: &Arc<dyn RouterLink>,
    verifier: &Arc<Verifier>,
) -> Router {
    let name = node("api", backends);
    let forget = Arc::clone(verifier);
    let caller = CommandCaller::new(name.clone(), Arc::clone(link), move |control| match control {
        Control::KeyChanged { key, .. } => forget.forget_key(&key),
        Control::TenantChanged { tenant } => forget.forget_tenant(&tenant),
    });
    inboxes.insert(name, Arc::clone(&caller) as Arc<dyn Inbox>);
    let operator_key = config.api.operator_key.expose();
    let api_config = ApiConfig {
        operator_key: (!operator_key.is_empty()).then(|| operator_key.to_owned()),
        command_timeout: Duration::from_millis(config.api.command_timeout_ms),
    };
    let dependencies = stonechat_api::Dependencies {
        rows: Arc::clone(&backends.rows),
        caller,
        presence: Arc::clone(&backends.presence),
        verifier: Arc::clone(verifier),
    };
    stonechat_api::router(api_config, dependencies)
}
