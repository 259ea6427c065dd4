-- Which job is granted next (needs grant, failover): lanes, lots, the quarantine, and providers that are closed; part of claim_jobs.
local QUARANTINE_MOST = 4

-- Puts a job aside until its model or client may go on, or on to another candidate if that takes long. Nobody knows how long an
-- open breaker will take.
local function set_aside(lane, command, job, client, label, until_at, s, why)
  if can_move(job) and (why == 'breaker' or is_long(until_at)) then
    local index, provider, model = choose_candidate(job, until_at)
    if index then return move_job(job, false, index, provider, model) end
    until_at = math.min(until_at, NOW + math.max(1000, get_policy().failover_after_ms)) -- ask again: one may open sooner
  end
  put_in_lot(command, lane.queue, job.id, client, label)
  hold_lot(lane.queue, client, label, until_at)
  if why == 'concurrency' then leave_word(s, worker .. '\n' .. lane.queue .. '\n' .. client .. '\n' .. label) end
  look_again(until_at)
end

-- Sorts what stands in RQ's list into lots: half of what one call may do, so that grants go on, and the rest at once afterwards,
-- whatever the limits say: fairness begins when all have been sorted.
local function sort_arrivals(lane)
  while true do
    if touches >= TOUCHES / 2 then return look_again(NOW + 1) end
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
local function next_entry(lane, provider)
  if not lane.is_sorted then
    local id = table.remove(lane.buffer)
    if not id then
      -- Where a limit may stop us at any job, few are taken at first: what is not granted has to go back.
      lane.fetch = math.min(lane.want, lane.fetch and lane.fetch * 4 or provider.is_limited and 4 or 100, 100)
      local ids = redis.call('LPOP', list_key(lane.queue), lane.fetch) or {}
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

-- A provider is at a limit: a freed slot will wake us, or the rate lets the next job through at its time. Fewer, fuller claims:
-- the less urgent lanes gather a quarter of a slice.
local function wait_for(s, why, at, lane)
  if why == 'concurrency' then return leave_word(s, worker) end
  look_again(math.max(at, NOW + (lane.index > 1 and s.slice / 4 or 10)))
end

-- Whether no job at all could be granted now, whatever it needs.
local function is_full(provider)
  local d, lane = provider_scopes(provider.name), provider.lanes[1] or {index = 1}
  if provider.most and used(d.provider) >= provider.most then
    leave_word(d.provider, worker)
    return true
  end
  local at, why = held_back(d.account, 0, provider.account_most)
  if at then wait_for(d.account, why, at, lane) end
  return at
end

-- Serves one job of a lane. Returns what became of it: granted (cost), saturated, empty, or passed (dropped, held, moved).
local function serve(lane, provider)
  local id, client, label = next_entry(lane, provider)
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
    wait_for(about, why, detail, lane)
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
  local active = {unpack(provider.lanes)}
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
  local key = quarantine_key(provider.name .. '.')
  while provider.granted > 0 and provider.in_quarantine < QUARANTINE_MOST and touches < TOUCHES do
    local id = redis.call('LPOP', key)
    if not id then return end
    local queue = guarded(redis.call, 'HGET', job_key(id), 'origin')
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

-- A provider that is open, or closed for long: its jobs with another candidate move on, the rest is put aside for that time.
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
          if job then set_aside(lane, 'LPUSH', job, client, label, until_at, nil, 'breaker') end
        end
      end
    end
  end
end
