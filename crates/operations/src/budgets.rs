//! Which budgets an operation costs, and how callers are told what is left of them.
//!
//! Told as the IETF's "RateLimit header fields for HTTP" has it (draft-ietf-httpapi-ratelimit-headers): a list of
//! policies in `RateLimit-Policy`, and what is left of the one that is nearest to its end in `RateLimit`.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use stonechat_model::limits;
use stonechat_quotas::{Budget, Taken};

use crate::{Caller, Class};

/// `RateLimit`.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// `RateLimit-Policy`.
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

fn budget(name: &'static str, subject: String, per_s: u32) -> Budget {
    Budget { name, subject, per_s, burst: per_s.saturating_mul(2) }
}

/// A server key's part of its tenant's budget: what goes wrong with one key leaves something to the others.
fn key_share(per_s: u32) -> u32 {
    let share = u64::from(per_s) * u64::from(limits::KEY_SHARE_PERCENT) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

/// The budgets of a request, as one of `processes` that share them.
pub(crate) fn budgets(class: Class, caller: &Caller, processes: u32) -> Vec<Budget> {
    let quotas = caller.quotas().share(processes);
    // Sending has budgets of its own at every level: who asks too much may still send.
    let (of_tenant, of_key, per_s) = match class {
        Class::Send => ("send", "send-key", quotas.sends_per_s),
        Class::Read | Class::Write | Class::Admin => ("api", "api-key", quotas.api_requests_per_s),
    };
    let (of_user, user_per_s) = match class {
        Class::Send => ("send-user", limits::USER_API_SENDS_PER_S),
        Class::Read | Class::Write | Class::Admin => ("user", limits::USER_API_REQUESTS_PER_S),
    };
    let mut found = match caller {
        Caller::Operator => return vec![budget("operator", String::new(), limits::OPERATOR_REQUESTS_PER_S)],
        Caller::Tenant(key) => vec![
            budget(of_key, key.key.to_string(), key_share(per_s)),
            budget(of_tenant, key.tenant.to_string(), per_s),
        ],
        Caller::User(user) => vec![
            budget(of_user, format!("{} {}", user.tenant, user.user), user_per_s),
            budget(of_tenant, user.tenant.to_string(), per_s),
        ],
    };
    if let (Class::Admin, Some(tenant)) = (class, caller.tenant_id()) {
        found.insert(0, budget("admin", tenant.to_string(), limits::TENANT_ADMIN_REQUESTS_PER_S));
    }
    found
}

/// The two header fields; empty where nothing was counted.
pub(crate) fn fields(taken: &[Taken]) -> Option<(HeaderValue, HeaderValue)> {
    let nearest = taken.iter().min_by_key(|taken| taken.level.remaining)?;
    let reset_s = nearest.level.full_in.as_millis().div_ceil(1000);
    let left = format!("\"{}\";r={};t={reset_s}", nearest.name, nearest.level.remaining);
    let policies: Vec<String> =
        taken.iter().map(|taken| format!("\"{}\";q={};w={}", taken.name, taken.quota, taken.window_s)).collect();
    Some((HeaderValue::from_str(&left).ok()?, HeaderValue::from_str(&policies.join(", ")).ok()?))
}

/// Adds them to an answer.
pub(crate) fn tell(taken: &[Taken], headers: &mut HeaderMap) {
    if let Some((left, policies)) = fields(taken) {
        headers.insert(RATE_LIMIT, left);
        headers.insert(RATE_LIMIT_POLICY, policies);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stonechat_auth::Scopes;
    use stonechat_model::{KeyId, TenantId, UserId};
    use stonechat_quotas::{Level, Quotas, Rates};

    use super::*;
    use crate::{ServerKey, TokenUser};

    #[test]
    fn who_asks_too_much_may_still_send() {
        let (tenant, quotas) = (TenantId::parse("acme").unwrap(), Quotas::default());
        let key = KeyId::parse("k1").unwrap();
        let callers = [
            Caller::User(TokenUser {
                tenant: tenant.clone(),
                user: UserId::parse("alice").unwrap(),
                key: key.clone(),
                quotas,
            }),
            Caller::Tenant(ServerKey { tenant, key, scopes: Scopes::ALL, quotas }),
        ];
        for caller in callers {
            let rates = Rates::default();
            while rates.take(&budgets(Class::Read, &caller, 1), 1_000_000).1.is_ok() {}
            assert!(rates.take(&budgets(Class::Send, &caller, 1), 1_000_000).1.is_ok(), "{caller:?}");
        }
    }

    #[test]
    fn what_is_left_is_told_in_structured_fields() {
        let level = |remaining| Level { remaining, full_in: Duration::from_millis(1200), next_in: Duration::ZERO };
        let taken = [
            Taken { name: "api-key", quota: 160, window_s: 2, level: level(150) },
            Taken { name: "api", quota: 200, window_s: 2, level: level(20) },
        ];
        let (left, policies) = fields(&taken).unwrap();
        assert_eq!(left, "\"api\";r=20;t=2");
        assert_eq!(policies, "\"api-key\";q=160;w=2, \"api\";q=200;w=2");
        assert!(fields(&[]).is_none());
    }
}
