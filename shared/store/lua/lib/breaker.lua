-- The breaker of a scope: stops calls to what keeps failing. Its state stands in the ledger's (needs ledger.lua).
-- closed (breaker = nil): results are counted in two half windows; too many failures among enough calls open it, and so do as many
--       failures without one good call between: a server that is down is not asked until the good past is outweighed.
-- open: nothing goes until open_until, which doubles each time; `opened_why` is failures, credentials or quota.
-- half: `probes` calls at a time, over the whole fleet: a probe is a slot (in chatq:slots:probe:<scope>), so a dead prober's frees
--       with its lease.
--       So many good ones in a row lead on, a bad one opens it again.
-- ramp1 … ramp3: at a time 10, 25, 50 % of the calls that ended in the window before it opened, each until as many good ones came;
--       then closed.
local function too_many_bad(good, bad, least_calls)
  return good + bad >= least_calls and bad >= get_policy().failure_ratio * (good + bad)
end

-- What only a scope needs that fails, or did lately.
local breaker = rarely(function(breaker)
  local RAMP = {ramp1 = {share = 0.10, next = 'ramp2'}, ramp2 = {share = 0.25, next = 'ramp3'}, ramp3 = {share = 0.5}}

  function breaker.open(s, why, for_ms)
    local st = s.state
    if not st.breaker then st.base = math.max(10, (st.good or 0) + (st.bad or 0) + (st.good_before or 0) + (st.bad_before or 0)) end
    if st.breaker ~= 'open' then
      st.opens, st.opened_at = math.min(16, (st.opens or 0) + 1), NOW
      count('opened')
    end
    local until_at = NOW + (for_ms or math.min(get_policy().max_open_ms, get_policy().open_ms * 2 ^ (st.opens - 1)))
    st.breaker, st.opened_why, st.open_until = 'open', why, math.max(st.open_until or 0, until_at)
    st.good, st.bad, st.good_before, st.bad_before, st.bad_in_a_row = nil, nil, nil, nil, nil
    s.dirty = true
  end

  -- See breaker_gate(); half-opens by itself.
  function breaker.gate(s)
    local st = s.state
    if st.breaker == 'open' then
      if (st.open_until or 0) > NOW then return st.open_until end
      st.breaker, st.probing, st.stage_at, st.good, st.bad = 'half', 1, math.floor(NOW), 0, 0 -- sent_at has whole ms: its own probes count
      s.dirty = true
    end
    if st.breaker == 'half' then return nil, st.opened_why == 'failures' and get_policy().probes or 1 end
    local ramp = RAMP[st.breaker]
    return nil, math.max(get_policy().probes, math.ceil((ramp and ramp.share or 1) * (st.base or 10)))
  end

  local function next_stage(s, stage)
    local st = s.state
    st.breaker, st.stage_at, st.good, st.bad, st.good_before, st.bad_before = stage, math.floor(NOW), 0, 0, nil, nil
    if not stage then st.opens, st.open_until, st.opened_why, st.base, st.stage_at = nil, nil, nil, nil, nil end
    s.dirty = true
  end

  -- Counts the results of calls sent at `sent_at`. What was sent before a probing stage says nothing about it.
  function breaker.count(s, good, bad, sent_at)
    local st = s.state
    if st.breaker == 'open' or sent_at < (st.stage_at or 0) then return end
    st.good, st.bad = (st.good or 0) + good, (st.bad or 0) + bad
    s.dirty = true
    if st.breaker == 'half' then
      if bad > 0 then return breaker.open(s, st.opened_why or 'failures') end
      local by_failures = st.opened_why == 'failures'
      if st.good >= (by_failures and get_policy().probes or 1) then next_stage(s, by_failures and 'ramp1' or nil) end
      return
    end
    local ramp = RAMP[st.breaker] or {share = 1}
    if bad > 0 and too_many_bad(st.good, st.bad, 3) then return breaker.open(s, 'failures') end
    if st.good >= ramp.share * (st.base or 10) then next_stage(s, ramp.next) end
  end
end)

-- When the breaker lets calls through again, and how many at a time: (until) while open, (nil, most) after.
local function breaker_gate(s)
  if not s.state.breaker then return nil end
  return breaker.gate(s)
end

local function count_closed(s, good, bad)
  local st, half = s.state, get_policy().window_ms / 2
  local age = NOW - (st.counted_since or 0)
  if age >= half or age < 0 then
    local recent = age >= 0 and age < 2 * half
    st.good_before, st.bad_before = recent and st.good or nil, recent and st.bad or nil
    st.good, st.bad, st.counted_since = 0, 0, NOW
  end
  st.good, st.bad = (st.good or 0) + good, (st.bad or 0) + bad
  st.bad_in_a_row = good == 0 and (st.bad_in_a_row or 0) + bad or nil
  s.dirty = true
  local least_calls = get_policy().min_calls
  local many = too_many_bad(st.good + (st.good_before or 0), st.bad + (st.bad_before or 0), least_calls)
  if bad > 0 and (many or (st.bad_in_a_row or 0) >= least_calls) then breaker.open(s, 'failures') end
end

local function count_results(s, good, bad, sent_at)
  if s.state.breaker then return breaker.count(s, good, bad, sent_at) end
  return count_closed(s, good, bad)
end
