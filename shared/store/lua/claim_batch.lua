#!lua flags=allow-oom
-- Leases a batch that nobody works on to one batcher: the one that came first, or whose batcher has been silent for a lease.
-- Safe to send twice: the token is the claim's own, and what it was given stands under it for as long as a lease.
-- ARGV 1 token of this claim  2 lease, ms
-- Returns the batch's id, or '' when there is none.
redis.call('ZREM', 'chatq:batches:open', '') -- first write frees memory: works over maxmemory below 7.0 too
local given = redis.call('GET', 'chatq:batches:claim:' .. ARGV[1])
if given then return given end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'chatq:batches:open', '-inf', NOW_MS, 'LIMIT', 0, 100)) do
  local key = 'chatq:batch:' .. id
  if redis.call('EXISTS', key) == 1 then
    redis.call('HSET', key, 'lease', ARGV[1])
    redis.call('ZADD', 'chatq:batches:open', NOW_MS + ARGV[2], id)
    redis.call('SET', 'chatq:batches:claim:' .. ARGV[1], id, 'PX', ARGV[2])
    return id
  end
  redis.call('ZREM', 'chatq:batches:open', id) -- its time was over before anybody took it
end
return ''
