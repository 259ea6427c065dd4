#!lua flags=allow-oom
-- Renews the leases of all grants a worker holds. Safe to send twice.
-- The first write frees memory, so leases do not lapse over maxmemory on servers below 7.0.
-- ARGV 1 lease_ms  then members (<job id>:<token>), at most 500
-- Returns {member, RQ status or ''} for each grant that is not renewed: its job was ended or cancelled by others, RQ's
-- own cancel included (terminal status: drop the call), or it was taken back by the rescuer (go on: a late answer is
-- still welcome).
redis.call('ZREM', LEASES, '')
local lost, renewed = {}, {}
local members = {}
for i = 2, #ARGV do members[i - 1] = ARGV[i] end
local scores = redis.call('ZMSCORE', LEASES, unpack(members))
for i, member in ipairs(members) do
  local status = guarded(redis.call, 'HGET', job_key(string.match(member, '^(.*):')), 'status')
  if status == 'broken' then status = '' end -- the hash is gone, or no hash
  if scores[i] and status ~= '' and not TERMINAL[status] then
    renewed[#renewed + 1], renewed[#renewed + 2] = NOW_MS + ARGV[1], member
  else
    lost[#lost + 1], lost[#lost + 2] = member, status
  end
end
call_many('ZADD', LEASES, renewed)
return lost
