#!lua flags=allow-oom
-- Gives grants back: to try again later, to wait out a rate limit, or because the worker drains.
-- Safe to send twice: the second time the lease is gone ('stale').
-- ARGV 1 longest event stream, entries  then 8 a job: id, token, reason (backoff|rate_limited|drain), delay_ms,
--      attempts to give back (0 or 1), error JSON or '', attempt event JSON or '', the queue it was claimed from
-- A drain gives the attempt back although its call may have been sent, at most 10 times a job: calls ≤ attempts + drains.
-- Returns a code a job: ok, stale (not the holder any more), revoked (ended meanwhile), gone, broken (no hash).
local codes, pushes = {}, {}
local MAX_DRAINS = 10
local function release(id, token, reason, delay_ms, give_back, err, queue)
  local key, member = job_key(id), id .. ':' .. token
  local held = redis.call('ZREM', LEASES, member) == 1
  redis.call('ZREM', 'rq:wip:' .. queue, member)
  drop_execution(id, token)
  local f = redis.call('HMGET', key, 'status', 'cq_token', 'origin', 'cq_attempts', 'failure_ttl', 'cq_limited', 'cq_drained')
  if not f[1] then return 'gone' end
  if TERMINAL[f[1]] then
    if held then redis.call('EXPIRE', key, ttl_of(f[5])) end
    return 'revoked'
  end
  if not held or f[2] ~= token then return 'stale' end
  if reason == 'drain' then
    local drained = (tonumber(f[7]) or 0) + 1
    redis.call('HSET', key, 'cq_drained', drained)
    if drained > MAX_DRAINS then give_back = 0 end
  end
  local attempts = math.max(0, (tonumber(f[4]) or 0) - give_back)
  redis.call('HSET', key, 'cq_attempts', attempts, 'cq_wait', reason)
  if err ~= '' then redis.call('HSET', key, 'cq_error', err) end
  if reason == 'rate_limited' then redis.call('HSET', key, 'cq_limited', (tonumber(f[6]) or 0) + 1) end
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
for i = 2, #ARGV, 8 do
  local code = guarded(release, ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5],
    ARGV[i + 7])
  codes[#codes + 1] = code
  if code ~= 'stale' then add_event(ARGV[1], ARGV[i + 6]) end
end
push_ids('LPUSH', pushes)
add_totals()
return codes
