#!lua flags=allow-oom
-- Puts right what broken data left behind in a queue. Safe to send twice: it writes only what is missing.
-- A running entry without a lease (the script that ended its grant broke half way) gets a lease that has run out, so that the rescuer
-- takes it. The counts of a queue that holds nothing at all go (RQ's own delete does not tell us).
-- ARGV 1 queue  2 cursor
-- Returns {next cursor ('0' = done), entries given to the rescuer}.
redis.call('ZREM', LEASES, '')
local queue, found = ARGV[1], 0
local wip = 'rq:wip:' .. queue
local page = redis.call('ZSCAN', wip, ARGV[2], 'COUNT', 500)
for i = 1, #page[2], 2 do
  local member = page[2][i]
  if page[2][i + 1] == 'inf' and not redis.call('ZSCORE', LEASES, member) then -- other scores are a stock RQ worker's
    redis.call('ZADD', LEASES, 'NX', NOW_MS, member)
    found = found + 1
  end
end
local is_empty = redis.call('EXISTS', wip, list_key(queue), 'rq:scheduled:' .. queue, 'chatq:aside:' .. queue, quarantine_key(queue)) == 0
if is_empty then
  redis.call('HDEL', 'chatq:payload', queue)
  redis.call('HDEL', 'chatq:unfinished', queue)
end
return {page[1], found}
