#!lua flags=allow-oom
-- Ends jobs as cancelled, whatever they do at the moment. Safe to send twice: a terminal state never changes.
-- Queued: the list entry stays as a tombstone (no O(n) removal). Running: the lease goes, so the worker's next
-- renewal drops the call; the stop-job message (RQ's own) only makes that faster.
-- ARGV 1 longest event stream, entries  then job ids
-- Returns {chatq state or RQ status before the call, state after it} a job, '' for no such job.
redis.call('ZREM', LEASES, '') -- first write frees memory: works over maxmemory below 7.0 too
local reply = {}
local function cancel(id)
  local f = redis.call('HMGET', job_key(id), 'status', 'cq_token', 'origin', 'cq_notify', 'failure_ttl', 'worker_name', 'cq_state')
  if not f[1] or TERMINAL[f[1]] then return f[7] or f[1] or '' end
  if f[1] == 'started' then
    local token = f[2] or ''
    redis.call('ZREM', LEASES, id .. ':' .. token)
    redis.call('ZREM', 'rq:wip:' .. f[3], id .. ':' .. token)
    drop_execution(id, token)
    redis.call('PUBLISH', 'rq:pubsub:' .. (f[6] or ''), cjson.encode({command = 'stop-job', job_id = id}))
  end
  finish(id, {status = f[1], origin = f[3], notify = f[4], failure_ttl = f[5]}, 'cancelled')
  add_bare_outcome(ARGV[1], id, f[3], 'cancelled')
  return 'cancelled'
end

for i = 2, #ARGV do
  local before = redis.call('HMGET', job_key(ARGV[i]), 'cq_state', 'status')
  reply[#reply + 1], reply[#reply + 2] = before[1] or before[2] or '', cancel(ARGV[i])
end
add_totals()
notify()
return reply
