//! How many users a tenant has, counted so that the quota is never exceeded.
//!
//! A user's seat is counted first and taken then. Whoever fails between the two leaves the count too high by one, never
//! too low; [`Seats::release`] of the one who came second brings it down again.

use std::{collections::BTreeSet, sync::Arc};

use futures::future::try_join_all;
use prost::Message as _;
use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, UserId, limits};
use stonechat_proto::internal::v1::{CounterRow, SeatRow};
use stonechat_rows::{Key, Put, Row, Rows, RowsError, tables};

/// Attempts at a number that others change as well.
const ATTEMPTS: usize = 100;
/// Seats that are written at once.
const SEATS_AT_ONCE: usize = 32;
const TAKEN: SeatRow = SeatRow { taken: true };

/// The seats of tenants' users, by compare-and-set.
#[derive(Clone)]
pub struct Seats {
    rows: Arc<dyn Rows>,
}

fn unavailable(error: RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer about seats");
    Error::unavailable("rows do not answer")
}

fn corrupt(error: prost::DecodeError) -> Error {
    tracing::error!(%error, "stored seat is corrupt");
    Error::internal()
}

impl Seats {
    /// The seats in these rows.
    pub fn new(rows: Arc<dyn Rows>) -> Self {
        Self { rows }
    }

    /// Makes sure that a user has a seat. `quota` bounds how many the tenant has; a user who has one keeps it.
    pub async fn take(&self, tenant: &TenantId, user: &UserId, quota: u64) -> Result<(), Error> {
        self.take_all(tenant, std::slice::from_ref(user), quota).await
    }

    /// Makes sure that each of some users has a seat: none of those who have none gets one where the quota does not hold
    /// all of them.
    pub async fn take_all(&self, tenant: &TenantId, users: &[UserId], quota: u64) -> Result<(), Error> {
        // A user who is named twice has one seat.
        let users: BTreeSet<&UserId> = users.iter().collect();
        let seats: Vec<Key> = users.into_iter().map(|user| tables::user_seat(tenant, user)).collect();
        let mut free = Vec::new();
        for seats in seats.chunks(limits::GET_KEYS) {
            let found = self.rows.get(seats).await.map_err(unavailable)?;
            for (seat, row) in seats.iter().zip(found) {
                let is_taken =
                    row.as_ref().map(|row| SeatRow::decode(row.value.clone()).map_err(corrupt)).transpose()?;
                if !is_taken.is_some_and(|seat| seat.taken) {
                    free.push((seat.clone(), row.map(|row| row.version)));
                }
            }
        }
        if free.is_empty() {
            return Ok(());
        }
        let more = free.len() as u64;
        self.count(tenant, |count| match count.saturating_add(more) <= quota {
            true => Ok(count + more),
            false => Err(Error::new(Code::LimitExceeded, format!("the tenant's quota of {quota} users is reached"))),
        })
        .await?;
        let mut lost = 0;
        for free in free.chunks(SEATS_AT_ONCE) {
            let taken = free.iter().map(|(seat, version)| self.set(seat.clone(), TAKEN.encode_to_vec(), *version));
            for is_ours in try_join_all(taken).await? {
                lost += u64::from(!is_ours);
            }
        }
        // Somebody else took these seats meanwhile, and counted them.
        if lost == 0 { Ok(()) } else { self.count(tenant, |count| Ok(count.saturating_sub(lost))).await }
    }

    /// Gives a deleted user's seat back.
    pub async fn release(&self, tenant: &TenantId, user: &UserId) -> Result<(), Error> {
        let seat = tables::user_seat(tenant, user);
        let Some(row) = self.read(seat.clone()).await? else { return Ok(()) };
        if !SeatRow::decode(row.value).map_err(corrupt)?.taken {
            return Ok(());
        }
        match self.set(seat, SeatRow { taken: false }.encode_to_vec(), Some(row.version)).await? {
            true => self.count(tenant, |count| Ok(count.saturating_sub(1))).await,
            false => Ok(()),
        }
    }

    /// How many seats are taken.
    pub async fn taken(&self, tenant: &TenantId) -> Result<u64, Error> {
        let Some(row) = self.read(tables::seat_count(tenant)).await? else { return Ok(0) };
        Ok(CounterRow::decode(row.value).map_err(corrupt)?.value)
    }

    async fn count(&self, tenant: &TenantId, change: impl Fn(u64) -> Result<u64, Error>) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let row = self.read(tables::seat_count(tenant)).await?;
            let (count, version) = match row {
                Some(row) => (CounterRow::decode(row.value).map_err(corrupt)?.value, Some(row.version)),
                None => (0, None),
            };
            let value = change(count)?;
            if self.set(tables::seat_count(tenant), CounterRow { value }.encode_to_vec(), version).await? {
                return Ok(());
            }
        }
        Err(Error::unavailable("many users are made at once"))
    }

    async fn read(&self, key: Key) -> Result<Option<Row>, Error> {
        Ok(self.rows.get(&[key]).await.map_err(unavailable)?.into_iter().flatten().next())
    }

    async fn set(&self, key: Key, value: Vec<u8>, expected: Option<u64>) -> Result<bool, Error> {
        let put = Put { key, value: value.into(), version: expected.unwrap_or(0) + 1, ttl: None };
        self.rows.compare_and_set(put, expected).await.map_err(unavailable)
    }
}
