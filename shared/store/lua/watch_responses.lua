#!lua flags=allow-oom
-- Hands out responses without a kept outcome that are due for a look, and has them live on until the next one.
-- Safe to send twice: those whose reply got lost are due again later.
-- ARGV 1 most  2 when they are due again, ms from now  3 TTL until then at least, s
-- Returns ids; fewer than asked for = all that are due.
local OPEN = 'chatq:responses:open'
local due = redis.call('ZRANGEBYSCORE', OPEN, '-inf', NOW_MS, 'LIMIT', 0, ARGV[1])
local found = {}
for _, id in ipairs(due) do
  local ttl = redis.call('TTL', 'chatq:response:' .. id)
  if ttl < 0 then
    redis.call('ZREM', OPEN, id)
  else
    redis.call('ZADD', OPEN, NOW_MS + ARGV[2], id)
    if ttl < tonumber(ARGV[3]) then redis.call('EXPIRE', 'chatq:response:' .. id, ARGV[3]) end
    found[#found + 1] = id
  end
end
return found
