#!lua flags=allow-oom
-- include: ledger learning breaker lots results
-- Stores the outcomes of a batch of grants, and settles what their calls drew from the limits.
-- The lease is the fence: removing it proves the grant is current.
-- Safe to send twice: the second time the lease is gone and the token is the one that ended the job ('same').
-- The first write frees memory (ZREM), so paid answers are stored over maxmemory on every server.
-- A success is accepted from any attempt of an unfinished job (the answer is valid and paid for); a failure only
-- from the holder. The first terminal outcome wins and never changes.
-- ARGV 1 mirror ('light' or 'full')  2 longest event stream, entries  then 9 a job:
--      id, token, kind (completed|failed|expired|cancelled|stopped), value (result or error, JSON),
--      attempt event JSON or "", outcome event JSON, value for the RQ result stream (full mirror), the queue it was claimed from,
--      what the call showed (see results.lua)
-- Returns a code a job: ok, same, salvaged, stale (ended or running elsewhere), revoked (ended by a cancel or stop),
-- gone (the hash expired), broken (no hash).
local mirror_full, max_events = ARGV[1] == 'full', ARGV[2]
local codes, trimmed, left_wip, is_held, is_told = {}, {}, {}, {}, {}

local function mirror(job, token, kind, value)
  drop_execution(job.id, token)
  local ok = kind == 'completed'
  local ttl = ttl_of(ok and job.result_ttl or job.failure_ttl)
  local worker = redis.call('HGET', job_key(job.id), 'worker_name') or ''
  redis.call('XADD', 'rq:results:' .. job.id, 'MAXLEN', '~', '10', '*', 'type', ok and '1' or '2',
    'worker_name', worker, ok and 'return_value' or 'exc_string', value, 'execution_id', token)
  redis.call('EXPIRE', 'rq:results:' .. job.id, ttl)
  if redis.call('EXISTS', 'rq:worker:' .. worker) == 1 then
    redis.call('HINCRBY', 'rq:worker:' .. worker, ok and 'successful_job_count' or 'failed_job_count', 1)
  end
end

-- What broke keeps its running entry: the janitor finds it without a lease and has it rescued.
local function leave_running(queue, member)
  local members = left_wip[queue]
  if members then members[#members + 1] = member else left_wip[queue] = {member} end
end

-- Whether the call of a grant that did not decide its job's end has yet to be told: this may be sent a second time.
local function tell_once(id, token) return redis.call('HSETNX', job_key(id), 'cq_told:' .. token, 1) == 1 end

local function settle(id, token, member, kind, value, attempt_event, full_value, queue, shown)
  local held = is_held[member]
  is_held[member] = nil
  local job = read_ending(id)
  if not job then
    is_told[member] = not held
    return 'gone'
  end
  if held then end_grant(job, member, queue, shown) end
  if TERMINAL[job.status] then
    if held then redis.call('EXPIRE', job.key, ttl_of(job.failure_ttl)) end -- RQ's own cancel sets none
    if not held and job.token == token and OUTCOMES[kind][1] == job.status then return 'same' end
    if held then remember_try(id, attempt_event) end
    is_told[member] = not tell_once(id, token)
    return (job.status == 'canceled' or job.status == 'stopped') and 'revoked' or 'stale'
  end
  local code = 'ok'
  if not (held and job.status == 'started' and job.token == token) then -- FENCE
    if kind ~= 'completed' then
      is_told[member] = not tell_once(id, token)
      return 'stale'
    end
    code = 'salvaged'
    if job.status == 'started' then
      local other = id .. ':' .. (job.token or '')
      if is_held[other] or redis.call('ZREM', LEASES, other) == 1 then free_slots(scopes_of(job), other) end
      is_held[other] = nil
      redis.call('ZREM', 'rq:wip:' .. job.origin, other)
    end
    redis.call('HSET', job.key, 'cq_token', token)
  end
  if kind ~= 'completed' then remember_try(id, attempt_event) end
  finish(job, kind, kind == 'completed' and 'cq_result' or 'cq_error', value)
  if mirror_full then mirror(job, token, kind, full_value) end
  if not trimmed[job.origin] then
    trimmed[job.origin] = true
    redis.call('ZREMRANGEBYSCORE', 'rq:finished:' .. job.origin, 0, NOW_S)
  end
  return code
end

-- All leases at once: who was in is held, and none is afterwards.
local members = {''}
for i = 3, #ARGV, 9 do members[#members + 1] = ARGV[i] .. ':' .. ARGV[i + 1] end
local scores = redis.call('ZMSCORE', LEASES, unpack(members))
for i, member in ipairs(members) do is_held[member] = scores[i] and true end
redis.call('ZREM', LEASES, unpack(members))
for i = 3, #ARGV, 9 do
  local id, token, kind, value, attempt_event, outcome_event, full_value, queue, shown = unpack(ARGV, i, i + 8)
  local member = members[#codes + 2]
  local code = guarded(settle, id, token, member, kind, value, attempt_event, full_value, queue, shown)
  codes[#codes + 1] = code
  if code ~= 'broken' then leave_running(queue, member) end
  if code == 'ok' or code == 'salvaged' then
    add_events(max_events, attempt_event, outcome_event)
    if code == 'salvaged' then count(code) end
  elseif not is_told[member] then
    count(code)
    if code ~= 'same' then add_events(max_events, attempt_event, '') end
  end
end
for queue, members in pairs(left_wip) do
  if not pcall(call_many, 'ZREM', 'rq:wip:' .. queue, members) then count('broken') end
end
-- Whatever breaks in the books: outcomes are stored, and who waits for them is told.
if not pcall(commit_results) then count('broken') end
commit_lots()
commit()
return codes
