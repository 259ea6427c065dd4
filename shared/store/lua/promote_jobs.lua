#!lua flags=allow-oom
-- include: ledger lots
-- Moves due jobs from rq:scheduled:<queue> back to the front of their queue, and ends waiting jobs whose deadline passed.
-- Safe to send twice: it acts only on what it removes.
-- ARGV 1 most jobs a call  2 longest event stream, entries  3 error JSON of a job whose deadline passed  then queue names
-- Returns {jobs moved or ended, ms until the next is due (-1 = none waits)}.
local limit, done, next_due = tonumber(ARGV[1]), 0, nil
local function due_at(ms)
  if ms and (not next_due or ms < next_due) then next_due = ms end
end

local function promote(id, queue)
  local job = read_job(id)
  if not job or job.status ~= 'scheduled' or job.origin ~= queue then return 'dropped' end
  redis.call('HSET', job_key(id), 'status', 'queued', 'enqueued_at', NOW_ISO)
  redis.call('HDEL', job_key(id), 'cq_wait')
  return_job(job)
  return 'promoted'
end

-- A running job is its worker's: the call's time-out ends with the deadline.
local function expire(id)
  local job = read_job(id)
  if not job or job.status ~= 'queued' and job.status ~= 'scheduled' then return 'dropped' end
  finish(job, 'expired', 'cq_error', ARGV[3])
  add_bare_outcome(ARGV[2], id, job.origin, 'expired', 'expired')
  return 'expired'
end

redis.call('ZREM', LEASES, '')
for i = 4, #ARGV do
  local queue, key = ARGV[i], 'rq:scheduled:' .. ARGV[i]
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', NOW_S, 'LIMIT', 0, limit - done)) do
    redis.call('ZREM', key, id)
    guarded(promote, id, queue)
    done = done + 1
  end
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  due_at(first[2] and tonumber(first[2]) * 1000)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', NOW_MS, 'LIMIT', 0, math.max(0, limit - done))) do
  redis.call('ZREM', DEADLINES, id)
  guarded(expire, id)
  done = done + 1
end
local first = redis.call('ZRANGE', DEADLINES, 0, 0, 'WITHSCORES')
due_at(first[2] and tonumber(first[2]))
commit_lots()
commit()
return {done, next_due and math.max(0, math.ceil(next_due - NOW_MS)) or -1}
