//! Values of CQL, and rows made of them.

use scylla::value::CqlValue;

use crate::{ColumnKind, Key, KeyPart, Row, RowsError, Table};

/// A part of a key.
pub(super) fn part_value(part: &KeyPart) -> Result<CqlValue, RowsError> {
    match part {
        KeyPart::Text(text) => Ok(CqlValue::Text(text.to_string())),
        // Signed there: greater ones would be ordered before all others.
        KeyPart::Number(number) => i64::try_from(*number)
            .map(CqlValue::BigInt)
            .map_err(|_| RowsError::BadRequest(format!("{number} is too great for a key"))),
    }
}

/// A version, which is also a timestamp.
pub(super) fn version_value(version: u64) -> Result<CqlValue, RowsError> {
    let version = i64::try_from(version);
    version.map(CqlValue::BigInt).map_err(|_| RowsError::BadRequest("version is too great".to_owned()))
}

fn corrupt(table: &Table) -> RowsError {
    RowsError::Corrupt(format!("row of {} is not of its shape", table.name))
}

/// The row of a key: value, version.
pub(super) fn found(key: Key, columns: Vec<Option<CqlValue>>) -> Result<Row, RowsError> {
    let mut columns = columns.into_iter();
    match (columns.next(), columns.next()) {
        (Some(Some(CqlValue::Blob(value))), Some(Some(CqlValue::BigInt(version)))) => {
            let version = u64::try_from(version).map_err(|_| corrupt(key.table))?;
            Ok(Row { key, value: value.into(), version })
        }
        _ => Err(corrupt(key.table)),
    }
}

/// The part of a key in the column at this place among those of the key.
pub(super) fn key_part(table: &Table, place: usize, value: Option<CqlValue>) -> Result<KeyPart, RowsError> {
    let column = table.partition.iter().chain(table.clustering).nth(place);
    match (column.map(|column| column.kind), value) {
        (Some(ColumnKind::Text), Some(CqlValue::Text(text))) => Ok(KeyPart::from(text.as_str())),
        (Some(ColumnKind::Number), Some(CqlValue::BigInt(number))) => {
            u64::try_from(number).map(KeyPart::Number).map_err(|_| corrupt(table))
        }
        _ => Err(corrupt(table)),
    }
}

/// A row of a partition: every clustering part, value, version.
pub(super) fn range_row(
    table: &'static Table,
    partition: &[KeyPart],
    mut columns: Vec<Option<CqlValue>>,
) -> Result<Row, RowsError> {
    if columns.len() < table.clustering.len() {
        return Err(corrupt(table));
    }
    let mut key = Key::new(table, partition.iter().cloned());
    for value in columns.drain(..table.clustering.len()) {
        let part = key_part(table, key.parts.len(), value)?;
        key.parts.push(part);
    }
    found(key, columns)
}
