use super::*;
use stonechat_model::TenantId;

const KEY: [u8; KEY_BYTES] = [7; KEY_BYTES];

fn blob(name: &str) -> BlobKey {
    BlobKey::new(&TenantId::parse("acme").unwrap(), name).unwrap()
}

fn plain(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn seal(name: &str, bytes: &[u8]) -> Bytes {
    let header = Header::fresh(1).unwrap();
    let parts = PieceKey::derive(&KEY, &header, &blob(name)).unwrap().seal(&header, bytes.into()).unwrap();
    parts.concat().into()
}

fn open(name: &str, sealed: &[u8], range: Range<u64>) -> Result<Bytes, BlobError> {
    let header = Header::decode(sealed.get(..Header::BYTES as usize).unwrap_or_default())?;
    let layout = Layout::of_sealed(sealed.len() as u64)?;
    let stored = layout.stored(&range)?;
    let bytes = sealed[stored.start as usize..stored.end as usize].to_vec();
    PieceKey::derive(&KEY, &header, &blob(name))?.open(&layout, &range, bytes)
}

fn open_whole(name: &str, sealed: &[u8]) -> Result<Bytes, BlobError> {
    open(name, sealed, 0..Layout::of_sealed(sealed.len() as u64)?.plain_bytes())
}

#[test]
fn every_length_around_a_chunk_is_opened_as_it_was() {
    let chunk = CHUNK_BYTES;
    for len in [0, 1, 2, chunk - 1, chunk, chunk + 1, 2 * chunk - 1, 2 * chunk, 2 * chunk + 1, 8 << 20] {
        let (plain, sealed) = (plain(len), seal("a", &plain(len)));
        let layout = Layout::of_sealed(sealed.len() as u64).unwrap();
        assert_eq!(layout, Layout::of_plain(len), "{len}");
        assert!(sealed.len() <= stonechat_model::limits::BLOB_BYTES);
        assert_eq!(open_whole("a", &sealed).unwrap(), plain, "{len}");
    }
}

#[test]
fn every_range_is_opened_alone() {
    let bytes = plain(3 * CHUNK_BYTES + 17);
    let sealed = seal("a", &bytes);
    let edges: Vec<u64> = (0..=3).flat_map(|n| [n * CHUNK_BYTES, n * CHUNK_BYTES + 1, n * CHUNK_BYTES + 17]).collect();
    for from in &edges {
        for until in edges.iter().filter(|until| *until >= from) {
            let opened = open("a", &sealed, *from..*until).unwrap();
            assert_eq!(opened, bytes[*from as usize..*until as usize], "{from}..{until}");
        }
    }
    let size_bytes = bytes.len() as u64;
    assert_eq!(open("a", &sealed, 0..size_bytes + 1), Err(BlobError::OutOfRange { size_bytes }));
    assert_eq!(open("a", &sealed, Range { start: 2, end: 1 }), Err(BlobError::OutOfRange { size_bytes }));
}

#[test]
fn any_changed_bit_is_noticed() {
    let sealed = seal("a", &plain(CHUNK_BYTES + 5));
    let body = Header::BYTES as usize;
    for at in (0..body).chain([body, body + 1, body + CHUNK_BYTES as usize, sealed.len() - 17, sealed.len() - 1]) {
        let mut changed = sealed.to_vec();
        changed[at] ^= 1;
        // The version of the key is no secret and chooses the key; here there is one key, so the salt stands for both.
        if (4..8).contains(&at) {
            continue;
        }
        assert!(open_whole("a", &changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_shortened_piece_is_noticed() {
    let sealed = seal("a", &plain(3 * CHUNK_BYTES));
    let whole_chunks = (Header::BYTES + 2 * SEALED_CHUNK_BYTES) as usize;
    for len in [0, 1, Header::BYTES as usize, Header::BYTES as usize + 16, whole_chunks, sealed.len() - 1] {
        assert!(open_whole("a", &sealed[..len]).is_err(), "{len}");
    }
    let mut longer = sealed.to_vec();
    longer.extend_from_slice(&sealed[whole_chunks..]);
    assert!(open_whole("a", &longer).is_err());
}

#[test]
fn moved_chunks_are_noticed() {
    let sealed = seal("a", &plain(3 * CHUNK_BYTES));
    let chunk = |number: u64| {
        let begin = (Header::BYTES + number * SEALED_CHUNK_BYTES) as usize;
        begin..begin + SEALED_CHUNK_BYTES as usize
    };
    let mut swapped = sealed.to_vec();
    let first = sealed[chunk(0)].to_vec();
    swapped.copy_within(chunk(1), chunk(0).start);
    swapped[chunk(1)].copy_from_slice(&first);
    assert!(open("a", &swapped, 0..1).is_err());
    let mut of_another = sealed.to_vec();
    of_another[chunk(0)].copy_from_slice(&seal("a", &plain(3 * CHUNK_BYTES))[chunk(0)]);
    assert!(open("a", &of_another, 0..1).is_err());
    assert!(open("a", &of_another, CHUNK_BYTES..CHUNK_BYTES + 1).is_ok());
}

#[test]
fn a_piece_under_another_name_does_not_open() {
    let sealed = seal("a", b"for acme");
    assert!(open_whole("a", &sealed).is_ok());
    assert!(open_whole("b", &sealed).is_err());
    let header = Header::decode(&sealed[..Header::BYTES as usize]).unwrap();
    let other = BlobKey::new(&TenantId::parse("umbrella").unwrap(), "a").unwrap();
    let layout = Layout::of_sealed(sealed.len() as u64).unwrap();
    let key = PieceKey::derive(&KEY, &header, &other).unwrap();
    assert!(key.open(&layout, &(0..8), sealed[Header::BYTES as usize..].to_vec()).is_err());
}

#[test]
fn garbage_is_an_error_and_no_panic() {
    for len in 0..200_u64 {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 37 + len) as u8).collect();
        assert!(open_whole("a", &bytes).is_err());
        let marked = [&MARK[..], &bytes].concat();
        assert!(open_whole("a", &marked).is_err());
    }
}
