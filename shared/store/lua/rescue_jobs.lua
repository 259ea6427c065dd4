#!lua flags=allow-oom
-- Takes back jobs whose lease ran out: their worker died or lost Redis. Safe to send twice, and from any number
-- of rescuers: each acts only on the leases it removed itself.
-- The attempt stays spent (its call may have been sent). A job without attempts left fails as `worker_lost`.
-- ARGV 1 most jobs a call  2 default max_attempts  3 longest event stream, entries  4 error JSON of `worker_lost`
--      then queue names, whose running entries are looked through when a job's hash is gone
-- Returns {ids put back, ids failed}, each space-separated.
local back, failed, pushes = {}, {}, {}
local function rescue(id, token, member)
  local key = job_key(id)
  local f = redis.call('HMGET', key, 'status', 'cq_token', 'origin', 'cq_attempts', 'cq_max', 'cq_notify', 'failure_ttl')
  if f[3] then
    redis.call('ZREM', 'rq:wip:' .. f[3], member)
  else
    for i = 5, #ARGV do redis.call('ZREM', 'rq:wip:' .. ARGV[i], member) end
  end
  drop_execution(id, token)
  if f[1] ~= 'started' or f[2] ~= token then return 'dropped' end
  if (tonumber(f[4]) or 0) >= (tonumber(f[5]) or tonumber(ARGV[2])) then
    finish(id, {status = f[1], origin = f[3], notify = f[6], failure_ttl = f[7]}, 'failed', 'cq_error', ARGV[4])
    add_bare_outcome(ARGV[3], id, f[3], 'failed', 'worker_lost')
    failed[#failed + 1] = id
  else
    redis.call('HSET', key, 'status', 'queued', 'enqueued_at', NOW_ISO)
    local ids = pushes[f[3]]
    if ids then ids[#ids + 1] = id else pushes[f[3]] = {id} end
    back[#back + 1] = id
    count('rescued')
  end
  return 'rescued'
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', NOW_MS, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZREM', LEASES, member)
  local id, token = string.match(member, '^(.*):([^:]+)$')
  if not id or not is_id(id) or guarded(rescue, id, token, member) == 'broken' then count('broken') end
end
push_ids('LPUSH', pushes)
add_totals()
notify()
return {table.concat(back, ' '), table.concat(failed, ' ')}
