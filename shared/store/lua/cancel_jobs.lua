#!lua flags=allow-oom
-- Ends jobs as cancelled, whatever they do at the moment, or only those that no worker has. Safe to send twice: a terminal state never changes.
-- Queued: the list entry stays as a tombstone (no O(n) removal). Running: the lease stays, with the slots and tokens its call still
-- draws, until the worker drops the call: by the stop-job message (RQ's own), at the latest at its next renewal, which is refused.
-- ARGV 1 longest event stream, entries  2 '1' = leave running jobs alone
--      3 '' or channels of one process's waiters: leave jobs alone that anybody else waits for  then job ids
-- Returns {chatq state or RQ status before the call, state after it} a job, '' for no such job.
redis.call('ZREM', LEASES, '') -- first write frees memory: works over maxmemory below 7.0 too
local reply, spares_running, own_channels = {}, ARGV[2] == '1', {}
for channel in string.gmatch(ARGV[3], '%S+') do own_channels[channel] = true end

local function is_others(job)
  for channel in string.gmatch(next(own_channels) and job.notify or '', '%S+') do
    if not own_channels[channel] then return true end
  end
  return false
end

local function cancel(id)
  local job = read_job(id)
  if not job then return '' end
  if TERMINAL[job.status] then return job.state or job.status end
  if is_others(job) then return job.status end
  if job.status == 'started' then
    if spares_running then return job.status end
    redis.call('ZREM', 'rq:wip:' .. job.origin, id .. ':' .. (job.token or ''))
    drop_execution(id, job.token or '')
    redis.call('PUBLISH', 'rq:pubsub:' .. (job.worker or ''), cjson.encode({command = 'stop-job', job_id = id}))
  end
  finish(job, 'cancelled')
  add_bare_outcome(ARGV[1], id, job.origin, 'cancelled')
  return 'cancelled'
end

for i = 4, #ARGV do
  local before = redis.call('HMGET', job_key(ARGV[i]), 'cq_state', 'status')
  reply[#reply + 1], reply[#reply + 2] = before[1] or before[2] or '', cancel(ARGV[i])
end
commit()
return reply
