//! Taking what was replaced and deleted out of the store's files.
//!
//! The store keeps it in two places: in its journals, until every table's memtable that a journal covers was written
//! out and the journal is not the newest; and in sorted files, until a compaction merges the files of both versions,
//! which may be never. So memtables are written out, the journal is made to be not the newest, and every table is
//! compacted as a whole.

use fjall::Keyspace;

/// The key of the filler; no table has its name.
const FILLER: &str = "\0filler";
/// Bytes of one part of the filler.
const FILLER_BYTES: usize = 4 << 20;
/// Parts of the filler: a journal is closed when a memtable is written out and it has more than 64 MB.
const FILLERS: usize = 18;

/// Writes every file anew without what was replaced and deleted. Blocks; others read and write meanwhile.
pub(super) fn purge(keyspaces: &[Keyspace], ceilings: &Keyspace) -> fjall::Result<()> {
    let all = || keyspaces.iter().chain([ceilings]);
    write_out(all())?;
    for part in 0..FILLERS {
        ceilings.insert(FILLER, noise(part))?;
    }
    // Closes the journal, since it is long enough now.
    ceilings.rotate_memtable_and_wait()?;
    ceilings.remove(FILLER)?;
    // What was written meanwhile lies in the closed journal and in memtables: with these written out, it goes.
    write_out(all())?;
    for keyspace in all() {
        keyspace.major_compact()?;
    }
    // Files that were replaced are let go of when a memtable is written out.
    ceilings.insert(FILLER, b"")?;
    ceilings.remove(FILLER)?;
    ceilings.rotate_memtable_and_wait()
}

fn write_out<'a>(keyspaces: impl Iterator<Item = &'a Keyspace>) -> fjall::Result<()> {
    keyspaces.into_iter().try_for_each(Keyspace::rotate_memtable_and_wait)
}

/// Bytes that do not get shorter by compression.
fn noise(part: usize) -> Vec<u8> {
    let words = FILLER_BYTES / size_of::<u64>();
    let word = |index: usize| xxhash_rust::xxh3::xxh3_64(&(part * words + index).to_le_bytes());
    (0..words).flat_map(|index| word(index).to_le_bytes()).collect()
}
