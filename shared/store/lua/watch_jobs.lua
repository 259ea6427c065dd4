#!lua flags=allow-oom
-- Registers a waiter's channel with jobs and tells which have already ended, in one step: no wake-up is lost.
-- Safe to send twice: a channel is kept once.
-- ARGV 1 channel  then job ids
-- Returns a code a job: 0 will be told, 2 ended already, -1 no such job.
redis.call('ZREM', LEASES, '') -- first write frees memory: works over maxmemory below 7.0 too
local codes = {}
for i = 2, #ARGV do
  local key = job_key(ARGV[i])
  local known = redis.call('HMGET', key, 'status', 'cq_notify')
  if not known[1] then
    codes[#codes + 1] = -1
  elseif TERMINAL[known[1]] then
    codes[#codes + 1] = 2
  else
    add_waiter(key, known[2], ARGV[1])
    codes[#codes + 1] = 0
  end
end
return codes
