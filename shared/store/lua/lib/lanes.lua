-- Which job is granted next (needs grant, failover): lanes, lots, the quarantine, and providers that are closed; part of claim_jobs.

-- Goes on with another candidate, if this one is closed for long and there is a better place. Nobody knows how long a breaker takes.
local function move_on(job, until_at, why)
  return can_move(job) and (why == 'breaker' or is_long(until_at)) and move.elsewhere(job, until_at)
end

-- What is done where a provider is at a limit.
local at_limit = rarely(function(at_limit)
  -- Puts an entry back where it was taken.
  function at_limit.put_back(lane, id, lot)
    if lot then
      lots.put('LPUSH', lane.queue, id, lot.client, lot.label)
    else
      lane.at = lane.at - 1
    end
  end

  -- A freed slot will wake us, or the rate lets the next job through at its time. Fewer, fuller claims:
  -- the less urgent lanes gather a quarter of a slice.
  function at_limit.wait(provider, s, why, at, lane)
    last_hold.remember(provider.name, '', s, why)
    if why == 'concurrency' then return leave_word(s, worker) end
    look_again(math.max(at, NOW + (lane.index > 1 and s.slice / 4 or 10)))
  end
end)

-- Jobs whose workers keep dying, which have a list of their own.
local quarantine = rarely(function(quarantine)
  local QUARANTINE_MOST = 4

  -- A suspect runs with few neighbours: at most 4 in a process, and one that was abandoned there before runs alone. One that has to
  -- wait does not hold up the others, and moves on like any job.
  function quarantine.serve(provider, closed_until)
    local key = quarantine_key(provider.name .. '.')
    for _ = 1, redis.call('LLEN', key) do -- anew: a provider may be asked more than once in a claim
      if touches >= TOUCHES or not closed_until and (provider.granted == 0 or provider.in_quarantine >= QUARANTINE_MOST) then return end
      local id = redis.call('LPOP', key)
      local job = look_at(id, guarded(redis.call, 'HGET', job_key(id), 'origin'), true)
      local alone = job and (job.abandoned or 0) > 2
      if job and closed_until then
        if not move_on(job, closed_until, 'breaker') then redis.call('RPUSH', key, id) end
      elseif job and alone and provider.in_quarantine > 0 then
        redis.call('RPUSH', key, id)
      elseif job then
        local result, _, hold = try(job, provider)
        if result == 'granted' then
          provider.granted = provider.granted - 1
          provider.in_quarantine = alone and QUARANTINE_MOST or provider.in_quarantine + 1
        elseif result == 'saturated' then
          redis.call('LPUSH', key, id)
          return at_limit.wait(provider, hold.scope, hold.why, hold.until_at, {index = 1})
        elseif result == 'held' and not move_on(job, hold.until_at, hold.why) then
          redis.call('RPUSH', key, id)
          look_again(hold.until_at)
        end
      end
    end
  end
end)

-- How jobs get into lots.
local sorting = rarely(function(sorting)
  local WORD_MS = 10000 -- a lot that waits for a slot is woken when one frees; this is only a net

  -- Until when a lot is held back. Who waits for a slot is woken. Of many lots of a lane that wait for one rate, the first TOGETHER
  -- compete for its next grant; it is not the turn of the others soon, so they are not looked at each time.
  local TOGETHER, SPREAD_MS = 32, 10000
  local function hold_time(lane, hold)
    if hold.why == 'concurrency' then return NOW + WORD_MS end
    if hold.why ~= 'rate' then return hold.until_at end
    local s = hold.scope
    s.passed_over = s.passed_over or {}
    local before = s.passed_over[lane.queue] or 0
    s.passed_over[lane.queue] = before + 1
    return hold.until_at + (math.max(0, before - TOGETHER) * math.max(s.ms_per_request or 0, s.ms_per_token or 0)) % SPREAD_MS
  end

  -- Puts a job aside until its model or client may go on, or on to another candidate if that takes long.
  local TURN = 50
  local turns, held_lots = {}, {} -- lots of which none could move so far: jobs still to be looked at; lots held by this script
  function sorting.set_aside(lane, job, from_lot, hold)
    local d = scopes_of(job)
    local client, label = d.client_name, label_of(job, d.model_name)
    if move_on(job, hold.until_at, hold.why) then
      turns[lot_key(lane.queue, client, label)] = nil
      return
    end
    if held_lots[lot_key(lane.queue, client, label)] then -- by an earlier job of it
      lots.put(from_lot and 'LPUSH' or 'RPUSH', lane.queue, job.id, client, label)
      return
    end
    local until_at = hold_time(lane, hold)
    last_hold.remember(lane.provider, lane.queue .. '\n' .. client .. '\n' .. label, hold.scope, hold.why)
    if can_move(job) and (hold.why == 'breaker' or is_long(hold.until_at)) then
      until_at = math.min(hold.until_at, NOW + math.max(1000, get_policy().failover_after_ms)) -- ask again: one may open sooner
      if from_lot then -- the next ones of the lot may have a better route, or more time: some are looked at before the lot is held
        local key = lot_key(lane.queue, client, label)
        turns[key] = (turns[key] or math.min(redis.call('LLEN', key), TURN)) - 1
        lots.put('RPUSH', lane.queue, job.id, client, label)
        if turns[key] >= 0 then return end
        turns[key] = nil
        lots.hold(lane.queue, client, label, until_at)
        held_lots[key] = true
        return look_again(until_at)
      end
    end
    lots.put(from_lot and 'LPUSH' or 'RPUSH', lane.queue, job.id, client, label)
    lots.hold(lane.queue, client, label, until_at)
    held_lots[lot_key(lane.queue, client, label)] = true
    touches = touches + 2
    if hold.why == 'concurrency' then
      leave_word(hold.scope, worker, lane.queue .. '\n' .. client .. '\n' .. label)
    else
      look_again(hold.until_at)
    end
  end

  local function sort_one(lane, id)
    local job = look_at(id, lane.queue)
    if not job then return end
    local client, model = string.match(job.who, '^([^\n]*)\n(.*)$')
    if lots.put('RPUSH', lane.queue, id, client, label_of(job, model)) then touches = touches + 2 end
  end

  -- Sorts what stands in RQ's list into lots: half of what one call may do, so that grants go on, and the rest at once afterwards,
  -- whatever the limits say: fairness begins when all have been sorted.
  function sorting.arrivals(lane)
    while true do
      if touches >= TOUCHES / 2 then return look_again(NOW + 1) end
      local ids = redis.call('LPOP', list_key(lane.queue), 50) or {}
      if #ids == 0 then return end
      for i, id in ipairs(ids) do
        if not pcall(sort_one, lane, id) then -- a key of another type in the way: all goes back, in order
          count('broken')
          for k = #ids, i, -1 do redis.call('LPUSH', list_key(lane.queue), ids[k]) end
          lane.is_sorted = false
          return
        end
      end
    end
  end

  -- A provider that is open, or closed for long: its jobs with another candidate move on, the rest is put aside for that time.
  function sorting.drain(provider, until_at)
    if provider.suspects > 0 then quarantine.serve(provider, until_at) end
    for _, lane in ipairs(provider.lanes) do
      if lane.is_sorted or redis.call('EXISTS', 'chatq:movable:' .. lane.queue) == 1 then
        sorting.arrivals(lane)
        while touches < TOUCHES do
          local client, label = lots.next(lane.queue)
          if not client then break end
          if string.sub(label, 1, 1) ~= '>' then
            lots.hold(lane.queue, client, label, until_at)
            touches = touches + 2
          else
            local job = look_at(lots.pop(lane.queue, client, label), lane.queue)
            if job then sorting.set_aside(lane, job, true, {until_at = until_at, why = 'breaker', scope = provider.closed_by}) end
          end
        end
      end
    end
  end
end)

-- How the lanes of a provider share, where more than one has jobs.
local passes = rarely(function(passes)
  -- Within a provider lanes share by stride scheduling on cost: the lane with the smallest pass is next, each grant moves it on by
  -- cost / weight, and a lane that was idle starts at the present (no credit for idling). Passes are in ms of allowance or, without
  -- limits, in jobs: when that scale changes much they begin anew.
  function passes.load(provider, key)
    local known = tonumber(redis.call('HGET', key, 'scale') or 0)
    if known > 2 * provider.scale or provider.scale > 2 * known then redis.call('DEL', key) end
    local present = tonumber(redis.call('HGET', key, 'present') or 0)
    for _, lane in ipairs(provider.lanes) do lane.pass = math.max(present, tonumber(redis.call('HGET', key, lane.name) or 0)) end
  end

  function passes.save(provider, key, present)
    redis.call('HSET', key, 'present', string.format('%.17g', present), 'scale', provider.scale)
    for _, lane in ipairs(provider.lanes) do redis.call('HSET', key, lane.name, string.format('%.17g', lane.pass)) end
  end

  -- What a grant costs its lane, in ms of allowance or, without limits, in jobs.
  function passes.cost_of(provider, tokens)
    local account = provider_scopes(provider.name).account
    local cost = math.max(account.ms_per_request or 0, tokens * (account.ms_per_token or 0))
    return cost > 0 and cost or 1
  end
end)

-- The next entry of a lane: id, and its lot if it stood in one.
local function next_entry(lane, provider)
  if not lane.is_sorted then
    lane.at = lane.at + 1
    if lane.at > #lane.ids then
      -- Where a limit may stop us at any job, few are taken at first: what is not granted has to go back.
      lane.fetch = math.min(lane.want, lane.fetch and lane.fetch * 4 or provider.is_limited and 4 or 100, 100)
      lane.ids, lane.at = redis.call('LPOP', list_key(lane.queue), lane.fetch) or {}, 1
    end
    return lane.ids[lane.at]
  end
  local client, label = lots.next(lane.queue)
  if not client then return nil end
  return lots.pop(lane.queue, client, label), {client = client, label = label}
end

-- Whether no job at all could be granted now, whatever it needs.
local function is_full(provider)
  local d, lane = provider_scopes(provider.name), provider.lanes[1] or {index = 1}
  local at, why, where = held_back(d.provider, 0, provider.most)
  if not at then at, why, where = held_back(d.account, 0, provider.account_most) end
  if at then at_limit.wait(provider, where or d.account, why, at, lane) end
  return at
end

-- Serves one job of a lane. Returns what became of it: granted (tokens), saturated, empty, or passed (dropped, held, moved).
local function serve(lane, provider)
  local id, lot = next_entry(lane, provider)
  if not id then return lot and 'passed' or 'empty' end
  local job = look_at(id, lane.queue, true)
  if not job then return 'passed' end
  local held = provider.held
  if lot then held = held_by(provider.name, lane.queue .. '\n' .. lot.client .. '\n' .. lot.label) end
  if held then job.held = held end -- setting nil would cost a field, too
  local result, tokens, hold = try(job, provider)
  if result == 'granted' then
    if lot then lots.serve(lane.queue, lot.client, lot.label, expected(scopes_of(job).model, job.prompt, job.output)) end
    return 'granted', tokens
  end
  if result == 'saturated' then
    at_limit.put_back(lane, id, lot)
    at_limit.wait(provider, hold.scope, hold.why, hold.until_at, lane)
    return 'saturated'
  end
  if result == 'held' then sorting.set_aside(lane, job, lot ~= nil, hold) end
  return 'passed'
end

local function serve_lanes(provider)
  local key, present = 'chatq:lanes:' .. provider.name, nil
  local shares = #provider.lanes > 1
  if shares then passes.load(provider, key) end
  provider.held = held_by(provider.name, '')
  local active = {unpack(provider.lanes)}
  while provider.granted > 0 and touches < TOUCHES and #active > 0 do
    local at = 1
    for i = 2, #active do
      if shares and active[i].pass < active[at].pass then at = i end
    end
    local lane = active[at]
    lane.want = provider.granted
    local result, tokens = serve(lane, provider)
    if result == 'granted' then
      provider.granted = provider.granted - 1
      if shares then
        present = lane.pass
        lane.pass = present + passes.cost_of(provider, tokens) / lane.weight
      end
    elseif result == 'empty' then
      table.remove(active, at)
    elseif result == 'saturated' then
      provider.is_saturated = true
      break
    end
  end
  if present then passes.save(provider, key, present) end
end
