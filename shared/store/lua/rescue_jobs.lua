#!lua flags=allow-oom
-- include: ledger lots
-- Takes back jobs whose lease ran out: their worker died or lost Redis. Safe to send twice, and from any number
-- of rescuers: each acts only on the leases it removed itself.
-- The attempt stays counted (its call may have been sent), and its reservation is not refunded: both err on the safe side.
-- An abandonment is not the job's failure and has a count of its own: after the second a job is a suspect and goes through the
-- quarantine; after the second there it fails as `poison`. With max_attempts = 1 it is never called again (`worker_lost`),
-- unless it was a selector's call, which is none of the job's. One that had begun to stream its answer neither: `stream_broken`.
-- ARGV 1 most jobs a call  2 default max_attempts  3 longest event stream, entries  4 error JSON of `worker_lost`  5 of `poison`  6 of `stream_broken`
--      then queue names, whose running entries are looked through when a job's hash is gone
-- Returns {ids put back, ids in quarantine, ids failed}, each space-separated.
local MOST_ABANDONED = 4
local back, quarantined, failed = {}, {}, {}

local function give_up(job, err, code)
  finish(job, 'failed', 'cq_error', err)
  add_bare_outcome(ARGV[3], job.id, job.origin, 'failed', code)
  failed[#failed + 1] = job.id
end

local function release_slots(job, member) free_slots(scopes_of(job), member) end

local function take_back(job)
  job.abandoned = job.abandoned + 1
  redis.call('HSET', job_key(job.id), 'cq_abandoned', job.abandoned)
  if redis.call('HEXISTS', job_key(job.id), 'cq_streamed') == 1 then return give_up(job, ARGV[6], 'stream_broken') end
  if (job.max or tonumber(ARGV[2])) <= 1 and not is_rating(job) then return give_up(job, ARGV[4], 'worker_lost') end
  if job.abandoned >= MOST_ABANDONED then return give_up(job, ARGV[5], 'poison') end
  redis.call('HSET', job_key(job.id), 'status', 'queued', 'enqueued_at', NOW_ISO)
  count('rescued')
  return_job(job)
  local list = is_suspect(job) and quarantined or back
  list[#list + 1] = job.id
end

local function rescue(id, token, member)
  local job = read_job(id)
  if job then
    redis.call('ZREM', 'rq:wip:' .. job.origin, member)
    if not pcall(release_slots, job, member) then count('broken') end
  else
    for i = 7, #ARGV do redis.call('ZREM', 'rq:wip:' .. ARGV[i], member) end
  end
  drop_execution(id, token)
  if not job or job.status ~= 'started' or job.token ~= token then return 'dropped' end
  tally('abandoned ' .. provider_of(job.origin), 1)
  count('abandoned')
  add_events(ARGV[3], cjson.encode({type = 'attempt', job = id, token = token, queue = job.origin, attempt = job.attempts,
    error = 'worker_lost', maybe_billed = true}), '')
  take_back(job)
  return 'rescued'
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', NOW_MS, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZREM', LEASES, member)
  local id, token = string.match(member, '^(.*):([^:]+)$')
  if not id or not is_id(id) or guarded(rescue, id, token, member) == 'broken' then count('broken') end
end
commit_lots()
commit()
return {table.concat(back, ' '), table.concat(quarantined, ' '), table.concat(failed, ' ')}
