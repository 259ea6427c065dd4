#!lua flags=allow-oom
-- include: ledger learning breaker lots results failover
-- Moves jobs whose selector has answered to the target that was chosen for them. The rating was a call of its own: it counts as no
-- attempt, and what it drew is settled here.
-- Safe to send twice: the second time the lease is gone ('stale').
-- ARGV 1 longest event stream, entries  then 7 a job: id, token, queue it was claimed from, attempt event JSON or '', what the call
--      showed (results.lua), info (chatq's JSON), route (see failover.lua; its first candidate is where the job goes)
-- Returns a code a job: moved, stale (not the holder any more), revoked (ended meanwhile), gone, broken (no hash).
local codes, is_news = {}, {}

local function route(id, token, queue, event, shown, info, candidates)
  local member = id .. ':' .. token
  local held = redis.call('ZREM', LEASES, member) == 1
  is_news[member] = held -- else it was told before: by this, sent a first time, or by who took the job back
  drop_execution(id, token)
  local job = read_job(id)
  if not job then return 'gone' end
  if held then
    end_grant(job, member, queue, shown)
    remember_try(id, event)
  end
  if TERMINAL[job.status] then
    if held then redis.call('EXPIRE', job.key, ttl_of(job.failure_ttl)) end
    return 'revoked'
  end
  if not held or job.token ~= token then return 'stale' end
  local way = cjson.decode(candidates)
  job.attempts, job.hops = math.max(0, job.attempts - 1), nil
  redis.call('HSET', job.key, 'cq_info', info, 'cq_attempts', job.attempts)
  redis.call('HDEL', job.key, 'cq_route', 'cq_error', 'cq_limited')
  if #way > 1 then redis.call('HSET', job.key, 'cq_route', candidates) end
  move.to(job, false, 0, way[1])
  count('routed')
  return 'moved'
end

redis.call('ZREM', LEASES, '')
for i = 2, #ARGV, 7 do
  local id, token, queue, event = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local code = guarded(route, unpack(ARGV, i, i + 6))
  codes[#codes + 1] = code
  -- What broke keeps its running entry: the janitor finds it without a lease and has it rescued.
  local member = id .. ':' .. token
  if code ~= 'broken' then redis.call('ZREM', 'rq:wip:' .. queue, member) end
  if is_news[member] or code == 'broken' then add_events(ARGV[1], event, '') end
end
if not pcall(commit_results, true) then count('broken') end
commit_lots()
commit()
return codes
