#!lua flags=allow-oom
-- include: ledger breaker lots failover
-- Grants up to `want` waiting jobs to a worker: breaker, limits, lanes, clients, pop, compare-and-set, lease, mirror, attempt counted.
-- What a limit holds back stays where it is (a provider's) or is put aside (a model's, a client's); what is closed for long moves on.
-- Safe to send twice: the same nonce gets the same grants again, as far as their leases still stand.
-- The first write frees memory, so a claim also works over maxmemory on servers below 7.0.
-- A list entry that is no job id, or whose key is no hash, is dropped and counted as broken.
-- A list entry whose job is not `queued` on this queue (cancelled, ended, moved, gone) is a tombstone and is dropped.
-- ARGV 1 worker name  2 nonce  3 want  4 lease_ms  5 largest data, bytes  6 mirror ('light' or 'full')  7 longest event stream
--      8 error JSON of a job whose deadline passed  9 number of lanes  then a name and a weight a lane (most urgent first)
--      then a name, this worker's in-flight count and its jobs in quarantine (4 = take none) a provider
-- Returns {now in Unix µs, 1 = more could be granted now (0: no, -1: suspended), ms until it is worth looking again (-1: unknown),
--      then 13 a job: id, token, queue, data, info, attempts, max_attempts, deadline_ms (0 = none), enqueued_at, rate-limit waits so
--      far, hops, tokens reserved, abandonments}; data '' = over the size limit.
local worker, nonce, want, lease_ms, max_data = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local mirror_full, max_events, expired_error = ARGV[6] == 'full', ARGV[7], ARGV[8]
local grant_key = 'chatq:grant:' .. worker
local reply = {TIME[1] * 1000000 + TIME[2], 0, -1}
local QUARANTINE_MOST = 4
local TOUCHES = 800 -- entries looked at in one call: about 4 ms of Redis
local touches = 0
-- What waits is read in one step, with what a grant needs; for sorting without, payloads are large.
local WAITING_FIELDS = {'status', 'origin', 'cq_cost', 'cq_deadline', 'cq_attempts', 'cq_hops', 'cq_route', 'cq_state', 'cq_abandoned',
  'cq_limited', 'cq_max', 'cq_epoch', 'data', 'cq_info', 'enqueued_at'}
local n = #reply

local function add_to_reply(job, token, attempts, reserved)
  local data = job.data or ''
  reply[n + 1], reply[n + 2], reply[n + 3] = job.id, token, job.origin
  reply[n + 4] = #data <= max_data and data or ''
  reply[n + 5], reply[n + 6], reply[n + 7] = job.info or '', attempts, tonumber(job.max) or 0
  reply[n + 8], reply[n + 9], reply[n + 10] = job.deadline or 0, job.enqueued_at or '', tonumber(job.limited) or 0
  reply[n + 11], reply[n + 12], reply[n + 13] = job.hops or '', reserved, job.abandoned
  n = n + 13
end

local function read_waiting(id, with_payload)
  local f = redis.call('HMGET', job_key(id), unpack(WAITING_FIELDS, 1, with_payload and 15 or 10))
  if not f[1] then return nil end
  return {id = id, status = f[1], origin = f[2] or '', cost = f[3], deadline = f[4] and tonumber(f[4]), attempts = tonumber(f[5]) or 0,
    hops = f[6], route = f[7], state = f[8], abandoned = f[9] and tonumber(f[9]) or 0, limited = f[10], max = f[11], epoch = f[12],
    data = f[13], info = f[14], enqueued_at = f[15]}
end

local function look_again(at)
  local ms = math.max(1, math.ceil(at - NOW))
  if reply[3] < 0 or ms < reply[3] then reply[3] = ms end
end

redis.call('ZREM', LEASES, '')
local last = redis.call('GET', grant_key)
if last and string.sub(last, 1, #nonce + 1) == nonce .. ' ' then
  for id, reserved in string.gmatch(string.sub(last, #nonce + 2), '(%S+):(%d+)') do
    local token = redis.call('HGET', job_key(id), 'cq_token')
    if token and redis.call('ZSCORE', LEASES, id .. ':' .. token) and string.sub(token, -#nonce) == nonce then
      local job = read_waiting(id, true)
      add_to_reply(job, token, job.attempts, tonumber(reserved))
    end
  end
  reply[2] = 1 -- unknown: look again
  return reply
end
if redis.call('EXISTS', 'rq:suspended') == 1 then
  reply[2] = -1
  return reply
end

-- Granting ---------------------------------------------------------------------------------------------------------

local grants, leases, wip = {}, {}, {}
local function grant(job, d, reserved, probes)
  local key = job_key(job.id)
  if job.state then -- it had ended, and RQ's requeue put it back: it starts anew
    redis.call('HDEL', key, 'cq_state', 'cq_error', 'cq_limited', 'cq_abandoned', 'cq_tries', 'ended_at')
    job.attempts, job.limited, job.abandoned = 0, 0, 0
  end
  redis.call('PERSIST', key) -- RQ's ttl is for the time in the queue; a requeued job still has that of its error
  local epoch, attempts = (tonumber(job.epoch) or 0) + 1, job.attempts + 1
  local token = epoch .. '-' .. nonce
  local member = job.id .. ':' .. token
  redis.call('HSET', key, 'status', 'started', 'started_at', NOW_ISO, 'last_heartbeat', NOW_ISO, 'worker_name', worker,
    'cq_epoch', epoch, 'cq_token', token, 'cq_attempts', attempts)
  leases[#leases + 1], leases[#leases + 2] = NOW_MS + lease_ms, member
  local entries = wip[job.origin]
  if not entries then
    entries = {}
    wip[job.origin] = entries
  end
  entries[#entries + 1], entries[#entries + 2] = '+inf', member
  grants[#grants + 1] = job.id .. ':' .. reserved
  reserve(d.account, member, reserved)
  reserve(d.model, member, reserved)
  if next(d.client.limits) then reserve(d.client, member, reserved) end
  if probes then reserve(d.provider, member, reserved, probes) end
  add_to_reply(job, token, attempts, reserved)
  if mirror_full then
    local execution, ttl = 'rq:execution:' .. member, math.ceil(lease_ms / 1000) + 3600
    redis.call('HSET', execution, 'id', token, 'job_id', job.id, 'created_at', NOW_S, 'last_heartbeat', NOW_S, 'worker_name', worker)
    redis.call('EXPIRE', execution, ttl)
    redis.call('ZADD', 'rq:executions:' .. job.id, NOW_S + ttl, token)
    redis.call('EXPIRE', 'rq:executions:' .. job.id, ttl)
  end
end

-- The job behind a list entry, or 'dropped' for a tombstone. One whose deadline passed ends here: no call, no attempt.
local function waiting_job(id, queue, with_payload)
  touches = touches + 1
  if not is_id(id) then
    redis.call('EXPIRE', job_key(id), 86400)
    error('no job id')
  end
  local job = read_waiting(id, with_payload)
  if not job then return 'dropped' end
  if job.status ~= 'queued' or job.origin ~= queue then
    if TERMINAL[job.status] and redis.call('TTL', job_key(id)) == -1 then -- RQ's own cancel sets none
      redis.call('EXPIRE', job_key(id), ttl_of(redis.call('HGET', job_key(id), 'failure_ttl')))
    end
    return 'dropped'
  end
  if job.deadline and job.deadline <= NOW_MS then
    finish(read_ending(id), 'expired', 'cq_error', expired_error)
    add_bare_outcome(max_events, id, queue, 'expired', 'expired')
    return 'dropped'
  end
  return job
end

-- The same for an entry of any kind: false for what is no waiting job.
local function look_at(id, queue, with_payload)
  local job = guarded(waiting_job, id, queue, with_payload)
  if job == 'broken' then count('broken') end
  return type(job) == 'table' and job
end

-- Tries one job. Returns 'granted' and its cost, 'saturated' (its provider's limits: leave it where it is) or 'held' (its own
-- model's or client's), both with until, scope and reason.
local function try(job, provider)
  local d = scopes_of(job)
  local account, model = d.account, d.model
  local tokens = estimate(account, model, job.prompt, job.output)
  if provider.most and used(d.provider) >= provider.most then return 'saturated', NOW + 1000, d.provider, 'concurrency' end
  local until_at, why = held_back(account, tokens, provider.account_most)
  if until_at then return 'saturated', until_at, account, why end
  local most
  until_at, most = breaker_gate(model)
  if until_at then return 'held', until_at, model, 'breaker' end
  until_at, why = held_back(model, tokens, most)
  if until_at then return 'held', until_at, model, why end
  if next(d.client.limits) then
    until_at, why = held_back(d.client, tokens)
    if until_at then return 'held', until_at, d.client, why end
  end
  grant(job, d, tokens, provider.most)
  local cost = math.max(account.ms_per_request or 0, account.ms_per_token and tokens * account.ms_per_token or 0)
  return 'granted', cost > 0 and cost or 1, tokens
end

-- Lanes ------------------------------------------------------------------------------------------------------------

-- Puts a job aside until its model or client may go on, or on to another candidate if that takes long.
local function set_aside(lane, command, job, client, label, until_at, s, why)
  if can_move(job) and until_at - NOW > get_policy().failover_after_ms then
    local index, provider, model, is_last = choose_candidate(job, until_at)
    if index then return move_job(job, false, index, provider, model, is_last) end
    until_at = math.min(until_at, NOW + get_policy().failover_after_ms) -- ask again: one may open sooner
  end
  put_in_lot(command, lane.queue, job.id, client, label)
  hold_lot(lane.queue, client, label, until_at)
  if why == 'concurrency' then leave_word(s, lane.queue .. '\n' .. client .. '\n' .. label) end
  look_again(until_at)
end

-- Sorts what stands in RQ's list into lots: half of what one call may do, so that grants go on.
local function sort_arrivals(lane)
  while touches < TOUCHES / 2 do
    local ids = redis.call('LPOP', list_key(lane.queue), 100) or {}
    if #ids == 0 then return end
    for _, id in ipairs(ids) do
      local job = look_at(id, lane.queue)
      if job then
        local d = scopes_of(job)
        put_in_lot('RPUSH', lane.queue, id, d.client_name, label_of(job, d.model_name))
      end
    end
  end
end

-- The next entry of a lane: id, and its lot if it stood in one.
local function next_entry(lane)
  if not lane.is_sorted then
    local id = table.remove(lane.buffer)
    if not id then
      local ids = redis.call('LPOP', list_key(lane.queue), math.min(lane.want, 100)) or {}
      for i = #ids, 1, -1 do lane.buffer[#lane.buffer + 1] = ids[i] end
      id = table.remove(lane.buffer)
    end
    return id
  end
  local client, label = next_lot(lane.queue)
  if not client then return nil end
  add_aside(lane.queue, -1)
  return redis.call('LPOP', lot_key(lane.queue, client, label)), client, label
end

local function put_entry_back(lane, id, client, label)
  if client then
    put_in_lot('LPUSH', lane.queue, id, client, label)
  else
    lane.buffer[#lane.buffer + 1] = id
  end
end

-- Serves one job of a lane. Returns what became of it: granted (cost), saturated, empty, or passed (dropped, held, moved).
local function serve(lane, provider)
  local id, client, label = next_entry(lane)
  if not id then return client and 'passed' or 'empty' end
  local job = look_at(id, lane.queue, true)
  if not job then return 'passed' end
  local result, detail, about, why = try(job, provider)
  if result == 'granted' then
    if client then serve_lot(lane.queue, client, label, about) end
    return 'granted', detail
  end
  if result == 'saturated' then
    put_entry_back(lane, id, client, label)
    if why == 'concurrency' then
      leave_word(about, provider.name)
    else -- the less urgent lanes gather a quarter of a slice: fewer, fuller claims
      look_again(math.max(detail, lane.index > 1 and NOW + about.slice / 4 or 0))
    end
    return 'saturated'
  end
  local d = scopes_of(job)
  set_aside(lane, client and 'LPUSH' or 'RPUSH', job, d.client_name, label_of(job, d.model_name), detail, about, why)
  return 'passed'
end

-- Within a provider lanes share by stride scheduling on cost: the lane with the smallest pass is next, each grant moves it on by
-- cost / weight, and a lane that was idle starts at the present (no credit for idling).
local function serve_lanes(provider)
  local key, present = 'chatq:lanes:' .. provider.name, nil
  local passes, moved = {}, false
  local shares = #provider.lanes > 1
  if shares then
    present = tonumber(redis.call('HGET', key, 'present') or 0)
    for _, lane in ipairs(provider.lanes) do
      passes[lane] = math.max(present, tonumber(redis.call('HGET', key, lane.name) or 0))
    end
  end
  local active = provider.lanes
  while provider.granted > 0 and touches < TOUCHES and #active > 0 do
    local at = 1
    for i = 2, #active do
      if shares and passes[active[i]] < passes[active[at]] then at = i end
    end
    local lane = active[at]
    lane.want = provider.granted
    local result, cost = serve(lane, provider)
    if result == 'granted' then
      provider.granted = provider.granted - 1
      if shares then
        present, moved = passes[lane], true
        passes[lane] = present + cost / lane.weight
      end
    elseif result == 'empty' then
      table.remove(active, at)
    elseif result == 'saturated' then
      provider.is_saturated = true
      break
    end
  end
  if moved then
    redis.call('HSET', key, 'present', string.format('%.17g', present))
    for lane, pass in pairs(passes) do redis.call('HSET', key, lane.name, string.format('%.17g', pass)) end
  end
end

-- A suspect runs with few neighbours: at most 4 in a process, and one that was abandoned there before runs alone.
local function serve_quarantine(provider)
  local key = 'chatq:quarantine:' .. provider.name
  while provider.granted > 0 and provider.in_quarantine < QUARANTINE_MOST and touches < TOUCHES do
    local id = redis.call('LPOP', key)
    if not id then return end
    local queue = redis.call('HGET', job_key(id), 'origin') or ''
    local job = look_at(id, queue, true)
    if job then
      local alone = job.abandoned > 2
      local result, detail = 'alone', nil
      if not alone or provider.in_quarantine == 0 then result, detail = try(job, provider) end
      if result ~= 'granted' then
        redis.call('LPUSH', key, id)
        if detail then look_again(detail) end
        return
      end
      provider.granted = provider.granted - 1
      provider.in_quarantine = alone and QUARANTINE_MOST or provider.in_quarantine + 1
    end
  end
end

-- A provider that is closed for long: its jobs with another candidate move on, the rest is put aside for that time.
local function drain_closed(provider, until_at)
  for _, lane in ipairs(provider.lanes) do
    if lane.is_sorted or redis.call('EXISTS', 'chatq:movable:' .. lane.queue) == 1 then
      sort_arrivals(lane)
      while touches < TOUCHES do
        local client, label = next_lot(lane.queue)
        if not client then break end
        if string.sub(label, 1, 1) ~= '>' then
          hold_lot(lane.queue, client, label, until_at)
        else
          add_aside(lane.queue, -1)
          local id = redis.call('LPOP', lot_key(lane.queue, client, label))
          local job = look_at(id, lane.queue)
          if job then set_aside(lane, 'LPUSH', job, client, label, until_at) end
        end
      end
    end
  end
end

-- Providers --------------------------------------------------------------------------------------------------------

local function add_lanes(provider, n_lanes)
  for l = 1, n_lanes do
    local lane = {name = ARGV[8 + 2 * l], weight = tonumber(ARGV[9 + 2 * l]), index = l, buffer = {}}
    lane.queue = provider.name .. '.' .. lane.name
    release_due(lane.queue)
    local arrived = redis.call('LLEN', list_key(lane.queue))
    lane.is_sorted = redis.call('EXISTS', fair_key(lane.queue)) == 1
      or arrived > 0 and redis.call('SCARD', 'chatq:tenants:' .. lane.queue) > 1
    local waiting = arrived + tonumber(redis.call('GET', 'chatq:aside:' .. lane.queue) or 0)
    local first = redis.call('ZRANGE', later_key(lane.queue), 0, 0, 'WITHSCORES')
    if first[2] then look_again(tonumber(first[2])) end
    if arrived > 0 or lane.is_sorted then
      provider.lanes[#provider.lanes + 1] = lane
      provider.backlog = provider.backlog + waiting
    end
  end
end

-- Whether the provider or its account is closed as a whole.
local function closed_until(provider)
  local of_provider, account = provider_scopes(provider.name).provider, provider_scopes(provider.name).account
  local until_at, until_account
  until_at, provider.most = breaker_gate(of_provider)
  until_account, provider.account_most = breaker_gate(account)
  until_at = math.max(until_at or 0, until_account or 0, of_provider.state.closed_until or 0, account.state.closed_until or 0)
  return until_at > NOW and until_at or nil
end

local providers, n_lanes = {}, tonumber(ARGV[9])
for i = 10 + 2 * n_lanes, #ARGV, 3 do
  local p = {name = ARGV[i], in_flight = tonumber(ARGV[i + 1]), in_quarantine = tonumber(ARGV[i + 2]), lanes = {}, backlog = 0, granted = 0}
  add_lanes(p, n_lanes)
  p.backlog = p.backlog + redis.call('LLEN', 'chatq:quarantine:' .. p.name)
  local until_at = p.backlog > 0 and closed_until(p)
  if until_at then
    look_again(until_at)
    if until_at - NOW > get_policy().failover_after_ms then drain_closed(p, until_at) end
  elseif p.backlog > 0 then
    providers[#providers + 1] = p
  end
end

-- Slots go to the provider with the fewest calls in flight here, so that a slow one cannot fill the worker.
for _ = 1, want do
  local best
  for _, p in ipairs(providers) do
    if p.granted < p.backlog and (not best or p.in_flight + p.granted < best.in_flight + best.granted) then best = p end
  end
  if not best then break end
  best.granted = best.granted + 1
end

for _, p in ipairs(providers) do
  for _, lane in ipairs(p.lanes) do
    if lane.is_sorted then sort_arrivals(lane) end
  end
  if p.granted > 0 then
    serve_quarantine(p)
    serve_lanes(p)
  end
  for _, lane in ipairs(p.lanes) do
    for _, id in ipairs(lane.buffer) do redis.call('LPUSH', list_key(lane.queue), id) end
    local is_empty = redis.call('EXISTS', list_key(lane.queue)) == 0
    if is_empty then redis.call('DEL', 'chatq:tenants:' .. lane.queue, 'chatq:movable:' .. lane.queue) end
    if not p.is_saturated and (not is_empty or lane.is_sorted and next_lot(lane.queue)) then reply[2] = 1 end
  end
end

for queue, entries in pairs(wip) do call_many('ZADD', 'rq:wip:' .. queue, entries) end
call_many('ZADD', LEASES, leases)
if #grants > 0 then redis.call('SET', grant_key, nonce .. ' ' .. table.concat(grants, ' '), 'EX', 120) end
commit_lots()
commit()
return reply
