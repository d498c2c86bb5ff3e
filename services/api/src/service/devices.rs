//! The devices that users connect with, and their sessions.

use std::{collections::BTreeSet, sync::Arc};

use stonechat_errors::Error;
use stonechat_model::{DeviceId, GatewayId, TenantId, UserId, now_us};
use stonechat_operations::Caller;
use stonechat_proto::{
    internal::v1::{DeviceRow, user_action},
    v1::{Device, DisconnectUserRequest, ListDevicesRequest, ListDevicesResponse, SessionsClosed, User},
};
use stonechat_rpc::TargetQuery;
use stonechat_views::session_id;

use super::{Service, page_size, user_id};

/// A device's id as a caller gave it.
pub(super) fn device_id(text: &str) -> Result<DeviceId, Error> {
    DeviceId::parse(text).map_err(|error| Error::invalid(format!("device: {error}")))
}

/// The user whom a caller names: anybody of the tenant under a server key, only oneself under a token.
fn whom(caller: &Caller, user: &str) -> Result<(TenantId, UserId), Error> {
    let id = user_id(user)?;
    match caller {
        Caller::User(_) => caller.acting_user(id.as_str()),
        Caller::Tenant(_) | Caller::Operator => Ok((caller.tenant()?.clone(), id)),
    }
}

/// What is known of a device; its session is open only if its gateway has the user still.
fn device(id: &DeviceId, row: &DeviceRow, gateways: &BTreeSet<GatewayId>) -> Device {
    let is_held = GatewayId::parse(&row.gateway).is_ok_and(|gateway| gateways.contains(&gateway));
    Device {
        device: id.to_string(),
        online: row.closed_us == 0 && is_held,
        session: session_id(&row.gateway, row.session),
        connected_us: row.opened_us,
        last_seen_us: row.closed_us,
    }
}

impl Service {
    pub async fn list_devices(
        &self,
        caller: &Caller,
        request: ListDevicesRequest,
    ) -> Result<ListDevicesResponse, Error> {
        let (tenant, user) = whom(caller, &request.user)?;
        let from = match request.page_token.as_str() {
            "" => None,
            token => Some(DeviceId::parse(token).map_err(|_| Error::invalid("page_token is none of ours"))?),
        };
        let page = self.views.devices(&tenant, &user, from.as_ref(), page_size(request.page_size)).await?;
        // After the devices: one that comes meanwhile is open where it is listed.
        let users: Arc<[UserId]> = Arc::from([user]);
        let targets = self.presence.targets(&[TargetQuery::Users(tenant, users)]).await?;
        let gateways = targets.into_iter().flatten().map(|target| target.gateway).collect();
        let devices = page.items.iter().map(|(id, row)| device(id, row, &gateways)).collect();
        Ok(ListDevicesResponse { devices, next_page_token: page.next.unwrap_or_default() })
    }

    pub async fn disconnect_user(&self, caller: &Caller, request: DisconnectUserRequest) -> Result<User, Error> {
        let (tenant, user) = whom(caller, &request.user)?;
        if !request.device.is_empty() {
            device_id(&request.device)?;
        }
        let close = SessionsClosed { before_us: now_us(), device: request.device };
        self.change_user(&tenant, &user, user_action::Kind::CloseSessions(close)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_online_while_its_gateway_has_the_user() {
        let gateways: BTreeSet<GatewayId> = [GatewayId::parse("gateway-2").unwrap()].into();
        let phone = DeviceId::parse("phone").unwrap();
        for (gateway, closed_us, is_online) in
            [("gateway-2", 0, true), ("gateway-2", 9, false), ("gateway-1", 0, false), ("", 0, false)]
        {
            let row = DeviceRow { gateway: gateway.to_owned(), session: 3, opened_us: 5, closed_us };
            let device = device(&phone, &row, &gateways);
            assert_eq!((device.online, device.last_seen_us), (is_online, closed_us), "{gateway} {closed_us}");
        }
    }
}
