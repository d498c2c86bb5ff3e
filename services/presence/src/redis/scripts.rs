//! What is done in one step. Every script touches the keys of one user, or one key.
//!
//! KEYS of a user: routes, status, watchers. A reply is empty when those who follow need not be told, or has the
//! three hashes as they are now, each as a flat list.

use redis::Cmd;

use super::keys::UserKeys;

/// ARGV: gateway, incarnation. The first route of a user says that the user is online.
const JOIN: &str = r"
local was = redis.call('HLEN', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if was > 0 then return {} end
redis.call('HDEL', KEYS[2], 'away')
return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}";

/// ARGV: gateway, incarnation, time, seconds that the status is kept. The last route that goes says that the user
/// is offline.
const LEAVE: &str = r"
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return {} end
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('HLEN', KEYS[1]) > 0 then return {} end
redis.call('HSET', KEYS[2], 'seen', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return {{}, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}";

/// ARGV: seconds that the status is kept, then fields and values; an empty value takes a field away.
const STATUS: &str = r"
local changed = false
for i = 2, #ARGV, 2 do
  if (redis.call('HGET', KEYS[2], ARGV[i]) or '') ~= ARGV[i + 1] then
    changed = true
    if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[2], ARGV[i])
    else redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
  end
end
redis.call('EXPIRE', KEYS[2], ARGV[1])
if not changed then return {} end
return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}";

/// KEYS: a hash. ARGV: gateway, incarnation. Takes the gateway out unless it has registered anew.
const DROP: &str = r"
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0";

/// KEYS: a lease. ARGV: its value. Ends it if it is still this one.
const END: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0";

// A script goes along as text each time: registrations are rare beside messages, and a server that lost its
// scripts needs no second call.
fn script(text: &str, keys: &[&str]) -> Cmd {
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(text).arg(keys.len()).arg(keys);
    cmd
}

fn of_user(text: &str, keys: &UserKeys) -> Cmd {
    script(text, &[&keys.routes, &keys.status, &keys.watchers])
}

pub(super) fn join(keys: &UserKeys, gateway: &str, incarnation: &str) -> Cmd {
    let mut cmd = of_user(JOIN, keys);
    cmd.arg(gateway).arg(incarnation);
    cmd
}

pub(super) fn leave(keys: &UserKeys, gateway: &str, incarnation: &str, now_us: i64, kept_s: u64) -> Cmd {
    let mut cmd = of_user(LEAVE, keys);
    cmd.arg(gateway).arg(incarnation).arg(now_us).arg(kept_s);
    cmd
}

pub(super) fn status(keys: &UserKeys, kept_s: u64, fields: &[(&str, &str)]) -> Cmd {
    let mut cmd = of_user(STATUS, keys);
    cmd.arg(kept_s);
    for (field, value) in fields {
        cmd.arg(field).arg(value);
    }
    cmd
}

pub(super) fn drop_from(hash: &str, gateway: &str, incarnation: &str) -> Cmd {
    let mut cmd = script(DROP, &[hash]);
    cmd.arg(gateway).arg(incarnation);
    cmd
}

pub(super) fn end(lease: &str, value: &str) -> Cmd {
    let mut cmd = script(END, &[lease]);
    cmd.arg(value);
    cmd
}
