#!lua flags=allow-oom
-- Publishes what a worker's settings say: limits of its accounts, their models, of clients, and the fleet's policy. The newest
-- start wins; what was set at run time stays. Safe to send twice: it writes what it is given.
-- ARGV 1 policy JSON  2 number of providers  then a provider and its account each  then a scope and its limits (JSON) each
-- Returns how many scopes have limits of their settings now.
redis.call('ZREM', LEASES, '')
local LIMITS, n = 'chatq:limits', tonumber(ARGV[2])
local ours, given, stated = {}, {}, 0
for i = 3, 2 + 2 * n, 2 do
  redis.call('HSET', 'chatq:accounts', ARGV[i], ARGV[i + 1])
  ours[ARGV[i + 1]] = true
end
for i = 3 + 2 * n, #ARGV, 2 do given[ARGV[i]] = ARGV[i + 1] end

local function layers(json)
  local ok, config = pcall(cjson.decode, json or '{}')
  return ok and type(config) == 'table' and config or {}
end

-- Settings that are gone go from here too; those of other workers' accounts stay.
local known = redis.call('HGETALL', LIMITS)
for i = 1, #known, 2 do
  local kind, name = string.match(known[i], '^(%a+):(.*)$')
  local account = kind == 'account' and name or kind == 'model' and string.match(name, '^[^/]*')
  if (kind == 'client' or account and ours[account]) and not given[known[i]] then
    local set = layers(known[i + 1]).set
    if type(set) == 'table' and next(set) then
      redis.call('HSET', LIMITS, known[i], cjson.encode({set = set}))
    else
      redis.call('HDEL', LIMITS, known[i])
    end
  end
end
for name, json in pairs(given) do
  local set = layers(redis.call('HGET', LIMITS, name)).set
  redis.call('HSET', LIMITS, name, cjson.encode({file = layers(json), set = type(set) == 'table' and next(set) and set or nil}))
  stated = stated + 1
end
redis.call('HSET', LIMITS, 'policy', ARGV[1])
return stated
