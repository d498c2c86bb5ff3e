//! The statements of a table, prepared when they are first needed.

use scylla::{
    client::session::Session,
    statement::{SerialConsistency, prepared::PreparedStatement},
};
use tokio::sync::OnceCell;

use super::failed;
use crate::{RowsError, Table};

/// Rows of one page of a range.
const PAGE_ROWS: i32 = 1_000;
/// Ranges by whether they have a first, an end, and go backwards.
const RANGES: usize = 8;

/// The statements of one table.
pub(super) struct Statements {
    pub table: &'static Table,
    put: OnceCell<PreparedStatement>,
    get: OnceCell<PreparedStatement>,
    get_some: OnceCell<PreparedStatement>,
    delete: OnceCell<PreparedStatement>,
    delete_partition: OnceCell<PreparedStatement>,
    insert_new: OnceCell<PreparedStatement>,
    replace: OnceCell<PreparedStatement>,
    ranges: [OnceCell<PreparedStatement>; RANGES],
}

/// Whether a statement may be done twice, and asked of a second node when the first is slow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Repeatable,
    Conditional,
}

impl Statements {
    pub fn new(table: &'static Table) -> Self {
        let (put, get, get_some, delete, delete_partition, insert_new, replace, ranges) = Default::default();
        Self { table, put, get, get_some, delete, delete_partition, insert_new, replace, ranges }
    }

    fn columns(&self) -> Vec<&'static str> {
        self.table.partition.iter().chain(self.table.clustering).map(|column| column.name).collect()
    }

    fn where_key(&self) -> String {
        self.columns().iter().map(|name| format!("{name} = ?")).collect::<Vec<_>>().join(" AND ")
    }

    fn where_partition(&self) -> String {
        self.table.partition.iter().map(|column| format!("{} = ?", column.name)).collect::<Vec<_>>().join(" AND ")
    }

    fn insert(&self, condition: &str) -> String {
        let columns = self.columns();
        let marks = vec!["?"; columns.len() + 2].join(", ");
        format!("INSERT INTO {} ({}, value, version) VALUES ({marks}){condition}", self.table.name, columns.join(", "))
    }

    /// Values: key, value, version, then the version again as timestamp and, in tables that expire, seconds to live.
    pub async fn put(&self, session: &Session) -> Result<&PreparedStatement, RowsError> {
        let ttl = if self.table.expires { " AND TTL ?" } else { "" };
        prepared(session, &self.put, Kind::Repeatable, || self.insert(&format!(" USING TIMESTAMP ?{ttl}"))).await
    }

    /// Values: key. Columns: value, version.
    pub async fn get(&self, session: &Session) -> Result<&PreparedStatement, RowsError> {
        let text = || format!("SELECT value, version FROM {} WHERE {}", self.table.name, self.where_key());
        prepared(session, &self.get, Kind::Repeatable, text).await
    }

    /// Values: partition, list of clustering parts. Columns: clustering part, value, version.
    pub async fn get_some(&self, session: &Session) -> Result<&PreparedStatement, RowsError> {
        let text = || {
            let clustering = self.table.clustering.first().map_or("", |column| column.name);
            let partition = self.where_partition();
            let table = self.table.name;
            format!("SELECT {clustering}, value, version FROM {table} WHERE {partition} AND {clustering} IN ?")
        };
        prepared(session, &self.get_some, Kind::Repeatable, text).await
    }

    /// Values: timestamp, key.
    pub async fn delete(&self, session: &Session) -> Result<&PreparedStatement, RowsError> {
        let text = || format!("DELETE FROM {} USING TIMESTAMP ? WHERE {}", self.table.name, self.where_key());
        prepared(session, &self.delete, Kind::Repeatable, text).await
    }

    /// Values: timestamp, partition.
    pub async fn delete_partition(&self, session: &Session) -> Result<&PreparedStatement, RowsError> {
        let text = || format!("DELETE FROM {} USING TIMESTAMP ? WHERE {}", self.table.name, self.where_partition());
        prepared(session, &self.delete_partition, Kind::Repeatable, text).await
    }

    /// Values: key, value, version and, in tables that expire, seconds to live.
    pub async fn insert_new(&self, session: &Session) -> Result<&PreparedStatement, RowsError> {
        let ttl = if self.table.expires { " USING TTL ?" } else { "" };
        prepared(session, &self.insert_new, Kind::Conditional, || self.insert(&format!(" IF NOT EXISTS{ttl}"))).await
    }

    /// Values: in tables that expire seconds to live, then value, version, key, expected version.
    pub async fn replace(&self, session: &Session) -> Result<&PreparedStatement, RowsError> {
        let text = || {
            let key = self.where_key();
            let ttl = if self.table.expires { " USING TTL ?" } else { "" };
            format!("UPDATE {}{ttl} SET value = ?, version = ? WHERE {key} IF version = ?", self.table.name)
        };
        prepared(session, &self.replace, Kind::Conditional, text).await
    }

    /// Values: partition, the first clustering part and the one after the last where they are given, limit.
    /// Columns: clustering part, value, version.
    pub async fn range(
        &self,
        session: &Session,
        (from, until, reverse): (bool, bool, bool),
    ) -> Result<&PreparedStatement, RowsError> {
        let place = usize::from(from) + 2 * usize::from(until) + 4 * usize::from(reverse);
        let text = || {
            let clustering = self.table.clustering.first().map_or("", |column| column.name);
            let (table, mut filter) = (self.table.name, self.where_partition());
            if from {
                filter.push_str(&format!(" AND {clustering} >= ?"));
            }
            if until {
                filter.push_str(&format!(" AND {clustering} < ?"));
            }
            let order = if reverse { format!(" ORDER BY {clustering} DESC") } else { String::new() };
            format!("SELECT {clustering}, value, version FROM {table} WHERE {filter}{order} LIMIT ?")
        };
        prepared(session, &self.ranges[place], Kind::Repeatable, text).await
    }
}

async fn prepared<'a>(
    session: &Session,
    cell: &'a OnceCell<PreparedStatement>,
    kind: Kind,
    text: impl FnOnce() -> String,
) -> Result<&'a PreparedStatement, RowsError> {
    cell.get_or_try_init(|| async {
        let mut prepared = session.prepare(text()).await.map_err(failed)?;
        prepared.set_page_size(PAGE_ROWS);
        match kind {
            Kind::Repeatable => prepared.set_is_idempotent(true),
            Kind::Conditional => prepared.set_serial_consistency(Some(SerialConsistency::LocalSerial)),
        }
        Ok(prepared)
    })
    .await
}
