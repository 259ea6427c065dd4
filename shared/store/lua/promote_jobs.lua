#!lua flags=allow-oom
-- Moves due jobs from rq:scheduled:<queue> back to the front of their queue. Safe to send twice.
-- ARGV 1 most jobs a call  then queue names
-- Returns {promoted, ms until the next is due (-1 = none waits)}.
local limit, promoted, next_due, pushes = tonumber(ARGV[1]), 0, nil, {}
local function promote(id, queue)
  local f = redis.call('HMGET', job_key(id), 'status', 'origin')
  if f[1] ~= 'scheduled' or f[2] ~= queue then return 'dropped' end
  redis.call('HSET', job_key(id), 'status', 'queued', 'enqueued_at', NOW_ISO)
  redis.call('HDEL', job_key(id), 'cq_wait')
  local ids = pushes[queue]
  if ids then ids[#ids + 1] = id else pushes[queue] = {id} end
  return 'promoted'
end

for i = 2, #ARGV do
  local queue, key = ARGV[i], 'rq:scheduled:' .. ARGV[i]
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', NOW_S, 'LIMIT', 0, limit - promoted)) do
    redis.call('ZREM', key, id)
    guarded(promote, id, queue)
    promoted = promoted + 1
  end
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] and (not next_due or tonumber(first[2]) < next_due) then next_due = tonumber(first[2]) end
end
push_ids('LPUSH', pushes)
return {promoted, next_due and math.max(0, math.ceil((next_due - NOW_S) * 1000)) or -1}
