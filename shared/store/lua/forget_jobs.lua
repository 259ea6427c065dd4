#!lua flags=allow-oom
-- Deletes ended jobs whose outcome has been collected, with the pieces in which it came; unfinished ones stay. Safe to send twice.
-- ARGV job ids
-- Returns how many were deleted.
local n = 0
for _, id in ipairs(ARGV) do
  local f = redis.call('HMGET', job_key(id), 'status', 'origin', 'cq_token')
  if TERMINAL[f[1]] and not (f[3] and redis.call('ZSCORE', LEASES, id .. ':' .. f[3])) then
    local registry = f[1] == 'finished' and 'rq:finished:' or f[1] == 'canceled' and 'rq:canceled:' or 'rq:failed:'
    redis.call('ZREM', registry .. (f[2] or ''), id)
    n = n + redis.call('DEL', job_key(id))
    redis.call('DEL', 'rq:results:' .. id, 'chatq:deltas:' .. id)
  end
end
return n
