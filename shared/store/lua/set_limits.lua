#!lua flags=allow-oom
-- include: ledger lots
-- Changes the limits of one scope while the fleet runs; they count from the next claim on. Safe to send twice.
-- What was learned of the scope (stated and cut limits) is forgotten: the operator knows better. A closure stays, and so does what
-- the calls so far have drawn, at its new price.
-- ARGV 1 scope  2 JSON of the fields to set: a number, 0 for "no limit", null for "as in the settings"
--      then queues whose held lots are to be looked at again, and whose workers are woken
-- Returns the limits in force, as JSON.
redis.call('ZREM', LEASES, '')
local s = scope(ARGV[1])
local old_price = {requests_at = s.ms_per_request, tokens_at = s.ms_per_token}

local config = decoded(redis.call('HGET', LIMITS, ARGV[1]) or '{}')
local set = type(config.set) == 'table' and config.set or {}
for field, value in pairs(decoded(ARGV[2])) do
  set[field] = value ~= cjson.null and value or nil
end
config.set = next(set) and set or nil
if next(config) then
  redis.call('HSET', LIMITS, ARGV[1], cjson.encode(config))
else
  redis.call('HDEL', LIMITS, ARGV[1])
end
s.limits = read_limits(redis.call('HGET', LIMITS, s.name))
for _, field in ipairs({'stated_rpm', 'stated_tpm', 'stated_concurrency', 'adaptive', 'gentle', 'factor', 'grown_at'}) do
  s.state[field] = nil
end
price(s)
for field, ms in pairs({requests_at = s.ms_per_request or false, tokens_at = s.ms_per_token or false}) do
  local old_ms, at = old_price[field], s.state[field]
  s.state[field] = ms and old_ms and math.min(NOW + (at - NOW) * ms / old_ms, NOW + LONGEST_DEBT_MS) or nil
end
s.dirty = true
for i = 3, #ARGV do
  lots.release_soon(ARGV[i])
  redis.call('PUBLISH', WAKE, ARGV[i])
end
commit_lots()
return cjson.encode(s.limits)
