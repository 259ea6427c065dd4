#!lua flags=allow-oom
-- include: ledger lots
-- Frees slots whose grant has no lease any more. Claim, settle and rescue book both in one step, so only broken data (a job's hash
-- that was deleted or overwritten while it ran) leaves such a slot behind. Safe to send twice.
-- ARGV 1 scope  2 cursor
-- Returns {next cursor ('0' = done), slots freed}.
redis.call('ZREM', LEASES, '')
local s, freed = scope(ARGV[1]), 0
local page = redis.call('SSCAN', slots_key(s), ARGV[2], 'COUNT', 500)
used(s)
for _, member in ipairs(page[2]) do
  if not redis.call('ZSCORE', LEASES, member) then
    s.leaving = s.leaving or {}
    s.leaving[#s.leaving + 1] = member
    freed = freed + 1
  end
end
commit_lots()
if redis.call('EXISTS', slots_key(s)) == 0 then redis.call('SREM', 'chatq:slotted', ARGV[1]) end
return {page[1], freed}
