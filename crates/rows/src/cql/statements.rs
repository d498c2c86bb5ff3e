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
/// Most parts of a clustering key.
const PARTS: usize = 3;
/// Ranges by the parts of their first, of their end, and whether they go backwards.
const RANGES: usize = 2 * (PARTS + 1) * (PARTS + 1);

/// The statements of one table.
pub(super) struct Statements {
    pub table: &'static Table,
    put: OnceCell<PreparedStatement>,
    get: OnceCell<PreparedStatement>,
    get_some: OnceCell<PreparedStatement>,
    get_across: OnceCell<PreparedStatement>,
    delete: OnceCell<PreparedStatement>,
    delete_partition: OnceCell<PreparedStatement>,
    insert_new: OnceCell<PreparedStatement>,
    replace: OnceCell<PreparedStatement>,
    ranges: Vec<OnceCell<PreparedStatement>>,
}

/// Whether a statement may be done twice, and asked of a second node when the first is slow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Repeatable,
    Conditional,
}

impl Statements {
    pub fn new(table: &'static Table) -> Self {
        let (put, get, get_some, get_across, delete, delete_partition, insert_new, replace) = Default::default();
        let ranges = (0..RANGES).map(|_| OnceCell::new()).collect();
        Self { table, put, get, get_some, get_across, delete, delete_partition, insert_new, replace, ranges }
    }

    /// The first of the clustering columns.
    fn clustering(&self, count: usize) -> String {
        self.table.clustering.iter().take(count).map(|column| column.name).collect::<Vec<_>>().join(", ")
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

    /// For tables with one clustering part. Values: partition, list of them. Columns: clustering part, value, version.
    pub async fn get_some(&self, session: &Session) -> Result<&PreparedStatement, RowsError> {
        let text = || {
            let clustering = self.clustering(1);
            let partition = self.where_partition();
            let table = self.table.name;
            format!("SELECT {clustering}, value, version FROM {table} WHERE {partition} AND {clustering} IN ?")
        };
        prepared(session, &self.get_some, Kind::Repeatable, text).await
    }

    /// For keys that differ in the last column of their partition only. Values: the other columns of the partition, list of
    /// what is in the last one, clustering. Columns: the last one of the partition, value, version.
    pub async fn get_across(&self, session: &Session) -> Result<&PreparedStatement, RowsError> {
        let no_partition = || RowsError::BadRequest(format!("{} has no partition", self.table.name));
        let (last, others) = self.table.partition.split_last().ok_or_else(no_partition)?;
        let text = || {
            let equal = others.iter().map(|column| format!("{} = ? AND ", column.name)).collect::<String>();
            let within = self.table.clustering.iter().map(|column| format!(" AND {} = ?", column.name));
            let (name, table, within) = (last.name, self.table.name, within.collect::<String>());
            format!("SELECT {name}, value, version FROM {table} WHERE {equal}{name} IN ?{within}")
        };
        prepared(session, &self.get_across, Kind::Repeatable, text).await
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

    /// Ranges whose first and end have so many clustering parts, 0 where there is none.
    /// Values: partition, parts of the first, parts of what is after the last, limit.
    /// Columns: every clustering part, value, version.
    pub async fn range(
        &self,
        session: &Session,
        (from, until, reverse): (usize, usize, bool),
    ) -> Result<&PreparedStatement, RowsError> {
        let place = from + (PARTS + 1) * (until + (PARTS + 1) * usize::from(reverse));
        let not_kept = || RowsError::BadRequest(format!("too many parts of a key of {}", self.table.name));
        let text = || {
            let (table, mut filter) = (self.table.name, self.where_partition());
            // As tuples, which are compared part by part; fewer parts are before all that begin with them.
            for (count, comparison) in [(from, ">="), (until, "<")].into_iter().filter(|(count, _)| *count > 0) {
                let marks = vec!["?"; count].join(", ");
                filter.push_str(&format!(" AND ({}) {comparison} ({marks})", self.clustering(count)));
            }
            let descending = || self.table.clustering.iter().map(|column| format!("{} DESC", column.name));
            let order = match reverse {
                true => format!(" ORDER BY {}", descending().collect::<Vec<_>>().join(", ")),
                false => String::new(),
            };
            let clustering = self.clustering(self.table.clustering.len());
            format!("SELECT {clustering}, value, version FROM {table} WHERE {filter}{order} LIMIT ?")
        };
        prepared(session, self.ranges.get(place).ok_or_else(not_kept)?, Kind::Repeatable, text).await
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
