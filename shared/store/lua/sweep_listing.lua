#!lua flags=allow-oom
-- Drops from a client's listing the jobs that are gone: their time is over, or somebody deleted them. Safe to send twice: it drops
-- only what is not there.
-- ARGV 1 client  2 cursor
-- Returns {next cursor ('0' = done), entries dropped}.
redis.call('ZREM', LEASES, '') -- first write frees memory: works over maxmemory below 7.0 too
local listing, gone = 'chatq:listing:' .. ARGV[1], {}
local page = redis.call('ZSCAN', listing, ARGV[2], 'COUNT', 500)
for i = 1, #page[2], 2 do
  if redis.call('EXISTS', job_key(page[2][i])) == 0 then gone[#gone + 1] = page[2][i] end
end
call_many('ZREM', listing, gone)
if redis.call('EXISTS', listing) == 0 then redis.call('SREM', 'chatq:listings', ARGV[1]) end
return {page[1], #gone}
