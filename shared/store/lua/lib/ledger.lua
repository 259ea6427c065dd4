-- The ledger: what may be sent now, counted over the whole fleet.
-- A scope is one thing that limits are counted for: account:<a>, model:<a>/<m>, client:<c>, provider:<p>. Its limits stand in the
-- hash chatq:limits (JSON {file = …, set = …}: what the operator decided), its state in chatq:scope:<scope> (JSON), and the
-- grants that hold a slot in it in the set chatq:slots:<scope>. A script loads a scope once and writes it back once.
--
-- Requests and tokens are GCRA: `…_at` is the time at which all that was granted is paid off. With a slice of S ms the rate is
-- limit / (60 s + S) and the burst S worth of it, so that no window of 60 s ever holds more than the limit. A call is let through
-- once its cost, or half a slice if it costs more, is available: the other half absorbs claims that come late.
-- Times in the state are ms since EPOCH (2025-01-01): short enough for JSON's 14 digits to keep microseconds.
local LIMITS, EPOCH = 'chatq:limits', 1735689600000
local NOW = TIME[1] * 1000 + TIME[2] / 1000 - EPOCH
local STATE_TTL_S = 7 * 86400
local LONGEST_DEBT_MS = 180000 -- more is a clock that jumped back
local FIRST_CONCURRENCY, MOST_CONCURRENCY = 20, 100000 -- Inspect AI starts at 20
local SERVED_MS = 2000
local OUTPUT_GUESS = 256 -- tokens, before a model's first answer
local PROMPT_MARGIN = 1.15 -- the learned ratio is a mean, and many prompts take more; what a call does not draw comes back

local function decoded(json)
  local ok, value = pcall(cjson.decode, json)
  return ok and type(value) == 'table' and value or {}
end

local read_state
do
  -- Only numbers and our two texts are taken from a state: anybody can write to Redis.
  local TEXTS = {breaker = true, opened_why = true}
  function read_state(json)
    local state = {}
    for field, value in pairs(json and decoded(json) or state) do
      if type(value) == 'number' and value == value and math.abs(value) < 1e15 or TEXTS[field] then state[field] = value end
    end
    return state
  end
end

local read_limits
do
  local LIMIT_NAMES = {'rpm', 'tpm', 'concurrency', 'slice_ms', 'weight'}
  function read_limits(json)
    if not json then return {} end
    local config, limits = decoded(json), {}
    for _, source in ipairs({'file', 'set'}) do
      local layer = type(config[source]) == 'table' and config[source] or {}
      for _, field in ipairs(LIMIT_NAMES) do limits[field] = tonumber(layer[field]) or limits[field] end
      limits.charge = layer.charge or limits.charge
    end
    for _, field in ipairs(LIMIT_NAMES) do
      if limits[field] and limits[field] <= 0 then
        limits.is_free = limits.is_free or limits[field] == 0 -- it is known that there is no limit
        limits[field] = nil
      end
    end
    return limits
  end
end

-- The fleet's policy for breakers and failover, beside the limits.
local get_policy
do
  local policy
  function get_policy()
    if not policy then
      local given = decoded(redis.call('HGET', LIMITS, 'policy') or '{}')
      policy = {}
      for field, default in pairs({failure_ratio = 0.5, min_calls = 20, window_ms = 10000, open_ms = 15000, max_open_ms = 300000,
        credential_open_ms = 300000, probes = 3, failover_after_ms = 5000}) do
        policy[field] = tonumber(given[field]) or default
      end
    end
    return policy
  end
end

local function least(a, b)
  if a and b then return math.min(a, b) end
  return a or b
end

local function has_limits(s)
  return s.limits.rpm or s.limits.tpm or s.limits.concurrency or s.limits.is_free
end

-- Calls at the same time; nil = any number. An account of which nothing is known finds out by itself.
local function concurrency_of(s)
  local most = least(s.limits.concurrency, s.state.stated_concurrency)
  if s.state.adaptive then
    most = least(most, math.max(1, math.floor(s.state.adaptive)))
  elseif s.adapts and not has_limits(s) then
    most = least(most, FIRST_CONCURRENCY)
  end
  return most
end

local function paid_off(at)
  if not at or at < NOW or at > NOW + LONGEST_DEBT_MS then return NOW end
  return at
end

-- What a request and a token cost now, in ms of allowance, and how many slots there are; nil without a limit. Where there is one,
-- its `…_at` is set, and not in the past.
local function price(s)
  local l, st = s.limits, s.state
  s.slice = l.slice_ms or 500
  local rpm, tpm = least(l.rpm, st.stated_rpm), least(l.tpm, st.stated_tpm)
  local factor = st.factor or 1
  s.ms_per_request = rpm and (60000 + s.slice) / (rpm * factor)
  s.ms_per_token = tpm and (60000 + s.slice) / (tpm * factor)
  s.slots = concurrency_of(s)
  -- A call may go as long as its `…_at` is not later than that (for tokens: certainly, however much it costs).
  if rpm then
    st.requests_at = paid_off(st.requests_at)
    s.requests_until = NOW + s.slice - math.min(s.ms_per_request, s.slice / 2)
  end
  if tpm then
    st.tokens_at = paid_off(st.tokens_at)
    s.tokens_until = NOW + s.slice / 2
  end
end

-- Loads scopes, up to the first nil, in one step. What stands as a state under a key of another type counts as none; writing it
-- mends it.
local scopes = {}
local function load_scopes(...)
  local names, keys = {}, {}
  for _, name in ipairs({...}) do
    if not scopes[name] then names[#names + 1], keys[#keys + 1] = name, 'chatq:scope:' .. name end
  end
  if #names == 0 then return end
  local limits, states = redis.call('HMGET', LIMITS, unpack(names)), redis.call('MGET', unpack(keys))
  for i, loaded in ipairs(names) do
    local adapts = string.sub(loaded, 1, 8) == 'account:'
    local s = {name = loaded, adapts = adapts, limits = read_limits(limits[i]), state = read_state(states[i]), granted = {}, freed = 0}
    price(s)
    scopes[loaded] = s
  end
end

local function scope(name)
  if not scopes[name] then load_scopes(name) end
  return scopes[name]
end

-- What a provider's calls draw on: {provider, account} scopes; and with whose ("<client>\n<model>") also the model's and the
-- client's. One table a provider and whose, with room for the grants that end (leaving) and for what their calls showed (results.lua).
-- model, client: of the call that is asked about, which are loaded in the same step.
local drawn_on = {}
local function provider_scopes(provider, model, client)
  local d = drawn_on[provider]
  if not d then
    local account = redis.call('HGET', 'chatq:accounts', provider) or provider
    load_scopes('provider:' .. provider, 'account:' .. account, model and 'model:' .. account .. '/' .. model, client and 'client:' .. client)
    d = {provider = scopes['provider:' .. provider], account = scopes['account:' .. account], name = account, by_who = {}}
    drawn_on[provider] = d
  end
  return d
end

local function call_scopes(provider, who)
  local of_provider = drawn_on[provider]
  local d = of_provider and of_provider.by_who[who]
  if not d then
    local client, model = string.match(who, '^([^\n]*)\n(.*)$')
    of_provider = provider_scopes(provider, model, client)
    local of_model, of_client = 'model:' .. of_provider.name .. '/' .. model, 'client:' .. client
    load_scopes(of_model, of_client)
    d = {provider = of_provider.provider, account = of_provider.account, model = scopes[of_model], client = scopes[of_client],
      client_name = client, model_name = model, leaving = {}}
    d.has_client_limits = next(d.client.limits) ~= nil
    d.limited, d.healthy = {d.account, d.model, d.client}, {d.provider, d.account, d.model}
    of_provider.by_who[who] = d
  end
  return d
end

-- The scopes of a waiting or running job.
local function scopes_of(job) return call_scopes(provider_of(job.origin), job.who) end

-- Tokens to reserve for a call, by the account's rule for what a provider counts on arrival.
local estimate
do
  -- What is the same for all calls of a provider and whose.
  local function prepare(d)
    local account, model, client, st = d.account, d.model, d.client, d.model.state
    -- More than a minute's allowance is never booked at once: what is over is settled as debt.
    local ms = math.max(account.ms_per_token or 0, model.ms_per_token or 0, client.ms_per_token or 0)
    local most_ms = 60000 + math.max(account.slice, model.slice, client.slice) -- then two of them are a whole minute apart
    d.most_tokens = ms > 0 and most_ms / ms or math.huge
    d.prompt_ratio, d.charge = st.prompt_ratio and st.prompt_ratio * PROMPT_MARGIN or 1, account.limits.charge
    d.usual = st.output_mean and st.output_mean + (st.output_dev or 0) or OUTPUT_GUESS
  end

  function estimate(d, prompt, output)
    if not d.usual then prepare(d) end
    local usual = d.usual
    prompt = prompt * d.prompt_ratio
    if output == 0 or d.charge == 'prompt_then_output' and output > usual then output = usual end
    local tokens = prompt + output
    if d.charge == 'max(prompt,max)' then tokens = prompt > output and prompt or output end
    if tokens > d.most_tokens then tokens = d.most_tokens end
    return tokens < 1 and 1 or math.ceil(tokens)
  end
end

-- What a call will probably draw: by that clients share, for a cap on the output says little of its length.
local function expected(model, prompt, output)
  local usual = model.state.output_mean or OUTPUT_GUESS
  return prompt * (model.state.prompt_ratio or 1) + (output > 0 and math.min(output, usual) or usual)
end

-- What the call really drew, by the same rule.
local function drawn(account, prompt, output)
  if account.limits.charge == 'max(prompt,max)' then return math.max(prompt, output) end
  return prompt + output
end

-- Slots ---------------------------------------------------------------------------------------------------------

local function slots_key(s) return 'chatq:slots:' .. s.name end

local function used(s)
  if not s.used then
    s.used = redis.pcall('SCARD', slots_key(s))
    if type(s.used) ~= 'number' then
      redis.call('DEL', slots_key(s))
      count('broken')
      s.used = 0
    end
  end
  return s.used
end

-- Probes of a breaker are counted apart: calls of before, which may hang, do not stand in their way.
local function probes_of(s)
  local name = 'probe:' .. s.name
  scopes[name] = scopes[name] or {name = name, limits = {}, state = {}, granted = {}, freed = 0, slice = 500}
  return scopes[name]
end

-- When a call may go ---------------------------------------------------------------------------------------------

-- Why this scope holds back a call of so many tokens: until when, the reason, and the scope whose slot must free where that is
-- `concurrency`; nil = it does not. `most` = probes at a time that a breaker allows, or nil. Slots are counted where there is a
-- limit; where it comes later, calls that run already are not in it.
local function held_back(s, tokens, most)
  if most and used(probes_of(s)) >= most then return NOW + 1000, 'concurrency', probes_of(s) end
  if s.is_calm then return nil end
  local st = s.state
  if st.closed_until and st.closed_until > NOW then return st.closed_until, 'cooldown' end
  if s.slots and used(s) >= s.slots then return NOW + 1000, 'concurrency', s end
  local wait = -1
  if s.ms_per_request then wait = st.requests_at - s.requests_until end
  if s.ms_per_token and st.tokens_at > s.tokens_until then
    wait = math.max(wait, st.tokens_at - s.tokens_until - math.max(0, s.slice / 2 - tokens * s.ms_per_token))
  end
  if wait > 0 then return NOW + wait, 'rate' end
  s.is_calm = not (s.slots or s.ms_per_request or s.ms_per_token)
  return nil
end

-- Books a granted call: a slot, a request, its tokens.
local function take_slot(s, member)
  s.granted[#s.granted + 1] = member
  s.used = used(s) + 1
end

local function reserve(s, member, tokens)
  if s.is_calm then return end
  if s.slots then take_slot(s, member) end
  local st = s.state
  if s.ms_per_request then st.requests_at, s.dirty = st.requests_at + s.ms_per_request, true end
  if s.ms_per_token then st.tokens_at, s.dirty = st.tokens_at + tokens * s.ms_per_token, true end
end

-- Corrects reservations by what was really drawn, in tokens more (or less); what is over becomes debt.
local function settle_tokens(s, more)
  if s.ms_per_token and more ~= 0 then
    local at = s.state.tokens_at + more * s.ms_per_token
    s.state.tokens_at = math.max(NOW, math.min(at, NOW + LONGEST_DEBT_MS)) -- beyond that it would pass for a clock that jumped
    s.dirty = true
  end
end

-- Frees the slots of a grant whose lease the caller removed; gathered, and done by commit_slots().
local function free_slots(d, member) d.leaving[#d.leaving + 1] = member end

local function leave(s, members)
  if used(s) == 0 then return end
  local leaving = s.leaving or {}
  local n = #leaving
  for i = 1, #members do leaving[n + i] = members[i] end
  s.leaving = leaving
end

local function commit_slots()
  for _, of_provider in pairs(drawn_on) do
    for _, d in pairs(of_provider.by_who) do
      if #d.leaving > 0 then
        for _, s in ipairs(d.limited) do leave(s, d.leaving) end
        for _, s in ipairs(d.healthy) do
          if s.state.probing then leave(probes_of(s), d.leaving) end
        end
        d.leaving = {}
      end
    end
  end
  for _, s in pairs(scopes) do
    if s.leaving then
      local n = 0
      for i = 1, #s.leaving, 1000 do
        local removed = redis.pcall('SREM', slots_key(s), unpack(s.leaving, i, math.min(i + 999, #s.leaving)))
        n = n + (tonumber(removed) or 0)
      end
      s.used, s.freed, s.leaving = s.used - n, n, nil
    end
  end
  local closed = {} -- breakers that have closed, perhaps before their last probe came back
  for _, s in pairs(scopes) do
    if s.state.probing and not s.state.breaker then closed[#closed + 1] = s end
  end
  for _, s in ipairs(closed) do
    if used(probes_of(s)) == 0 then s.state.probing, s.dirty = nil, true end
  end
end

-- The rate that is really served ----------------------------------------------------------------------------------

-- Counts answers for the rate that is really served; windows of SERVED_MS, the one before kept.
local function add_served(s, n)
  local st = s.state
  local age = NOW - (st.served_since or 0)
  if age >= SERVED_MS or age < 0 then
    st.served_before = age < 2 * SERVED_MS and st.served or 0
    st.served, st.served_since = 0, NOW
  end
  st.served = (st.served or 0) + n
  s.dirty = true
end

-- Answers per second over the last 2 to 4 s; nil if there were none.
local function served_per_s(s)
  local st = s.state
  local age = NOW - (st.served_since or 0)
  if not st.served or age >= 2 * SERVED_MS then return nil end
  local n = st.served + (st.served_before or 0)
  return n > 0 and n * 1000 / (age + (st.served_before and st.served_before > 0 and SERVED_MS or 0) + 1) or nil
end

local function save_state(s)
  local ok, json = pcall(cjson.encode, s.state) -- fails on infinity, which only a broken state brings
  local until_at = math.max(s.state.closed_until or 0, s.state.open_until or 0, NOW)
  redis.call('SET', 'chatq:scope:' .. s.name, ok and json or '{}', 'EX', STATE_TTL_S + math.ceil((until_at - NOW) / 1000))
  if until_at > NOW then -- for people: which scopes are closed, or were lately
    redis.call('ZADD', 'chatq:closed', until_at, s.name)
    redis.call('ZREMRANGEBYSCORE', 'chatq:closed', '-inf', NOW - 86400000)
  end
end

local function save_slots(s)
  call_many('SADD', slots_key(s), s.granted)
  redis.call('EXPIRE', slots_key(s), STATE_TTL_S)
  redis.call('SADD', 'chatq:slotted', s.name)
end

-- Writes back all scopes that changed; one that breaks costs its own.
local function save_scopes()
  for _, s in pairs(scopes) do
    if s.dirty and not pcall(save_state, s) then count('broken') end
    if #s.granted > 0 and not pcall(save_slots, s) then count('broken') end
  end
end
