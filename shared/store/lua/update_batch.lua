#!lua flags=allow-oom
-- What the batcher that holds a batch has to say of it: its state, fields, what it recorded; and the lease goes on.
-- Safe to send twice: all values are absolute, and segments are only appended behind those that the caller knows of.
-- ARGV 1 batch id  2 token of the lease  3 lease from now on, ms (0 = given back)
--      4 ms after which another batcher may take it, when it is given back  5 new status or ''
--      6 segments there so far  7 number of new segments  then these ("<o|e> <bytes> <blob>")
--      then fields and values of the hash
-- Returns {1 held or 0 lost, status, ms until the deadline}.
redis.call('ZREM', 'chatq:batches:open', '')
local id, key = ARGV[1], 'chatq:batch:' .. ARGV[1]
local now = redis.call('HMGET', key, 'lease', 'status', 'expires_at')
if now[1] ~= ARGV[2] or not redis.call('ZSCORE', 'chatq:batches:open', id) then return {0, now[2] or '', 0} end

local status, wanted = now[2], ARGV[5]
if wanted ~= '' and wanted ~= status and status ~= 'cancelling' then
  status = wanted
  redis.call('HSET', key, 'status', status, status .. '_at', math.floor(NOW_S))
end
local there, n = tonumber(ARGV[6]), tonumber(ARGV[7])
local segments = 'chatq:batch:segments:' .. id
if n > 0 and redis.call('LLEN', segments) == there then
  redis.call('RPUSH', segments, unpack(ARGV, 8, 7 + n))
  redis.call('EXPIRE', segments, math.max(1, redis.call('TTL', key)))
end
if #ARGV > 7 + n then redis.call('HSET', key, unpack(ARGV, 8 + n)) end
local lease = tonumber(ARGV[3])
redis.call('ZADD', 'chatq:batches:open', NOW_MS + (lease > 0 and lease or tonumber(ARGV[4])), id)
if lease <= 0 then redis.call('HDEL', key, 'lease') end
return {1, status, now[3] * 1000 - NOW_MS}
