#!lua flags=allow-oom
-- include: ledger learning breaker lots results failover
-- Gives grants back: to try again later, to wait out a limit, to go on with another candidate, or because the worker drains.
-- Safe to send twice: the second time the lease is gone ('stale').
-- ARGV 1 longest event stream, entries  then 10 a job: id, token, reason, delay_ms, attempts to give back (0 or 1), error JSON or '',
--      attempt event JSON or '', the queue it was claimed from, what the call showed (results.lua), error JSON of a wait beyond the deadline
-- Reasons: backoff (try here again after delay_ms; go on elsewhere if another candidate is open) · rate_limited (wait until the scope
--      opens; longer than the deadline or failover_after: go on elsewhere) · next (this candidate will never do; go on elsewhere,
--      else it fails) · unrated (no rating here; go on with another selector, or without a rating, served there or not) · misrated
--      (the rating leads nowhere; go on without one) · elsewhere (this one keeps failing; go on elsewhere, else as backoff) · drain.
-- A drain gives the attempt back although its call may have been sent, at most 10 times a job: calls ≤ attempts + drains.
-- Returns a code a job: ok, moved, failed (nowhere to go on, or the wait ends after the deadline), stale (not the holder any more),
-- revoked (ended meanwhile), gone, broken (no hash).
local codes, is_news, MAX_DRAINS = {}, {}, 10

local function put_back(job, reason)
  redis.call('HSET', job_key(job.id), 'status', 'queued', 'enqueued_at', NOW_ISO, 'cq_wait', reason)
  return_job(job)
  tally('waits ' .. provider_of(job.origin) .. ' ' .. reason, 1)
end

local function schedule(job, delay_ms, reason)
  if delay_ms <= 0 then return put_back(job, reason) end
  redis.call('HSET', job_key(job.id), 'status', 'scheduled', 'cq_wait', reason)
  redis.call('ZADD', 'rq:scheduled:' .. job.origin, (NOW_MS + delay_ms) / 1000, job.id)
  tally('waits ' .. provider_of(job.origin) .. ' ' .. reason, 1)
end

local function fail(job, kind, err)
  finish(job, kind, 'cq_error', err)
  add_bare_outcome(ARGV[1], job.id, job.origin, kind, decoded(err).code)
  return 'failed'
end

local function place(job, reason, delay_ms, err, opens_at, late_error)
  if reason == 'drain' then
    put_back(job, reason)
  elseif reason == 'unrated' or reason == 'misrated' then
    return (move.elsewhere(job, nil, reason == 'misrated') or move.anywhere(job)) and 'moved' or fail(job, 'failed', err)
  elseif reason == 'next' then
    return move.elsewhere(job, nil) and 'moved' or fail(job, 'failed', err)
  elseif reason == 'rate_limited' then
    opens_at = opens_at or NOW + delay_ms
    local is_late = job.deadline and opens_at > job.deadline - EPOCH
    if (is_late or is_long(opens_at)) and move.elsewhere(job, opens_at) then return 'moved' end
    if is_late then return is_rating(job) and move.anywhere(job) and 'moved' or fail(job, 'failed', late_error) end
    put_back(job, reason)
  else
    if reason == 'elsewhere' and move.elsewhere(job, NOW + delay_ms) then return 'moved' end
    if job.deadline and NOW_MS + delay_ms >= job.deadline then return fail(job, 'expired', err) end
    schedule(job, delay_ms, 'backoff')
  end
  return 'ok'
end

local function release(id, token, reason, delay_ms, give_back, err, event, queue, shown, late_error)
  local key, member = job_key(id), id .. ':' .. token
  local held = redis.call('ZREM', LEASES, member) == 1
  is_news[member] = held -- else it was told before: by this, sent a first time, or by who took the job back
  drop_execution(id, token)
  local job = read_job(id)
  if not job then return 'gone' end
  local opens_at
  if held then
    opens_at = end_grant(job, member, queue, shown)
    remember_try(id, event)
  end
  if TERMINAL[job.status] then
    if held then redis.call('EXPIRE', key, ttl_of(job.failure_ttl)) end
    return 'revoked'
  end
  if not held or job.token ~= token then return 'stale' end
  if reason == 'drain' then
    redis.call('HSET', key, 'cq_drained', job.drained + 1)
    if job.drained >= MAX_DRAINS then give_back = 0 end
  end
  job.attempts = math.max(0, job.attempts - give_back)
  redis.call('HSET', key, 'cq_attempts', job.attempts)
  if err ~= '' then redis.call('HSET', key, 'cq_error', err) end
  if reason == 'rate_limited' then redis.call('HSET', key, 'cq_limited', job.limited + 1) end
  count(reason)
  return place(job, reason, delay_ms, err, opens_at, late_error)
end

redis.call('ZREM', LEASES, '')
for i = 2, #ARGV, 10 do
  local code = guarded(release, ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5],
    ARGV[i + 6], ARGV[i + 7], ARGV[i + 8], ARGV[i + 9])
  codes[#codes + 1] = code
  -- What broke keeps its running entry: the janitor finds it without a lease and has it rescued.
  local member = ARGV[i] .. ':' .. ARGV[i + 1]
  if code ~= 'broken' then redis.call('ZREM', 'rq:wip:' .. ARGV[i + 7], member) end
  if is_news[member] or code == 'broken' then add_events(ARGV[1], ARGV[i + 6], '') end
end
if not pcall(commit_results) then count('broken') end
commit_lots()
commit()
return codes
