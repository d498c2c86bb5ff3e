//! Keyspace and tables: made, and looked at before they are used.

use std::{collections::BTreeMap, time::Duration};

use scylla::{client::session::Session, value::CqlValue};

use super::{CqlConfig, connect, failed, policy};
use crate::{ColumnKind, RowsError, Table, tables};

/// What the schema has been brought to, each step once; a new one is added at the end.
const MIGRATIONS: &[(i32, &str)] = &[(1, "the tables of the first release")];
/// Where that is kept.
const MIGRATIONS_TABLE: &str =
    "CREATE TABLE IF NOT EXISTS schema_migrations (id int PRIMARY KEY, name text, applied timestamp)";
/// Rows that are written once and read where they were written: few files hold a partition, merging files of alike
/// sizes writes least.
const WRITTEN_ONCE: &str = "{'class': 'SizeTieredCompactionStrategy'}";
/// Rows that are written again and again and read by their key: a read looks into one file of a level.
const REWRITTEN: &str = "{'class': 'LeveledCompactionStrategy', 'sstable_size_in_mb': 160}";
/// Rows that expire. Not by time windows: those go by write timestamps, which are positions here. What has expired
/// is looked for in each file by itself.
const EXPIRING: &str = "{'class': 'SizeTieredCompactionStrategy', 'tombstone_threshold': 0.2, \
     'tombstone_compaction_interval': 21600, 'unchecked_tombstone_compaction': true}";
/// How long a deletion is remembered, so that a node that was away cannot bring the row back; repairs are to be run
/// more often.
const GRACE_S: u32 = 864_000;
/// Of tables whose rows only expire: long enough for hints to a node that was away.
const EXPIRING_GRACE_S: u32 = 10_800;

/// How often making is tried.
const TRIES: u32 = 5;
/// The pause between tries.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// On how many nodes each row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication(pub u32);

/// What [`prepare`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CqlPrepared {
    /// The keyspace and the tables that were made; none when all were there.
    pub made: Vec<String>,
}

/// Makes the keyspace and the tables where they are not there, and looks whether all fits. It can be repeated, and done
/// by several at once.
///
/// # Errors
/// Everything that does not fit; nodes that do not answer.
pub async fn prepare(config: &CqlConfig, replication: Replication) -> Result<CqlPrepared, RowsError> {
    check_name(&config.keyspace)?;
    let session = connect(config, policy(config)).await?;
    let mut tries = 1;
    loop {
        match make(&session, config, replication).await {
            // What another one makes just now may be there by half.
            Err(error) if error.is_retryable() && tries < TRIES => tokio::time::sleep(RETRY_PAUSE).await,
            result => return result,
        }
        tries += 1;
    }
}

async fn make(session: &Session, config: &CqlConfig, replication: Replication) -> Result<CqlPrepared, RowsError> {
    let mut made = Vec::new();
    let keyspace = &config.keyspace;
    if !has_keyspace(session, keyspace).await? {
        let datacenter = match &config.datacenter {
            Some(name) => name.clone(),
            None => own_datacenter(session).await?,
        };
        let statement = format!(
            "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', '{datacenter}': {}}}",
            replication.0
        );
        session.query_unpaged(statement, ()).await.map_err(failed)?;
        made.push(format!("keyspace {keyspace}"));
    }
    session.use_keyspace(keyspace, false).await.map_err(failed)?;
    session.query_unpaged(MIGRATIONS_TABLE, ()).await.map_err(failed)?;
    let present = columns(session, keyspace).await?;
    for table in tables::ALL.iter().filter(|table| !present.contains_key(table.name)) {
        session.query_unpaged(create(table), ()).await.map_err(failed)?;
        made.push(format!("table {keyspace}.{}", table.name));
    }
    for (id, name) in MIGRATIONS {
        let insert =
            "INSERT INTO schema_migrations (id, name, applied) VALUES (?, ?, toTimestamp(now())) IF NOT EXISTS";
        session.query_unpaged(insert, (id, name)).await.map_err(failed)?;
    }
    check(session, keyspace).await?;
    Ok(CqlPrepared { made })
}

/// Takes every row out, for tests.
///
/// # Errors
/// Nodes that do not answer.
#[cfg(feature = "conformance")]
pub async fn truncate(config: &CqlConfig) -> Result<(), RowsError> {
    check_name(&config.keyspace)?;
    let session = connect(config, policy(config)).await?;
    for table in tables::ALL {
        let name = format!("{}.{}", config.keyspace, table.name);
        let any = session.query_unpaged(format!("SELECT version FROM {name} LIMIT 1"), ()).await.map_err(failed)?;
        // Looking is quick, truncating is not.
        if any.into_rows_result().map_err(failed)?.rows_num() == 0 {
            continue;
        }
        let statement = format!("TRUNCATE {name}");
        session.query_unpaged(statement, ()).await.map_err(failed)?;
    }
    Ok(())
}

/// A keyspace's name stands in statements as it is.
pub(super) fn check_name(keyspace: &str) -> Result<(), RowsError> {
    let mut bytes = keyspace.bytes();
    let is_name = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && keyspace.len() <= 48;
    if is_name {
        return Ok(());
    }
    Err(RowsError::BadRequest(format!("keyspace {keyspace:?} must be at most 48 of a-z, 0-9 and _, a letter first")))
}

/// Looks whether every table is there and of its shape.
pub(super) async fn check(session: &Session, keyspace: &str) -> Result<(), RowsError> {
    let present = columns(session, keyspace).await?;
    let mut wrong = Vec::new();
    for table in tables::ALL {
        match present.get(table.name) {
            None => wrong.push(format!("table {} is missing", table.name)),
            Some(columns) if *columns != expected(table) => {
                wrong.push(format!("table {} has other columns", table.name))
            }
            Some(_) => {}
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let wrong = wrong.join(", ");
    Err(RowsError::BadRequest(format!("keyspace {keyspace} does not fit ({wrong}): run `stonechat admin prepare`")))
}

fn type_of(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text => "text",
        ColumnKind::Number => "bigint",
    }
}

/// Columns with kind, position and type.
type Columns = BTreeMap<String, (String, i32, String)>;

fn expected(table: &Table) -> Columns {
    let keys = |columns: &'static [crate::Column], kind: &'static str| {
        let column = move |(column, position): (&crate::Column, i32)| {
            (column.name.to_owned(), (kind.to_owned(), position, type_of(column.kind).to_owned()))
        };
        columns.iter().zip(0..).map(column)
    };
    let regular = [("value", "blob"), ("version", "bigint")]
        .map(|(name, kind)| (name.to_owned(), ("regular".to_owned(), -1, kind.to_owned())));
    keys(table.partition, "partition_key").chain(keys(table.clustering, "clustering")).chain(regular).collect()
}

fn create(table: &Table) -> String {
    let columns = table.partition.iter().chain(table.clustering);
    let columns: Vec<String> = columns.map(|column| format!("{} {}", column.name, type_of(column.kind))).collect();
    let names = |columns: &[crate::Column]| columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
    let clustering = if table.clustering.is_empty() { String::new() } else { format!(", {}", names(table.clustering)) };
    let (compaction, grace_s) = match table {
        _ if table.expires => (EXPIRING, EXPIRING_GRACE_S),
        _ if std::ptr::eq(table, &tables::EVENTS) => (WRITTEN_ONCE, GRACE_S),
        _ => (REWRITTEN, GRACE_S),
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {} ({}, value blob, version bigint, PRIMARY KEY (({}){clustering})) \
         WITH compaction = {compaction} AND gc_grace_seconds = {grace_s}",
        table.name,
        columns.join(", "),
        names(table.partition),
    )
}

async fn has_keyspace(session: &Session, keyspace: &str) -> Result<bool, RowsError> {
    let statement = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let result = session.query_unpaged(statement, (keyspace,)).await.map_err(failed)?;
    Ok(result.into_rows_result().map_err(failed)?.rows_num() > 0)
}

async fn own_datacenter(session: &Session) -> Result<String, RowsError> {
    let result = session.query_unpaged("SELECT data_center FROM system.local", ()).await.map_err(failed)?;
    let rows = result.into_rows_result().map_err(failed)?;
    let (name,) = rows.first_row::<(String,)>().map_err(failed)?;
    Ok(name)
}

/// The columns of every table of a keyspace.
async fn columns(session: &Session, keyspace: &str) -> Result<BTreeMap<String, Columns>, RowsError> {
    let statement = "SELECT table_name, column_name, kind, position, type FROM system_schema.columns \
                     WHERE keyspace_name = ?";
    let result = session.query_unpaged(statement, (CqlValue::Text(keyspace.to_owned()),)).await.map_err(failed)?;
    let rows = result.into_rows_result().map_err(failed)?;
    let mut tables: BTreeMap<String, Columns> = BTreeMap::new();
    for row in rows.rows::<(String, String, String, i32, String)>().map_err(failed)? {
        let (table, column, kind, position, of_type) = row.map_err(failed)?;
        tables.entry(table).or_default().insert(column, (kind, position, of_type));
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_column_for_each_part_of_its_key() {
        let events = create(&tables::EVENTS);
        assert!(events.starts_with(
            "CREATE TABLE IF NOT EXISTS events (tenant text, log text, bucket bigint, seq bigint, value blob, \
             version bigint, PRIMARY KEY ((tenant, log, bucket), seq)) WITH compaction = "
        ));
        assert!(create(&tables::HEADS).contains("PRIMARY KEY ((tenant, log))) WITH"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "1a", "A", "a-b", "a; drop keyspace b", "\"a\"", &"a".repeat(49)] {
            check_name(name).unwrap_err();
        }
        check_name("stonechat_1").unwrap();
    }
}
