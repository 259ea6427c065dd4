#!lua
-- Gives jobs that ended without an answer another life: attempts, abandonments and deadline start anew. Safe to send twice: only a
-- job that has ended is taken. Not allow-oom: it is new work.
-- ARGV 5 a job: id, queue, info (chatq's JSON), cost, route ('' = a single candidate)
-- Returns a code a job: 1 queued again, 0 no such job, or one that is not to be replayed (unfinished, or answered).
local codes = {}
local function replay(id, queue, info, cost, route)
  local job = read_job(id)
  if not job or not TERMINAL[job.status] or job.status == 'finished' then return 'kept' end
  if job.token and redis.call('ZSCORE', LEASES, id .. ':' .. job.token) then return 'kept' end -- its call still runs
  local key = job_key(id)
  redis.call('ZREM', (job.status == 'canceled' and 'rq:canceled:' or 'rq:failed:') .. job.origin, id)
  redis.call('HSET', key, 'status', 'queued', 'origin', queue, 'enqueued_at', NOW_ISO, 'cq_info', info, 'cq_cost', cost,
    'cq_attempts', 0, 'cq_replayed', NOW_ISO)
  redis.call('HDEL', key, 'cq_state', 'cq_error', 'cq_limited', 'cq_drained', 'cq_abandoned', 'cq_hops', 'cq_route', 'cq_deadline',
    'cq_wait', 'cq_tries', 'cq_streamed', 'ended_at')
  redis.call('DEL', 'chatq:deltas:' .. id)
  if route ~= '' then
    redis.call('HSET', key, 'cq_route', route)
    redis.call('SET', 'chatq:movable:' .. queue, 1)
  end
  redis.call('PERSIST', key)
  redis.call('SADD', 'rq:queues', list_key(queue))
  local _, _, bytes, who = parse_cost(cost)
  redis.call('SADD', 'chatq:tenants:' .. queue, string.match(who, '^[^\n]*'))
  add_payload(queue, bytes, 1)
  push_ids('RPUSH', {[queue] = {id}})
  count('replayed')
  return 'replayed'
end

for i = 1, #ARGV, 5 do
  codes[#codes + 1] = guarded(replay, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]) == 'replayed' and 1 or 0
end
commit()
return codes
