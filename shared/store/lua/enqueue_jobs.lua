#!lua
-- include: ledger admission standing
-- Accepts a batch of jobs: the hash, the queue entry and the wake-up, all or nothing per call.
-- After a single job the caller sends claim_jobs with its queue, which serves a claim that stands or wakes the workers (standing.lua).
-- Safe to send twice: an id that exists is not written again; same digest = the same job, other digest = conflict.
-- Not allow-oom: over maxmemory new work is refused before anything is written.
-- ARGV 1 result_ttl_s  2 failure_ttl_s  3 timeout_s  4 waiter's channel or ''
--      5 marks: '' = none, else a letter a job: l = stands in its client's listing, w = its end is told by a webhook, b = both, - = neither
--      6 number of bounds  then 4 a bound: lane, most waiting jobs, most bytes of payload, greatest age in ms (0 = no bound)
--      then 9 a job: id, digest, queue, data (RQ's JSON 4-list), info (chatq's JSON), max_attempts, expires_in_ms (0 = never),
--      cost ("<prompt tokens> <output tokens> <bytes of payload> <client>\n<model>"), route (JSON of the candidates, '' for a single one)
-- Returns {codes, refusals}: a code a job: 1 new, 0 known and unfinished, 2 known and ended, -1 conflict, -2 refused by a bound;
--      then 4 a refusing queue: queue, bound (jobs|bytes|age), what is there, ms after which it is worth trying again (-1: unknown).
local result_ttl, failure_ttl, timeout, channel, marks = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local n_bounds, codes, arrivals, listed = tonumber(ARGV[6]), {}, {}, {}
local is_single = #ARGV == 15 + 4 * n_bounds
for i = 1, n_bounds do add_bound(ARGV[3 + 4 * i], ARGV[4 + 4 * i], ARGV[5 + 4 * i], ARGV[6 + 4 * i]) end

-- What this call brings a queue.
local function arrivals_of(queue)
  local new = {ids = {}, bytes = 0, clients = {}}
  arrivals[queue] = new
  return new
end

-- What is to be said of an id that is there; nil when its hash is no job.
local function known_as(key, digest)
  local known = redis.call('HMGET', key, 'cq_digest', 'status', 'cq_notify')
  if not known[2] then return nil end
  if known[1] ~= digest then return -1 end
  if TERMINAL[known[2]] then return 2 end
  if channel ~= '' then add_waiter(key, known[3], channel) end
  return 0
end

-- The order in a listing is that of acceptance: Unix microseconds, and within a call, which takes longer, one more a job.
local function list_job(id, client)
  local entries = listed[client] or {}
  entries[#entries + 1], entries[#entries + 2] = TIME[1] * 1000000 + TIME[2] + #codes, id
  listed[client] = entries
end

local function write_listings()
  for client, entries in pairs(listed) do
    redis.call('SADD', 'chatq:listings', client)
    call_many('ZADD', 'chatq:listing:' .. client, entries)
  end
end

-- A single job's wake-up is left to the call that follows, where a claim stands.
local function wake(queue)
  local is_sound, is_left = pcall(leave_wake_up, queue)
  if not (is_sound and is_left) then wake_all(queue) end
end

for i = 7 + 4 * n_bounds, #ARGV, 9 do
  local id, digest, queue, data, info, max_attempts, expires_in, cost, route = unpack(ARGV, i, i + 8)
  local key, new = job_key(id), arrivals[queue] or arrivals_of(queue)
  local code = redis.call('EXISTS', key) == 1 and known_as(key, digest)
  if not code and is_full(queue, #new.ids, new.bytes, #data) then code = -2 end
  if not code then
    code = 1
    local mark = string.sub(marks, #codes + 1, #codes + 1)
    local notify = channel ~= '' and channel
    if mark == 'w' or mark == 'b' then notify = notify and WEBHOOKS .. ' ' .. notify or WEBHOOKS end
    -- One command costs less than two: where nobody waits, the cost is said twice.
    redis.call('HSET', key, 'status', 'queued', 'origin', queue, 'created_at', NOW_ISO, 'enqueued_at', NOW_ISO,
      'data', data, 'timeout', timeout, 'result_ttl', result_ttl, 'failure_ttl', failure_ttl,
      'description', 'chat', 'cq_info', info, 'cq_digest', digest, 'cq_max', max_attempts, 'cq_cost', cost,
      notify and 'cq_notify' or 'cq_cost', notify or cost)
    if expires_in ~= '0' then
      redis.call('HSET', key, 'cq_deadline', NOW_MS + expires_in)
      redis.call('ZADD', DEADLINES, NOW_MS + expires_in, id)
    end
    if route ~= '' then
      redis.call('HSET', key, 'cq_route', route)
      new.is_movable = true
    end
    local bytes, client = string.match(cost, '^%d+ %d+ (%d+) ([^\n]*)')
    new.ids[#new.ids + 1] = id
    new.bytes = new.bytes + (bytes or 0)
    new.clients[client or ''] = true
    if mark == 'l' or mark == 'b' then list_job(id, client or '') end
  end
  codes[#codes + 1] = code
end
for queue, new in pairs(arrivals) do
  if #new.ids > 0 then
    redis.call('SADD', 'rq:queues', list_key(queue))
    for client in pairs(new.clients) do redis.call('SADD', 'chatq:tenants:' .. queue, client) end
    if new.is_movable then redis.call('SET', 'chatq:movable:' .. queue, 1) end
    push_ids('RPUSH', {[queue] = new.ids}, is_single and wake)
    add_payload(queue, new.bytes, #new.ids)
    totals.accepted = (totals.accepted or 0) + #new.ids
  end
end
if next(listed) and not pcall(write_listings) then count('broken') end
commit()
return {codes, refusals}
