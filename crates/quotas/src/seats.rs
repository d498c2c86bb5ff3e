//! How many users a tenant has, counted so that the quota is never exceeded.
//!
//! A user's seat is counted first and taken then. Whoever fails between the two leaves the count too high by one, never
//! too low; [`Seats::release`] of the one who came second brings it down again.

use std::sync::Arc;

use prost::Message as _;
use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, UserId};
use stonechat_proto::internal::v1::{CounterRow, SeatRow};
use stonechat_rows::{Key, Put, Row, Rows, RowsError, tables};

/// Attempts at a number that others change as well.
const ATTEMPTS: usize = 100;

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
        let seat = tables::user_seat(tenant, user);
        let found = self.read(seat.clone()).await?;
        let (is_taken, version) = match &found {
            Some(row) => (SeatRow::decode(row.value.clone()).map_err(corrupt)?.taken, Some(row.version)),
            None => (false, None),
        };
        if is_taken {
            return Ok(());
        }
        self.count(tenant, |count| match count < quota {
            true => Ok(count + 1),
            false => Err(Error::new(Code::LimitExceeded, format!("the tenant's quota of {quota} users is reached"))),
        })
        .await?;
        if self.set(seat, SeatRow { taken: true }.encode_to_vec(), version).await? {
            return Ok(());
        }
        // Somebody else took the same seat meanwhile, and counted it.
        self.count(tenant, |count| Ok(count.saturating_sub(1))).await
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
