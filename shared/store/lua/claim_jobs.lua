#!lua flags=allow-oom
-- Grants up to `want` queued jobs to a worker: pop, compare-and-set on status, lease, mirror, attempt counted.
-- Safe to send twice: the same nonce gets the same grant again, as far as its leases still stand.
-- The first write frees memory, so a claim also works over maxmemory on servers below 7.0.
-- A list entry that is no job id, or whose key is no hash, is dropped and counted as broken.
-- A list entry whose job is not `queued` on this queue (cancelled, ended, moved, gone) is a tombstone and is dropped.
-- ARGV 1 worker name  2 nonce  3 want  4 lease_ms  5 largest data, bytes  6 mirror ('light' or 'full')
--      7 number of lanes  then a name and a weight a lane  then a name and this worker's in-flight count a provider
-- Returns {now in Unix µs, left in the queues (-1: suspended), then 10 a job: id, token, queue, data, info, attempts,
--      max_attempts, deadline_ms (0 = none), enqueued_at, rate-limit waits so far}; data '' = over the size limit; a job whose deadline
--      has passed is granted without counting an attempt, so that the worker can settle it as expired.
local worker, nonce, want, lease_ms, max_data = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local mirror_full = ARGV[6] == 'full'
local grant_key = 'chatq:grant:' .. worker
local reply = {TIME[1] * 1000000 + TIME[2], 0}
local FIELDS = {'status', 'origin', 'data', 'cq_info', 'cq_epoch', 'cq_attempts', 'cq_max', 'cq_deadline', 'enqueued_at', 'cq_token',
  'cq_limited', 'cq_state'}

local function add_to_reply(id, token, queue, job, attempts)
  local data = job[3] or ''
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = id, token, queue
  reply[n + 4] = #data <= max_data and data or ''
  reply[n + 5], reply[n + 6], reply[n + 7] = job[4] or '', attempts, tonumber(job[7]) or 0
  reply[n + 8], reply[n + 9], reply[n + 10] = tonumber(job[8]) or 0, job[9] or '', tonumber(job[11]) or 0
end

redis.call('ZREM', LEASES, '')
local last = redis.call('GET', grant_key)
if last and string.sub(last, 1, #nonce + 1) == nonce .. ' ' then
  for id in string.gmatch(string.sub(last, #nonce + 2), '%S+') do
    local job = redis.call('HMGET', job_key(id), unpack(FIELDS))
    local token = job[10]
    if token and redis.call('ZSCORE', LEASES, id .. ':' .. token) and string.sub(token, -#nonce) == nonce then
      add_to_reply(id, token, job[2], job, tonumber(job[6]) or 0)
    end
  end
  reply[2] = 1 -- unknown: look again
  return reply
end
if redis.call('EXISTS', 'rq:suspended') == 1 then
  reply[2] = -1
  return reply
end

-- What waits, lane by lane.
local lanes, providers, total = {}, {}, 0
local n_lanes = tonumber(ARGV[7])
for i = 1, n_lanes do lanes[i] = {name = ARGV[6 + 2 * i], weight = tonumber(ARGV[7 + 2 * i])} end
for i = 8 + 2 * n_lanes, #ARGV, 2 do
  local provider = {name = ARGV[i], in_flight = tonumber(ARGV[i + 1]), waiting = {}, backlog = 0, granted = 0}
  for l = 1, n_lanes do
    provider.waiting[l] = redis.call('LLEN', list_key(provider.name .. '.' .. lanes[l].name))
    provider.backlog = provider.backlog + provider.waiting[l]
  end
  if provider.backlog > 0 then providers[#providers + 1] = provider end
  total = total + provider.backlog
end
if total == 0 then return reply end

-- Slots go to the provider with the fewest calls in flight here, so that a slow one cannot fill the worker.
for _ = 1, math.min(want, total) do
  local best
  for _, p in ipairs(providers) do
    if p.granted < p.backlog and (not best or p.in_flight + p.granted < best.in_flight + best.granted) then best = p end
  end
  best.granted = best.granted + 1
end

-- Within a provider lanes share by stride scheduling: each grant moves its lane's pass on by 1/weight, the lane
-- with the smallest pass is next, and a lane that was idle starts at the present (no credit for idling).
local function share(provider)
  local take, busy, only = {}, 0, 0
  for l = 1, n_lanes do
    take[l] = 0
    if provider.waiting[l] > 0 then busy, only = busy + 1, l end
  end
  if busy == 1 then
    take[only] = provider.granted
    return take
  end
  local key, pass = 'chatq:lanes:' .. provider.name, {}
  local present = tonumber(redis.call('HGET', key, 'present') or 0)
  for l = 1, n_lanes do pass[l] = math.max(present, tonumber(redis.call('HGET', key, lanes[l].name) or 0)) end
  for _ = 1, provider.granted do
    local best
    for l = 1, n_lanes do
      if take[l] < provider.waiting[l] and (not best or pass[l] < pass[best]) then best = l end
    end
    take[best] = take[best] + 1
    present = pass[best]
    pass[best] = pass[best] + 1 / lanes[best].weight
  end
  redis.call('HSET', key, 'present', string.format('%.17g', present))
  for l = 1, n_lanes do redis.call('HSET', key, lanes[l].name, string.format('%.17g', pass[l])) end
  return take
end

local granted_ids, leases, dropped = {}, {}, 0
local function grant(id, queue, wip)
  local key = job_key(id)
  if not is_id(id) then
    redis.call('EXPIRE', key, 86400)
    error('no job id')
  end
  local job = redis.call('HMGET', key, unpack(FIELDS))
  if job[1] ~= 'queued' or job[2] ~= queue then
    dropped = dropped + 1
    if TERMINAL[job[1]] and redis.call('TTL', key) == -1 then -- RQ's own cancel sets none
      redis.call('EXPIRE', key, ttl_of(redis.call('HGET', key, 'failure_ttl')))
    end
    return 'dropped'
  end
  if job[12] then -- it had ended, and RQ's requeue put it back: it starts anew
    redis.call('HDEL', key, 'cq_state', 'cq_error', 'cq_limited', 'ended_at')
    job[6], job[11] = nil, nil
  end
  redis.call('PERSIST', key) -- RQ's ttl is for the time in the queue; a requeued job still has that of its error
  local deadline = tonumber(job[8])
  local attempts = tonumber(job[6]) or 0
  if not (deadline and deadline <= NOW_MS) then attempts = attempts + 1 end
  local epoch = (tonumber(job[5]) or 0) + 1
  local token = epoch .. '-' .. nonce
  local member = id .. ':' .. token
  redis.call('HSET', key, 'status', 'started', 'started_at', NOW_ISO, 'last_heartbeat', NOW_ISO, 'worker_name', worker,
    'cq_epoch', epoch, 'cq_token', token, 'cq_attempts', attempts)
  leases[#leases + 1], leases[#leases + 2] = NOW_MS + lease_ms, member
  wip[#wip + 1], wip[#wip + 2] = '+inf', member
  granted_ids[#granted_ids + 1] = id
  add_to_reply(id, token, queue, job, attempts)
  if mirror_full then
    local execution, ttl = 'rq:execution:' .. member, math.ceil(lease_ms / 1000) + 3600
    redis.call('HSET', execution, 'id', token, 'job_id', id, 'created_at', NOW_S, 'last_heartbeat', NOW_S, 'worker_name', worker)
    redis.call('EXPIRE', execution, ttl)
    redis.call('ZADD', 'rq:executions:' .. id, NOW_S + ttl, token)
    redis.call('EXPIRE', 'rq:executions:' .. id, ttl)
  end
  return 'granted'
end

for _, provider in ipairs(providers) do
  if provider.granted > 0 then
    for l, n in ipairs(share(provider)) do
      if n > 0 then
        local queue, wip = provider.name .. '.' .. lanes[l].name, {}
        for _, id in ipairs(redis.call('LPOP', list_key(queue), n) or {}) do
          if guarded(grant, id, queue, wip) == 'broken' then count('broken') end
        end
        call_many('ZADD', 'rq:wip:' .. queue, wip)
      end
    end
  end
end
call_many('ZADD', LEASES, leases)
if #granted_ids > 0 then redis.call('SET', grant_key, nonce .. ' ' .. table.concat(granted_ids, ' '), 'EX', 120) end
reply[2] = math.max(0, total - #granted_ids - dropped - (totals.broken or 0))
add_totals()
return reply
