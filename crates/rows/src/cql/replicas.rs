//! Which nodes have a row, so that one of them is asked for several at once.

use std::sync::Arc;

use scylla::{
    cluster::{ClusterState, NodeRef},
    policies::load_balancing::{FallbackPlan, LoadBalancingPolicy, RoutingInfo},
    routing::{Shard, Token},
};
use smallvec::SmallVec;

use super::{Store, failed, values::part_value};
use crate::{Key, RowsError};

/// The nodes that have a row, by their ids, in the order of these.
pub(super) type Replicas = SmallVec<[u128; 3]>;

impl Store {
    /// Where the ring has a row.
    pub(super) async fn token_of(&self, key: &Key) -> Result<Option<Token>, RowsError> {
        let statement = self.statements(key.table)?.get(&self.session).await?;
        let values = key.parts.iter().map(part_value).collect::<Result<Vec<_>, _>>()?;
        statement.calculate_token(&values).map_err(failed)
    }

    /// The nodes that have each of these rows. Rows of the same nodes can be asked of one of them at once, and none is
    /// asked of more nodes than if it were asked for alone.
    pub(super) async fn replicas_of(&self, keys: impl Iterator<Item = &Key>) -> Result<Vec<Replicas>, RowsError> {
        let cluster = self.session.get_cluster_state();
        let mut all = Vec::with_capacity(keys.size_hint().0);
        for key in keys {
            let mut replicas = Replicas::new();
            if let Some(token) = self.token_of(key).await? {
                let nodes = cluster.get_token_endpoints(&self.keyspace, key.table.name, token);
                replicas.extend(nodes.iter().map(|(node, _)| node.host_id.as_u128()));
                replicas.sort_unstable();
            }
            all.push(replicas);
        }
        Ok(all)
    }
}

/// Asks the nodes that have a certain row, for a statement of which the driver cannot tell where its rows are.
#[derive(Debug)]
pub(super) struct Near {
    policy: Arc<dyn LoadBalancingPolicy>,
    token: Token,
}

impl Near {
    /// By this policy, as if it were asked for the row at the token.
    pub fn new(policy: &Arc<dyn LoadBalancingPolicy>, token: Token) -> Arc<Self> {
        Arc::new(Self { policy: Arc::clone(policy), token })
    }

    fn of_row<'a>(&self, request: &RoutingInfo<'a>) -> RoutingInfo<'a> {
        let mut request = request.clone();
        request.token = Some(self.token);
        request
    }
}

impl LoadBalancingPolicy for Near {
    fn pick<'a>(&'a self, request: &'a RoutingInfo, cluster: &'a ClusterState) -> Option<(NodeRef<'a>, Option<Shard>)> {
        let (id, shard) =
            self.policy.pick(&self.of_row(request), cluster).map(|(node, shard)| (node.host_id, shard))?;
        Some((cluster.get_node_by_host_id(id)?, shard))
    }

    fn fallback<'a>(&'a self, request: &'a RoutingInfo, cluster: &'a ClusterState) -> FallbackPlan<'a> {
        let request = self.of_row(request);
        let nodes = self.policy.fallback(&request, cluster).map(|(node, shard)| (node.host_id, shard));
        let nodes: Vec<_> = nodes.collect();
        Box::new(nodes.into_iter().filter_map(|(id, shard)| Some((cluster.get_node_by_host_id(id)?, shard))))
    }

    fn name(&self) -> String {
        "Near".to_owned()
    }
}
