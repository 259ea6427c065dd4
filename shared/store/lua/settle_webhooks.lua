#!lua flags=allow-oom
-- Writes down what became of ends that a deliverer claimed. Safe to send twice: only the holder of the lease is heard, once.
-- ARGV 1 most entries of a log
--      then 8 an end: ref, token of its claim, state (pending = to be tried again, delivered, failed, nothing),
--      ms until it is due again, TTL of what is known of it (s), '1' = the attempt does not count, log entry (JSON, '' = none), fields to set (JSON: event, client)
-- Returns a code an end: settled, or stale (the lease is somebody else's by now; nothing was written).
local DUE, TAKEN = 'chatq:webhooks:due', 'chatq:webhooks:leases'
local most, reply = tonumber(ARGV[1]), {}
redis.call('ZREM', LEASES, '') -- first write frees memory: works over maxmemory below 7.0 too

local function settle(ref, token, state, delay_ms, ttl, is_free, entry, fields)
  local key, log = 'chatq:webhook:' .. ref, 'chatq:webhook-log:' .. ref
  if redis.call('HGET', key, 'token') ~= token or not redis.call('ZSCORE', TAKEN, ref) then return 'stale' end
  redis.call('ZREM', TAKEN, ref)
  redis.call('HDEL', key, 'token')
  -- One that was marked anew meanwhile is due already.
  if state == 'pending' then redis.call('ZADD', DUE, 'NX', NOW_MS + tonumber(delay_ms), ref) end
  if is_free == '1' then redis.call('HINCRBY', key, 'attempts', -1) end
  redis.call('HSET', key, 'state', state)
  for field, value in pairs(cjson.decode(fields)) do redis.call('HSET', key, field, value) end
  redis.call('EXPIRE', key, ttl)
  if entry ~= '' then
    redis.call('RPUSH', log, entry)
    redis.call('LTRIM', log, -most, -1)
    redis.call('EXPIRE', log, ttl)
  end
  return 'settled'
end

for i = 2, #ARGV, 8 do
  local code = guarded(settle, unpack(ARGV, i, i + 7))
  if code == 'broken' then
    redis.call('ZREM', TAKEN, ARGV[i])
    count('broken')
  end
  reply[#reply + 1] = code == 'settled' and 'settled' or 'stale'
end
commit()
return reply
