#!lua flags=allow-oom
-- Gives grants back: to try again later, to wait out a rate limit, or because the worker drains.
-- Safe to send twice: the second time the lease is gone ('stale').
-- ARGV 1 longest event stream, entries  then 7 a job: id, token, reason (backoff|rate_limited|drain), delay_ms,
--      attempts to give back (0 or 1), error JSON or '', attempt event JSON or ''
-- Returns a code a job: ok, stale (not the holder any more), revoked (ended meanwhile), gone.
local codes, pushes = {}, {}
local function release(id, token, reason, delay_ms, give_back, err)
  local key, member = job_key(id), id .. ':' .. token
  local held = redis.call('ZREM', LEASES, member) == 1
  local f = redis.call('HMGET', key, 'status', 'cq_token', 'origin', 'cq_attempts', 'failure_ttl')
  if not f[1] then return 'gone' end
  redis.call('ZREM', 'rq:wip:' .. f[3], member)
  drop_execution(id, token)
  if TERMINAL[f[1]] then
    if held then redis.call('EXPIRE', key, tonumber(f[5]) or 86400) end
    return 'revoked'
  end
  if not held or f[2] ~= token then return 'stale' end
  local attempts = math.max(0, (tonumber(f[4]) or 0) - give_back)
  redis.call('HSET', key, 'cq_attempts', attempts, 'cq_wait', reason)
  if err ~= '' then redis.call('HSET', key, 'cq_error', err) end
  if reason == 'rate_limited' then redis.call('HINCRBY', key, 'cq_limited', 1) end
  if delay_ms > 0 then
    redis.call('HSET', key, 'status', 'scheduled')
    redis.call('ZADD', 'rq:scheduled:' .. f[3], (NOW_MS + delay_ms) / 1000, id)
  else
    redis.call('HSET', key, 'status', 'queued', 'enqueued_at', NOW_ISO)
    local ids = pushes[f[3]]
    if ids then ids[#ids + 1] = id else pushes[f[3]] = {id} end
  end
  count(reason)
  return 'ok'
end

redis.call('ZREM', LEASES, '')
for i = 2, #ARGV, 7 do
  local code = release(ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5])
  codes[#codes + 1] = code
  if code ~= 'stale' then add_event(ARGV[1], ARGV[i + 6]) end
end
push_ids('LPUSH', pushes)
add_totals()
return codes
