#!lua flags=allow-oom
-- include: ledger breaker lots failover standing grant lanes
-- Grants up to `want` waiting jobs to a worker: breaker, limits, lanes, clients, pop, compare-and-set, lease, mirror, attempt counted.
-- What a limit holds back stays where it is (a provider's) or is put aside (a model's, a client's); what is closed for long moves on.
-- Safe to send twice: the same nonce gets the same grants again, as far as their leases still stand.
-- The first write frees memory, so a claim also works over maxmemory on servers below 7.0.
-- A list entry that is no job id, or whose key is no hash, is dropped and counted as broken.
-- A list entry whose job is not `queued` on this queue (cancelled, ended, moved, gone) is a tombstone and is dropped.
-- ARGV 1 worker name  2 nonce  3 want  4 lease_ms  5 largest data, bytes  6 mirror ('light' or 'full')  7 longest event stream
--      8 error JSON of a job whose deadline passed  9 ms for which the claim stands if nothing waits (standing.lua);
--      0 = it does not; 'withdraw' = it no longer does, and nothing new is granted
--      10 number of lanes  then a name and a weight a lane (most urgent first)
--      then a name, this worker's in-flight count and its jobs in quarantine (4 = take none) a provider
-- Or ARGV 1 a queue that just got a single job: a claim that stands and serves it is made, and its worker told; if there is none, all are
--      woken whose wake-up was left to this call. Returns how many claims were made.
-- Returns {now in Unix µs, 1 = more could be granted now (0: no, -1: suspended), ms until it is worth looking again (-1: unknown),
--      then a list a job: id, token, queue, tokens reserved, past, deadline (Unix ms), max_attempts, data (nil = over the size limit),
--      info, enqueued_at; as they stand in the hash, nil = not there}; past: '' at the first attempt of a job that nothing held back, else
--      "<attempts> <rate-limit waits> <abandonments> <what held it back last, - = nothing> <when, Unix µs> <hops>".
redis.call('ZREM', LEASES, '')
if IS_HANDED and worker == '' then return 0 end
local last = not IS_HANDED and redis.call('GET', grant_key)
if last and string.sub(last, 1, #nonce + 1) == nonce .. ' ' then
  for id, reserved in string.gmatch(string.sub(last, #nonce + 2), '(%S+):(%d+)') do
    local known = redis.call('HMGET', job_key(id), 'cq_token', 'status')
    local token = known[2] == 'started' and known[1] -- not what was cancelled meanwhile
    if token and redis.call('ZSCORE', LEASES, id .. ':' .. token) and string.sub(token, -#nonce) == nonce then
      local job = read_waiting(id, true)
      add_to_reply(job, token, job.attempts or 0, tonumber(reserved))
    end
  end
  reply[2] = 1 -- unknown: look again
  pcall(withdraw_claim, worker)
  return reply
end
if ARGS[9] == 'withdraw' then
  withdraw_claim(worker)
  return reply
end
if redis.call('EXISTS', 'rq:suspended') == 1 then
  reply[2] = -1
  return reply
end

redis.call('HLEN', LIMITS) -- keys of another type fail here, before anything is taken
redis.call('HLEN', 'chatq:accounts')

local function add_lanes(provider, n_lanes)
  local lots_keys = {}
  for l = 1, n_lanes do
    local queue = provider.name .. '.' .. ARGS[9 + 2 * l]
    lots_keys[2 * l - 1], lots_keys[2 * l] = fair_key(queue), later_key(queue)
  end
  local any_lots = redis.call('EXISTS', unpack(lots_keys)) > 0
  for l = 1, n_lanes do
    local lane = {name = ARGS[9 + 2 * l], weight = tonumber(ARGS[10 + 2 * l]), index = l, provider = provider.name, ids = {}, at = 0}
    lane.queue = provider.name .. '.' .. lane.name
    local arrived, waiting = redis.call('LLEN', list_key(lane.queue)), nil
    if any_lots and has_lots(lane.queue) then
      lots.release_due(lane.queue)
      local first = redis.call('ZRANGE', later_key(lane.queue), 0, 0, 'WITHSCORES')
      if first[2] then look_again(tonumber(first[2])) end
      lane.is_sorted = redis.call('EXISTS', fair_key(lane.queue)) == 1
    end
    lane.is_sorted = lane.is_sorted or arrived > 0 and redis.call('SCARD', 'chatq:tenants:' .. lane.queue) > 1
    if lane.is_sorted then
      sorting.arrivals(lane)
      waiting = waiting_in(lane.queue) + (aside[lane.queue] or 0)
    end
    if arrived > 0 or lane.is_sorted then
      provider.lanes[#provider.lanes + 1] = lane
      provider.backlog = provider.backlog + (waiting or arrived)
    end
  end
end

-- Whether the provider or its account is closed as a whole: until when, and whether its jobs should move on meanwhile.
local function closed_until(provider)
  provider.scopes = provider_scopes(provider.name)
  local of_provider, account = provider.scopes.provider, provider.scopes.account
  provider.scale = account.ms_per_token or account.ms_per_request or 1
  provider.is_limited = account.slots or account.ms_per_request or account.ms_per_token
  local until_at, until_account
  until_at, provider.most = breaker_gate(of_provider)
  until_account, provider.account_most = breaker_gate(account)
  local is_open = until_at or until_account
  provider.closed_by = (until_at or (of_provider.state.closed_until or 0) > NOW) and of_provider or account
  provider.closed_why = is_open and 'breaker' or 'cooldown'
  until_at = math.max(until_at or 0, until_account or 0, of_provider.state.closed_until or 0, account.state.closed_until or 0)
  if until_at <= NOW then return nil end
  return until_at, is_open or is_long(until_at)
end

local providers, closed, n_lanes, anything_waits = {}, {}, tonumber(ARGS[10]), false
local function look_over(p)
  add_lanes(p, n_lanes)
  p.suspects = redis.call('LLEN', quarantine_key(p.name .. '.'))
  p.backlog = p.backlog + p.suspects
  if p.backlog == 0 then return end
  anything_waits = true
  local until_at, moves_on = closed_until(p)
  if until_at then
    look_again(until_at)
    last_hold.remember(p.name, '', p.closed_by, p.closed_why)
    if moves_on then
      p.until_at = until_at
      closed[#closed + 1] = p
    end
  elseif not is_full(p) then
    providers[#providers + 1] = p
  end
end

for i = 11 + 2 * n_lanes, #ARGS, 3 do
  local p = {name = ARGS[i], in_flight = tonumber(ARGS[i + 1]), in_quarantine = tonumber(ARGS[i + 2]), lanes = {}, backlog = 0, granted = 0}
  if not pcall(look_over, p) then count('broken') end
end

-- Slots go to the provider with the fewest calls in flight here, so that a slow one cannot fill the worker.
local function share_out(slots)
  local free, asked = {}, 0
  for _, p in ipairs(providers) do
    if not p.is_done and p.granted < p.backlog then free[#free + 1] = p end
  end
  if #free == 1 then
    free[1].granted = math.min(slots, free[1].backlog)
    return free[1].granted
  end
  for _ = 1, slots do
    local best
    for _, p in ipairs(free) do
      if p.granted < p.backlog and (not best or p.in_flight + p.granted < best.in_flight + best.granted) then best = p end
    end
    if not best then break end
    best.granted, asked = best.granted + 1, asked + 1
  end
  return asked
end

-- Whatever breaks in one provider: what was granted gets its leases, and the others are served.
local function serve_provider(p)
  local asked = p.granted
  if not ((p.suspects == 0 or pcall(quarantine.serve, p)) and pcall(serve_lanes, p)) then count('broken') end
  local left = p.granted
  p.in_flight, p.backlog, p.granted = p.in_flight + asked - left, p.backlog - asked + left, 0
  p.is_done = left > 0
  return left
end

-- What one provider cannot use goes to the others. Who is asked first changes: several may share an account.
local left = want
while left > 0 and touches < TOUCHES do
  local asked, unused = share_out(left), 0
  if asked == 0 then break end
  for i = 1, #providers do
    local p = providers[(TIME[2] + i) % #providers + 1]
    if p.granted > 0 then unused = unused + serve_provider(p) end
  end
  left = left - asked + unused
end

-- What is granted is put down first, whatever else breaks.
call_many('ZADD', LEASES, leases)
if #grants > 0 then redis.call('SET', grant_key, nonce .. ' ' .. table.concat(grants, ' '), 'EX', 120) end
for queue, entries in pairs(wip) do
  if not pcall(call_many, 'ZADD', 'rq:wip:' .. queue, entries) then count('broken') end
end

local function leave_lane(p, lane)
  local left_over = {}
  for i = #lane.ids, lane.at + 1, -1 do left_over[#left_over + 1] = lane.ids[i] end
  call_many('LPUSH', list_key(lane.queue), left_over)
  local is_empty = redis.call('EXISTS', list_key(lane.queue)) == 0 -- hints on what stands in the list go with it
  if is_empty then redis.call('DEL', 'chatq:tenants:' .. lane.queue, 'chatq:movable:' .. lane.queue) end
  if not p.is_saturated and (not is_empty or lane.is_sorted and lots.next(lane.queue)) then reply[2] = 1 end
end

for _, p in ipairs(providers) do
  for _, lane in ipairs(p.lanes) do
    if not pcall(leave_lane, p, lane) then count('broken') end
  end
end
-- With what one call may still do: a closed provider's backlog must not keep the others waiting.
for _, p in ipairs(closed) do
  if not pcall(sorting.drain, p, p.until_at) then count('broken') end
end
commit_lots()
commit()
if IS_HANDED then
  standing.tell(worker, nonce, reply)
  return 1
end
if ARGS[9] ~= '0' then
  if not anything_waits and reply[3] < 0 then pcall(standing.leave, ARGS) else pcall(withdraw_claim, worker) end
end
return reply
