-- Learning from answers: what a limit really is, how to slow down and speed up again, how long answers are (needs ledger.lua).
local GROW, RECOVER_PER_MS = 0.05, 0.05 / 10000 -- +5 % a round; a rate that was cut grows back by 5 points in 10 s
local OUTPUT_STEP = 0.05 -- share of a new answer's size in the running mean

-- n good answers of calls sent after the last cut: the way up. Their slots are not freed yet.
local function grow(s, n)
  local st = s.state
  if NOW < (st.quiet_until or 0) then return end
  local limit = st.adaptive or (s.adapts and not has_limits(s) and FIRST_CONCURRENCY)
  if limit and used(s) >= 0.75 * limit and limit < MOST_CONCURRENCY then
    st.adaptive = limit + n * (st.gentle and GROW or 1)
    s.dirty = true
  end
  if st.factor then
    st.factor = st.factor + RECOVER_PER_MS * math.min(10000, math.max(0, NOW - (st.grown_at or NOW)))
    st.grown_at = NOW
    if st.factor >= 1 then st.factor, st.grown_at = nil, nil end
    s.dirty = true
  end
end

-- A good answer to a call that was sent after the last closure.
local function forgive(s)
  if (s.state.strikes or 0) > 0 then
    s.state.strikes = 0
    s.dirty = true
  end
end

-- What a provider says of its limits: that it refuses a call over one, or what they are.
local heed = rarely(function(heed)
  local CUT, QUIET_MS = 0.8, 15000 -- ×0.8 once an episode, 15 s without growth (reliability §5)
  local LEAST_FACTOR = 0.05 -- of a rate
  local LEAST_WAIT_MS = 100

  local function cut_rate(s)
    local st = s.state
    local factor = (st.factor or 1) * CUT
    -- In a storm the provider lets through just its limit: what was served tells it, if we were pressing at all.
    local rate, rpm = served_per_s(s), s.ms_per_request and 60000 / s.ms_per_request
    local pressing = paid_off(st.requests_at) - NOW > s.slice / 4 or paid_off(st.tokens_at) - NOW > s.slice / 4
    if rate and rpm and pressing and st.served + (st.served_before or 0) >= 10 then
      factor = math.min(factor, math.max(0.25 * (st.factor or 1), 0.95 * rate * 60 / rpm * (st.factor or 1)))
    end
    st.factor, st.grown_at = math.max(LEAST_FACTOR, factor), NOW
  end

  local function cut_concurrency(s)
    local st = s.state
    local limit = st.adaptive or s.slots or math.huge
    local running = used(s) > 0 and used(s) or redis.call('ZCARD', LEASES) -- not counted so far: no more than all
    st.adaptive, st.gentle = math.max(1, CUT * math.min(limit, math.max(1, running))), 1
  end

  -- The provider asked to wait: closes the scope for everybody. Calls that were sent before the closure only prolong it; the first one
  -- sent after it is a new episode: it cuts once, and doubles a wait that proved too short.
  -- asked: {wait_ms (-1 = not stated), own_ms, own_max_ms, dimension, limit, sent_at (ms since EPOCH)}. Returns the time it closes until.
  function heed.refusal(s, asked)
    local st = s.state
    local new_episode = asked.sent_at >= (st.closed_at or 0)
    local strikes = math.min(16, (st.strikes or 0) + (new_episode and 1 or 0))
    local wait = asked.wait_ms
    if wait < 0 then
      wait = math.min(asked.own_max_ms, asked.own_ms * 2 ^ math.max(0, strikes - 1))
    else -- some state no wait at all, or one that proves too short
      wait = math.max(wait, math.min(60000, math.max(wait, LEAST_WAIT_MS) * 2 ^ math.max(0, strikes - 1)))
    end
    st.closed_until = math.max(st.closed_until or 0, NOW + wait)
    if new_episode then
      st.strikes, st.closed_at, st.quiet_until = strikes, NOW, math.max(NOW + wait, NOW + QUIET_MS)
      local known = {requests = s.limits.rpm, tokens = s.limits.tpm, concurrency = s.limits.concurrency}
      local stated = {requests = 'stated_rpm', tokens = 'stated_tpm', concurrency = 'stated_concurrency'}
      local limit, dimension = asked.limit, asked.dimension
      if limit and limit > 0 and dimension and stated[dimension] and limit < (known[dimension] or math.huge) then
        st[stated[dimension]] = limit
      elseif dimension ~= 'concurrency' and (s.ms_per_request or s.ms_per_token) then
        cut_rate(s)
      else
        cut_concurrency(s)
      end
      price(s)
    end
    s.dirty = true
    return st.closed_until
  end

  -- What an answer's headers say of the limits: believed as far as they are lower than ours.
  -- stated: limit and remaining requests, limit and remaining tokens; nil where not said.
  function heed.headers(s, limit_requests, remaining_requests, limit_tokens, remaining_tokens)
    local st = s.state
    local function lower(field, known, limit)
      local value = limit and limit > 0 and (not known or limit < known) and limit or nil
      if limit and st[field] ~= value then
        st[field] = value
        s.dirty = true
      end
    end
    lower('stated_rpm', s.limits.rpm, limit_requests)
    lower('stated_tpm', s.limits.tpm, limit_tokens)
    price(s)
    local function no_more_than(field, ms_each, remaining)
      if not (ms_each and remaining) then return end
      local at = NOW + s.slice - remaining * ms_each
      if at > (st[field] or 0) then
        st[field] = at
        s.dirty = true
      end
    end
    no_more_than('requests_at', s.ms_per_request, remaining_requests)
    no_more_than('tokens_at', s.ms_per_token, remaining_tokens)
  end

  -- Which of its scopes a limit belongs to that an answer blames on the model: where the operator stated limits, else the model.
  function heed.scope(blamed, account, model)
    if blamed == 'account' or blamed == 'model' and has_limits(account) and not has_limits(model) then return account end
    return model
  end
end)

-- Learns how long a model's answers are, and how its tokens compare with our estimates of prompts; from sums over n answers.
local function learn_sizes(model, n, output, squares, prompt, estimated)
  local st = model.state
  local known = math.min(1 / OUTPUT_STEP, (st.outputs or 0) + n)
  local step = math.min(1, math.max(OUTPUT_STEP, n / known))
  local function follow(field, value) st[field] = (st[field] or value) + step * (value - (st[field] or value)) end
  follow('output_mean', output / n)
  follow('output_square', squares / n)
  st.outputs, st.output_dev = known, math.sqrt(math.max(0, st.output_square - st.output_mean ^ 2))
  if estimated > 0 and prompt > 0 then follow('prompt_ratio', math.max(0.02, math.min(10, prompt / estimated))) end
  model.dirty = true
end

-- Learns how long a model's calls take, from claim to settle: a running median. Half the calls should take longer than it; each batch
-- moves it by how far that is off, in standard deviations.
local PACE_STEP = 0.05
local function learn_pace(model, n, slower, took)
  local st = model.state
  local factor = 1 + math.max(-0.5, PACE_STEP * (2 * slower - n) / math.sqrt(n))
  st.usual_ms = math.max(1, st.usual_ms and st.usual_ms * factor or took / n)
  model.dirty = true
end

-- Remembers of a model that it was tried and has never answered: how long its calls take is unknown, but not for want of trying.
local function learn_silence(model, good, failed)
  local st = model.state
  if good > 0 and st.silent_at then
    st.silent_at, model.dirty = nil, true
  elseif good == 0 and failed > 0 and not st.usual_ms then
    st.silent_at, model.dirty = NOW, true
  end
end
