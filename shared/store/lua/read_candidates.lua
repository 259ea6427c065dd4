#!lua flags=no-writes
-- include: ledger breaker
-- What is known of candidates just now, for choosing among them. It only reads, so it is safe to send twice.
-- ARGV a provider and a model a candidate
-- Returns JSON, a list of eight numbers a candidate: 1 if a breaker is open, ms until its closures end, ms that a call usually takes
--      (-1: unknown), 1 if it was tried lately and has never answered, ms that a further job adds, ms until a call that comes now has
--      ended in the lane interactive, default, batch; {} where something is broken.
local LANES = {'interactive', 'default', 'batch'}
local GUESS_MS = 1000 -- of a call, before a model's first answer
local SILENT_MS = 300000 -- after that it may be tried again
local LONGEST_MS = 366 * 86400000

-- Anybody can write to Redis, and JSON knows neither infinity nor NaN (which is passed over as the second of two).
local function sane(ms) return math.max(0, math.min(LONGEST_MS, ms)) end

-- Ms until its breakers and cooldowns let calls through, whether a breaker is open, and how many calls at a time the breakers allow
-- when they do (nil: any number).
local function closures(d)
  local opens_at, is_open, most = NOW, false, nil
  for _, s in ipairs(d.healthy) do
    local until_at, probes = breaker_gate(s)
    opens_at = math.max(opens_at, s.state.closed_until or 0, until_at or 0)
    is_open, most = is_open or until_at ~= nil, least(most, probes)
  end
  return sane(opens_at - NOW), is_open, most
end

-- Ms that each job adds which goes before: by the rates of the limits if it waits, by its turn in a slot if it waits or runs; and ms
-- until the rates are no more in debt. Of what has no limits nobody knows how many calls it takes at a time: as many as were served
-- lately, else one.
local function ms_each(d, call_ms, most)
  local by_rate, by_slot, debt = 0, most and call_ms / most or 0, 0
  local tokens = expected(d.model, 0, 0)
  for _, s in ipairs({d.account, d.model}) do
    by_rate = math.max(by_rate, s.ms_per_request or 0, (s.ms_per_token or 0) * tokens)
    if s.slots then by_slot = math.max(by_slot, call_ms / s.slots) end
    if s.ms_per_request then debt = math.max(debt, s.state.requests_at - s.requests_until) end
    if s.ms_per_token then debt = math.max(debt, s.state.tokens_at - s.tokens_until) end
  end
  if by_rate + by_slot == 0 then
    local per_s = served_per_s(d.account)
    by_slot = per_s and math.min(call_ms, 1000 / per_s) or call_ms
  end
  return sane(by_rate), sane(by_slot), sane(debt)
end

local function is_silent(state)
  local age = NOW - (state.silent_at or -math.huge)
  return age >= 0 and age < SILENT_MS
end

local function describe(provider, model)
  local d = call_scopes(provider, '\n' .. model)
  local usual_ms = d.model.state.usual_ms
  usual_ms = usual_ms and usual_ms > 0 and sane(usual_ms) or nil
  local call_ms = usual_ms or GUESS_MS
  local opens_ms, is_open, most = closures(d)
  local by_rate, by_slot, debt = ms_each(d, call_ms, most)
  local known = {is_open and 1 or 0, opens_ms, usual_ms or -1, is_silent(d.model.state) and 1 or 0, math.max(by_rate, by_slot)}
  local running, waiting = 0, 0
  for _, lane in ipairs(LANES) do running = running + redis.call('ZCARD', 'rq:wip:' .. provider .. '.' .. lane) end
  for _, lane in ipairs(LANES) do -- what is less urgent does not stand in its way
    waiting = waiting + waiting_in(provider .. '.' .. lane)
    local queued_ms = math.max(debt + waiting * by_rate, (waiting + running) * by_slot)
    known[#known + 1] = sane(opens_ms + queued_ms + call_ms)
  end
  return known
end

local found = {}
for i = 1, #ARGV, 2 do
  local ok, candidate = pcall(describe, ARGV[i], ARGV[i + 1])
  found[#found + 1] = ok and candidate or {}
end
return cjson.encode(found)
