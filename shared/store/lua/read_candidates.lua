#!lua flags=no-writes
-- include: ledger breaker admission holds
-- What is known of candidates just now, for choosing among them. It only reads, so it is safe to send twice.
-- ARGV 1 lane  then a provider and a model a candidate
-- Returns JSON, a list a candidate: {ms until it takes calls (0: it does; by breakers and cooldowns), ms that a call usually takes
--      (-1: unknown), ms until a call that comes now has ended (-1: unknown)}; {} where something is broken.
local LANES = {'interactive', 'default', 'batch'}

local function opens_in(d)
  local at = NOW
  for _, s in ipairs({d.provider, d.account, d.model}) do
    at = math.max(at, s.state.closed_until or 0, breaker_gate(s) or 0)
  end
  return at - NOW
end

-- Calls that end a second when there is enough to do: what was served lately, else what limits and slots allow; nil = unknown.
local function rate_of(provider, d, usual_ms)
  local served = pace_of(provider .. '.' .. ARGV[1], d.account)
  if served then return served end
  local tokens = expected(d.model, 0, 0)
  local per_s
  for _, s in ipairs({d.account, d.model}) do
    if s.ms_per_request then per_s = least(per_s, 1000 / s.ms_per_request) end
    if s.ms_per_token then per_s = least(per_s, 1000 / (s.ms_per_token * tokens)) end
    if s.slots and usual_ms then per_s = least(per_s, s.slots * 1000 / usual_ms) end
  end
  return per_s
end

local function describe(provider, model)
  local d = call_scopes(provider, '\n' .. model)
  local opens_ms, usual_ms, waiting = opens_in(d), d.model.state.usual_ms, 0
  for _, lane in ipairs(LANES) do
    waiting = waiting + waiting_in(provider .. '.' .. lane)
    if lane == ARGV[1] then break end -- what is less urgent does not stand in its way
  end
  local per_s = rate_of(provider, d, usual_ms)
  local queued_ms = waiting == 0 and 0 or per_s and waiting * 1000 / per_s
  return {opens_ms, usual_ms or -1, usual_ms and queued_ms and opens_ms + queued_ms + usual_ms or -1}
end

local found = {}
for i = 2, #ARGV, 2 do
  local ok, candidate = pcall(describe, ARGV[i], ARGV[i + 1])
  found[#found + 1] = ok and candidate or {}
end
return cjson.encode(found)
