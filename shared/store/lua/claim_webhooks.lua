#!lua flags=allow-oom
-- Gives a deliverer ends that are due to be told. Safe to send twice: the same token gets the same refs again.
-- An end stands in chatq:webhooks:due until it is claimed, and in chatq:webhooks:leases while somebody is at it. Whoever dies there
-- loses its lease, and the end is due again. An end that is marked anew meanwhile stays due and waits for that lease: it is
-- never with two at the same time, and no mark is lost. The attempt is counted here, so that one who dies of it counts, too.
-- ARGV 1 deliverer's name  2 token of this claim  3 most refs  4 lease, ms  5 TTL of what is known of an end, s
-- Returns {ref, number of the attempt (from 1), event that was told last ('' = none)} a ref, in one list.
local DUE, TAKEN, GRANT = 'chatq:webhooks:due', 'chatq:webhooks:leases', 'chatq:webhook-grant:' .. ARGV[1]
local token, most, lease_until, ttl = ARGV[2], tonumber(ARGV[3]), NOW_MS + tonumber(ARGV[4]), ARGV[5]
local refs, reply = {}, {}
redis.call('ZREM', LEASES, '') -- first write frees memory: works over maxmemory below 7.0 too

local function add_reply(ref)
  local known = redis.call('HMGET', 'chatq:webhook:' .. ref, 'token', 'attempts', 'event')
  if known[1] ~= token then return end
  for _, word in ipairs({ref, known[2] or '1', known[3] or ''}) do reply[#reply + 1] = word end
end

local function claim(ref)
  local held_until = redis.call('ZSCORE', TAKEN, ref)
  if held_until then
    redis.call('ZADD', DUE, held_until, ref)
    return 'held'
  end
  local key = 'chatq:webhook:' .. ref
  if redis.call('HGET', key, 'state') ~= 'pending' then redis.call('HSET', key, 'state', 'pending', 'attempts', 0) end
  redis.call('HINCRBY', key, 'attempts', 1)
  redis.call('HSET', key, 'token', token)
  redis.call('EXPIRE', key, ttl)
  redis.call('ZREM', DUE, ref)
  redis.call('ZADD', TAKEN, lease_until, ref)
  refs[#refs + 1] = ref
  return 'claimed'
end

local before = redis.call('GET', GRANT) or ''
if string.match(before, '^%S+') == token then
  for ref in string.gmatch(before, '%s(%S+)') do add_reply(ref) end
  return reply
end
for _, ref in ipairs(redis.call('ZRANGEBYSCORE', TAKEN, '-inf', NOW_MS, 'LIMIT', 0, most)) do
  redis.call('ZREM', TAKEN, ref)
  redis.call('ZADD', DUE, 'NX', NOW_MS, ref)
end
for _, ref in ipairs(redis.call('ZRANGEBYSCORE', DUE, '-inf', NOW_MS, 'LIMIT', 0, most)) do
  -- Anybody can write to Redis: what is no ref, or has something else under its key, would be met again and again.
  if not string.match(ref, '^%l+:[%w_-]+$') or guarded(claim, ref) == 'broken' then
    redis.call('ZREM', DUE, ref)
    count('broken')
  end
end
for _, ref in ipairs(refs) do add_reply(ref) end
redis.call('SET', GRANT, token .. ' ' .. table.concat(refs, ' '), 'EX', 120)
commit()
return reply
