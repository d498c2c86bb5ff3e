//! The roles of this process, wired to each other and to those of other processes.

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::Router;
use stonechat_api::ApiConfig;
use stonechat_auth::Verifier;
use stonechat_config::{Config, PresenceBackend};
use stonechat_filing::{Files, FilesConfig, FilesDependencies};
use stonechat_gateway::{Gateway, GatewayConfig};
use stonechat_lifecycle::{Health, Readiness, ServeLimits, Shutdown, serve};
use stonechat_model::{GatewayId, limits, now_us};
use stonechat_operations::{Gate, GateConfig, GateDependencies};
use stonechat_quotas::{Clients, Meter};
use stonechat_router::RouterService;
use stonechat_rpc::{
    CommandCaller, Control, Inbox, Inboxes, RouterLink,
    remote::{LinkServer, PresenceServer, RouterLinks, Sharing, StorageServer},
};
use stonechat_telemetry::Metrics;
use stonechat_webhooks::{Sender, hook::Hooks};
use stonechat_webhooks_service::WebhooksConfig;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService, service::Routes};

use super::{
    Backends, drain_time,
    peers::Others,
    readiness,
    role::{Role, Roles},
};

/// How long the internal services wait for callers to go elsewhere before work is handed over.
const SAY_GOODBYE: Duration = Duration::from_millis(300);

/// How long writing down what tenants used may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Roles at work.
pub struct Running {
    app: Router,
    internal: Option<Router>,
    gateway: Option<Arc<Gateway>>,
    ready: Readiness,
    limits: ServeLimits,
    drain: Duration,
    /// Tells other processes to go elsewhere.
    goodbye: CancellationToken,
    /// Ends what other processes have open here.
    closing: CancellationToken,
    /// Ends what works behind the listeners.
    end: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// What roles are started with.
pub struct Starting<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The roles.
    pub roles: &'a Roles,
    /// The backends of the roles.
    pub backends: Backends,
    /// Other processes.
    pub others: &'a Others,
    /// Where roles say whether they are ready.
    pub health: &'a Health,
    /// The demo tenant's server key, on a development server.
    pub dev_key: Option<String>,
    /// What is measured.
    pub metrics: Option<&'a Metrics>,
    /// Tells that the process ends, to what would go on for ever.
    pub drain: CancellationToken,
    /// Ends what works behind the listeners.
    pub end: CancellationToken,
}

/// What the nodes of this process have in common.
struct Nodes {
    inboxes: Arc<Inboxes>,
    verifier: Arc<Verifier>,
    /// The gate of what is called from outside.
    gate: Arc<Gate>,
    /// Counts what tenants use.
    meter: Arc<Meter>,
    /// The router of this process.
    front: Option<Arc<dyn RouterLink>>,
    /// Sends to servers that tenants name.
    sender: Sender,
    /// Asks the hooks that messages pass.
    hooks: Arc<Hooks>,
}

/// A node's way to routers.
struct Way {
    node: GatewayId,
    link: Arc<dyn RouterLink>,
    /// Where other processes have routers.
    remote: Option<Arc<RouterLinks>>,
}

impl Starting<'_> {
    /// Starts every role.
    pub fn start(self) -> Running {
        let ready = self.health.part("process");
        let inboxes: Arc<Inboxes> = Arc::default();
        let front = self.backends.logs.as_ref().map(|logs| {
            let (log, rows) = (Arc::clone(&logs.commands), Arc::clone(&self.backends.rows));
            let presence = Arc::clone(&self.backends.presence);
            Arc::new(RouterService::new(log, rows, presence, Arc::clone(&inboxes))) as Arc<dyn RouterLink>
        });
        let verifier = Arc::new(Verifier::new(Arc::clone(&self.backends.rows)));
        let meter = Arc::new(Meter::new(Arc::clone(&self.backends.rows), &self.backends.start));
        let gate = self.gate(&verifier, &meter);
        let sender = super::outbound::sender(self.config);
        let hooks = Arc::new(Hooks::new(Arc::clone(&self.backends.rows), sender.outbound().clone()));
        let nodes = Nodes { inboxes, verifier, gate, meter, front, sender, hooks };
        let mut tasks = vec![tokio::spawn(flush_usage(Arc::clone(&nodes.meter), self.end.clone()))];
        let (goodbye, closing) = (CancellationToken::new(), CancellationToken::new());
        let internal = self.internal(&nodes, &goodbye, &closing);
        let mut app = Router::new().merge(self.health.routes());
        if self.roles.has(Role::Router) {
            tasks.extend(self.start_router(&nodes));
        }
        if self.roles.has(Role::Webhooks) {
            tasks.extend(self.start_webhooks(&nodes));
        }
        let gateway = self.roles.has(Role::Gateway).then(|| self.start_gateway(&nodes));
        if let Some(gateway) = &gateway {
            app = app.merge(gateway.router());
            tasks.push(tokio::spawn(Arc::clone(gateway).run(self.end.clone())));
        }
        if self.roles.has(Role::Api) {
            app = app.merge(self.start_api(&nodes));
        }
        if self.roles.has(Role::Files) {
            app = app.merge(self.start_files(&nodes, &mut tasks));
        }
        if let Some(metrics) = self.metrics {
            app = app.merge(metrics.routes());
        }
        ready.set(true);
        let (limits, drain) = (self.serve_limits(), drain_time(self.config));
        Running { app, internal, gateway, ready, limits, drain, goodbye, closing, end: self.end, tasks }
    }

    /// The gate of what is called from outside.
    fn gate(&self, verifier: &Arc<Verifier>, meter: &Arc<Meter>) -> Arc<Gate> {
        let operator_key = self.config.api.operator_key.expose();
        let config = GateConfig {
            operator_key: (!operator_key.is_empty()).then(|| operator_key.to_owned()),
            processes: self.config.quotas.api_processes,
        };
        let dependencies = GateDependencies {
            verifier: Arc::clone(verifier),
            rows: Arc::clone(&self.backends.rows),
            meter: Arc::clone(meter),
        };
        Arc::new(Gate::new(config, dependencies))
    }

    fn serve_limits(&self) -> ServeLimits {
        ServeLimits {
            connections: self.config.server.connections,
            header_timeout: Duration::from_secs(self.config.server.header_timeout_s),
            drain_timeout: drain_time(self.config),
            ..ServeLimits::default()
        }
    }

    /// A node's name: what it is, and which start of its process it is of.
    fn name(&self, role: &str) -> GatewayId {
        let name = format!("{role}-{}", self.backends.start);
        GatewayId::parse(&name).unwrap_or_else(|_| unreachable!("a role's name is an id"))
    }

    /// What other processes call here; nothing where all roles are in this one and no other is known.
    fn internal(&self, nodes: &Nodes, goodbye: &CancellationToken, closing: &CancellationToken) -> Option<Router> {
        if self.roles.are_all() && self.config.cluster.routers.is_empty() {
            return None;
        }
        let mut routes = Routes::builder();
        let mut served = Vec::new();
        if let Some(front) = &nodes.front {
            let link =
                LinkServer::service(Arc::clone(front), Arc::clone(&nodes.inboxes), goodbye.clone(), closing.clone());
            served.push(name_of(&link));
            routes.add_service(link);
        }
        if self.roles.has(Role::Storage) {
            let storage = StorageServer::service(Arc::clone(&self.backends.rows), goodbye.clone());
            served.push(name_of(&storage));
            routes.add_service(storage);
        }
        if self.roles.has(Role::Presence) {
            let sharing = match self.config.presence.backend {
                PresenceBackend::Memory => Sharing::Alone,
                PresenceBackend::Redis => Sharing::All,
            };
            let presence = PresenceServer::service(Arc::clone(&self.backends.presence), sharing, goodbye.clone());
            served.push(name_of(&presence));
            routes.add_service(presence);
        }
        if served.is_empty() {
            return None;
        }
        routes.add_service(readiness::grpc(self.health, served, self.end.clone()));
        Some(routes.routes().into_axum_router())
    }

    /// How a node reaches routers.
    fn way(&self, role: &str, nodes: &Nodes) -> Way {
        let node = self.name(role);
        match &nodes.front {
            Some(front) if self.config.cluster.routers.is_empty() => {
                Way { node, link: Arc::clone(front), remote: None }
            }
            front => {
                let links = RouterLinks::new(node.clone(), front.clone());
                Way { node, link: Arc::clone(&links) as Arc<dyn RouterLink>, remote: Some(links) }
            }
        }
    }

    /// Links a node to the routers of other processes.
    fn link(&self, way: Way, nodes: &Nodes, inbox: Arc<dyn Inbox>) {
        let Some(links) = way.remote else { return };
        let peers = self.others.find(&self.config.cluster.routers);
        if nodes.front.is_none() {
            readiness::follow(self.health.part("routers"), links.ready(), self.end.clone());
        }
        tokio::spawn(links.run(peers, inbox, self.end.clone()));
    }

    fn start_router(&self, nodes: &Nodes) -> Option<JoinHandle<()>> {
        let logs = self.backends.logs.clone()?;
        let way = self.way("router", nodes);
        let caller = CommandCaller::new(way.node.clone(), Arc::clone(&way.link), |_| {});
        nodes.inboxes.insert(way.node.clone(), Arc::clone(&caller) as Arc<dyn Inbox>);
        self.link(way, nodes, Arc::clone(&caller) as Arc<dyn Inbox>);
        let dependencies = stonechat_router::Dependencies {
            log: logs.commands,
            stream: logs.events,
            rows: Arc::clone(&self.backends.rows),
            presence: Arc::clone(&self.backends.presence),
            inboxes: Arc::clone(&nodes.inboxes),
            caller,
        };
        Some(tokio::spawn(stonechat_router::run(dependencies, self.end.clone())))
    }

    fn start_webhooks(&self, nodes: &Nodes) -> Option<JoinHandle<()>> {
        let (rows, sender) = (Arc::clone(&self.backends.rows), nodes.sender.clone());
        let stream = self.backends.events.clone()?;
        let schedule = self.config.webhooks.retry_schedule_s.iter().map(|seconds| Duration::from_secs(*seconds));
        let config = WebhooksConfig { schedule: schedule.collect() };
        let dependencies = stonechat_webhooks_service::Dependencies { rows, stream, sender };
        Some(tokio::spawn(stonechat_webhooks_service::run(config, dependencies, self.end.clone())))
    }

    fn start_gateway(&self, nodes: &Nodes) -> Arc<Gateway> {
        let settings = &self.config.gateway;
        let way = self.way("gateway", nodes);
        let gateway_config = GatewayConfig {
            allowed_origins: settings.allowed_origins.clone(),
            hello_timeout: Duration::from_secs(settings.hello_timeout_s),
            heartbeat: Duration::from_secs(settings.heartbeat_s),
            commands_per_s: settings.commands_per_s,
            commands_burst: settings.commands_burst,
            session_queue_bytes: settings.session_queue_bytes,
            syncs_at_once: settings.syncs_at_once,
            sessions_per_user: settings.sessions_per_user,
            ..GatewayConfig::new(way.node.clone())
        };
        let dependencies = stonechat_gateway::Dependencies {
            rows: Arc::clone(&self.backends.rows),
            presence: Arc::clone(&self.backends.presence),
            link: Arc::clone(&way.link),
            verifier: Arc::clone(&nodes.verifier),
            clients: Arc::new(Clients::new(
                Arc::clone(&self.backends.rows),
                Arc::clone(&nodes.meter),
                self.config.quotas.gateway_processes,
            )),
            hooks: Arc::clone(&nodes.hooks),
            inboxes: Arc::clone(&nodes.inboxes),
        };
        let gateway = Gateway::new(gateway_config, dependencies);
        self.link(way, nodes, gateway.inbox());
        gateway
    }

    /// Serves files, and looks at what is due of them.
    fn start_files(&self, nodes: &Nodes, tasks: &mut Vec<JoinHandle<()>>) -> Router {
        let Some(store) = self.backends.store.clone() else { return Router::new() };
        if !self.roles.has(Role::Api) && !self.config.cluster.routers.is_empty() {
            // The api of another process says when a key is disabled.
            self.listen_to_controls("files", nodes);
        }
        let config = FilesConfig {
            max_bytes: self.config.files.max_bytes,
            unreferenced_s: self.config.files.unreferenced_h * 3_600,
            direct_link: Duration::from_secs(self.config.files.direct_link_s),
        };
        let dependencies =
            FilesDependencies { rows: Arc::clone(&self.backends.rows), store, scanner: self.backends.scanner() };
        let files = Arc::new(Files::new(config, dependencies));
        let (sweeping, end) = (Arc::clone(&files), self.end.clone());
        tasks.push(tokio::spawn(sweeping.sweep(end)));
        stonechat_files::router(files, Arc::clone(&nodes.gate))
    }

    /// A node that sends commands and hears of changes to keys and tenants.
    fn listen_to_controls(&self, role: &str, nodes: &Nodes) -> Arc<CommandCaller> {
        let way = self.way(role, nodes);
        let forget = Arc::clone(&nodes.verifier);
        let caller = CommandCaller::new(way.node.clone(), Arc::clone(&way.link), move |control| match control {
            Control::KeyChanged { key, .. } => forget.forget_key(&key),
            Control::TenantChanged { tenant } => forget.forget_tenant(&tenant),
        });
        nodes.inboxes.insert(way.node.clone(), Arc::clone(&caller) as Arc<dyn Inbox>);
        self.link(way, nodes, Arc::clone(&caller) as Arc<dyn Inbox>);
        caller
    }

    fn start_api(&self, nodes: &Nodes) -> Router {
        let caller = self.listen_to_controls("api", nodes);
        let api_config = ApiConfig {
            dev_key: self.dev_key.clone(),
            command_timeout: Duration::from_millis(self.config.api.command_timeout_ms),
            // Where files are another process's, only that one knows its store.
            may_allow_direct: self.backends.store.as_ref().is_none_or(|store| store.has_direct()),
        };
        let dependencies = stonechat_api::Dependencies {
            rows: Arc::clone(&self.backends.rows),
            caller,
            presence: Arc::clone(&self.backends.presence),
            gate: Arc::clone(&nodes.gate),
            sender: nodes.sender.clone(),
            drain: self.drain.clone(),
            hooks: Arc::clone(&nodes.hooks),
        };
        let (app, jobs) = stonechat_api::router(api_config, dependencies, &super::operations::others());
        tokio::spawn(jobs.run(self.end.clone()));
        app
    }
}

impl Running {
    /// Whether other processes call this one.
    pub fn is_called(&self) -> bool {
        self.internal.is_some()
    }

    /// Serves until a signal, drains, and ends every role. Other processes are served on `internal`.
    pub fn serve(
        self,
        listener: TcpListener,
        internal: Option<TcpListener>,
        others: &Others,
        shutdown: &Shutdown,
    ) -> impl Future<Output = ()> {
        let (drain, force) = (shutdown.drain(), shutdown.force());
        let closing = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, self.app, self.limits, closing.clone()));
        let internal_serving = self
            .internal
            .zip(internal)
            .map(|(app, listener)| others.serve(listener, app, self.limits, self.closing.clone()));
        async move {
            drain.cancelled().await;
            tracing::info!(drain.seconds = self.drain.as_secs(), "draining");
            self.ready.set(false);
            self.goodbye.cancel();
            match &self.gateway {
                Some(gateway) => {
                    force.run_until_cancelled(Box::pin(gateway.drain(self.drain))).await;
                }
                None if internal_serving.is_some() => {
                    force.run_until_cancelled(tokio::time::sleep(SAY_GOODBYE)).await;
                }
                None => {}
            }
            closing.cancel();
            ended(force.run_until_cancelled(serving).await);
            self.end.cancel();
            for task in self.tasks {
                force.run_until_cancelled(task).await;
            }
            self.closing.cancel();
            if let Some(serving) = internal_serving {
                ended(force.run_until_cancelled(serving).await);
            }
            tracing::info!("stopped");
        }
    }
}

/// The full name of a gRPC service.
fn name_of<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}

/// Writes down what tenants used, now and then and at the end.
async fn flush_usage(meter: Arc<Meter>, end: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_secs(limits::USAGE_FLUSH_S));
    loop {
        let ends = end.run_until_cancelled(every.tick()).await.is_none();
        match tokio::time::timeout(FLUSH_TIMEOUT, meter.flush(now_us())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "what tenants used was not written down yet"),
            Err(_) => tracing::warn!("what tenants used was not written down in time"),
        }
        if ends {
            return;
        }
    }
}

fn ended(result: Option<Result<io::Result<()>, tokio::task::JoinError>>) {
    if let Some(Ok(Err(error))) = result {
        tracing::error!(%error, "serving failed");
    }
}
