#!lua flags=allow-oom
-- Renews the leases of all grants a worker holds. Safe to send twice.
-- The first write frees memory, so leases do not lapse over maxmemory on servers below 7.0.
-- ARGV 1 lease_ms  then members (<job id>:<token>), at most 500
-- Returns {member, RQ status or ''} for each grant that is no longer held: ended or cancelled by others
-- (terminal status: drop the call), or taken back by the rescuer (go on: a late answer is still welcome).
redis.call('ZREM', LEASES, '')
local lost, renewed = {}, {}
local members = {}
for i = 2, #ARGV do members[i - 1] = ARGV[i] end
local scores = redis.call('ZMSCORE', LEASES, unpack(members))
for i, member in ipairs(members) do
  if scores[i] then
    renewed[#renewed + 1], renewed[#renewed + 2] = NOW_MS + ARGV[1], member
  else
    local id = string.match(member, '^[^:]+')
    lost[#lost + 1], lost[#lost + 2] = member, redis.call('HGET', job_key(id), 'status') or ''
  end
end
call_many('ZADD', LEASES, renewed)
return lost
