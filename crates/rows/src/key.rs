//! Keys: typed parts, and their order-preserving bytes for engines that keep one ordered map.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{Column, ColumnKind, RowsError, Table};

/// A part of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyPart {
    /// Text without NUL.
    Text(Arc<str>),
    /// A number.
    Number(u64),
}

impl KeyPart {
    pub(crate) fn fits(&self, kind: ColumnKind) -> bool {
        match self {
            Self::Text(text) => kind == ColumnKind::Text && !text.as_bytes().contains(&0),
            Self::Number(_) => kind == ColumnKind::Number,
        }
    }

    /// How many bytes [`KeyPart::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Text(text) => text.len() + 1,
            Self::Number(_) => size_of::<u64>(),
        }
    }

    /// Appends bytes that order as the parts do: text and a NUL, or eight bytes big-endian.
    pub fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                to.extend_from_slice(text.as_bytes());
                to.push(0);
            }
            Self::Number(number) => to.extend_from_slice(&number.to_be_bytes()),
        }
    }

    /// Reads back what [`KeyPart::encode`] wrote of the first of these columns, one after the other.
    pub fn decode_prefix(columns: &[Column], mut bytes: &[u8]) -> Result<Vec<Self>, RowsError> {
        let corrupt = || RowsError::Corrupt("parts of a key".to_owned());
        let mut parts = Vec::with_capacity(columns.len());
        for column in columns {
            if bytes.is_empty() {
                break;
            }
            let (part, rest) = Self::decode(column.kind, bytes).ok_or_else(corrupt)?;
            parts.push(part);
            bytes = rest;
        }
        if bytes.is_empty() { Ok(parts) } else { Err(corrupt()) }
    }

    /// Reads a part, and gives what follows it.
    fn decode(kind: ColumnKind, bytes: &[u8]) -> Option<(Self, &[u8])> {
        match kind {
            ColumnKind::Text => {
                let end = bytes.iter().position(|byte| *byte == 0)?;
                let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
                Some((Self::Text(text.into()), bytes.get(end + 1..)?))
            }
            ColumnKind::Number => {
                let (number, rest) = bytes.split_first_chunk::<8>()?;
                Some((Self::Number(u64::from_be_bytes(*number)), rest))
            }
        }
    }
}

impl From<Arc<str>> for KeyPart {
    fn from(text: Arc<str>) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for KeyPart {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for KeyPart {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// The key of a row: its partition's parts, then its clustering parts.
#[derive(Debug, Clone)]
pub struct Key {
    /// The table.
    pub table: &'static Table,
    /// Every part, partition first.
    pub parts: SmallVec<[KeyPart; 4]>,
}

impl Key {
    /// The key of these parts, as many as the table has columns.
    pub fn new(table: &'static Table, parts: impl IntoIterator<Item = KeyPart>) -> Self {
        Self { table, parts: parts.into_iter().collect() }
    }

    /// The parts that name the partition.
    pub fn partition(&self) -> &[KeyPart] {
        &self.parts[..self.table.partition.len().min(self.parts.len())]
    }

    /// The parts that order the rows of a partition.
    pub fn clustering(&self) -> &[KeyPart] {
        &self.parts[self.table.partition.len().min(self.parts.len())..]
    }

    /// A part that is text; empty where it is not.
    pub fn text(&self, index: usize) -> &str {
        match self.parts.get(index) {
            Some(KeyPart::Text(text)) => text,
            _ => "",
        }
    }

    /// A part that is a number; 0 where it is not.
    pub fn number(&self, index: usize) -> u64 {
        match self.parts.get(index) {
            Some(KeyPart::Number(number)) => *number,
            _ => 0,
        }
    }

    /// Checks that the parts are of the table's shape.
    pub fn check(&self) -> Result<(), RowsError> {
        let columns = self.table.partition.iter().chain(self.table.clustering);
        let count = self.table.partition.len() + self.table.clustering.len();
        if count == self.parts.len() && columns.zip(&self.parts).all(|(column, part)| part.fits(column.kind)) {
            Ok(())
        } else {
            Err(RowsError::BadRequest(format!("key is not of the shape of {}", self.table.name)))
        }
    }

    /// The key's bytes in its table, which order as the parts do.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        for part in &self.parts {
            part.encode(&mut bytes);
        }
        bytes
    }

    /// Reads back what [`Key::encode`] wrote.
    pub fn decode(table: &'static Table, bytes: &[u8]) -> Result<Self, RowsError> {
        let mut key = Self { table, parts: SmallVec::new() };
        key.decode_columns(table.partition.iter().chain(table.clustering), bytes)?;
        Ok(key)
    }

    /// Reads back the clustering parts of what [`Key::encode`] wrote, in a partition that is known.
    pub fn decode_clustering(table: &'static Table, partition: &[KeyPart], bytes: &[u8]) -> Result<Self, RowsError> {
        let mut key = Self { table, parts: partition.iter().cloned().collect() };
        key.decode_columns(table.clustering, bytes)?;
        Ok(key)
    }

    fn decode_columns<'a>(
        &mut self,
        columns: impl IntoIterator<Item = &'a Column>,
        mut bytes: &[u8],
    ) -> Result<(), RowsError> {
        let corrupt = || RowsError::Corrupt(format!("key of {}", self.table.name));
        for column in columns {
            let (part, rest) = KeyPart::decode(column.kind, bytes).ok_or_else(corrupt)?;
            self.parts.push(part);
            bytes = rest;
        }
        if bytes.is_empty() { Ok(()) } else { Err(corrupt()) }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.table, other.table) && self.parts == other.parts
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.table.name.hash(state);
        self.parts.hash(state);
    }
}
