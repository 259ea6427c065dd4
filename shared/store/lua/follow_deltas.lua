#!lua flags=allow-oom
-- Reads what is new of answers that are being streamed, and registers who follows them, in one step: no wake-up is lost.
-- Safe to send twice: a channel is kept once.
-- ARGV 1 channel  2 most pieces a job  then a job: id, number of the first piece wanted
-- Returns a list a job: 1 = it has ended, or there is none (0: more may come), then number and piece (JSON), alternating.
redis.call('ZREM', LEASES, '') -- first write frees memory: works over maxmemory below 7.0 too
local channel, most, replies = ARGV[1], ARGV[2], {}

local function look(id, first)
  local hash = job_key(id)
  local known = redis.call('HMGET', hash, 'status', 'cq_notify')
  local is_over = not known[1] or TERMINAL[known[1]]
  if not is_over then add_waiter(hash, known[2], channel) end
  local reply = {is_over and 1 or 0}
  local entries = redis.pcall('XRANGE', 'chatq:deltas:' .. id, first, '+', 'COUNT', most)
  for _, entry in ipairs(entries.err and {} or entries) do
    reply[#reply + 1], reply[#reply + 2] = string.match(entry[1], '^%d+'), entry[2][2]
  end
  return reply
end

for i = 3, #ARGV, 2 do
  local reply = guarded(look, ARGV[i], ARGV[i + 1])
  replies[#replies + 1] = reply == 'broken' and {1} or reply
end
return replies
