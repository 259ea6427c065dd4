#!lua flags=no-writes
-- include: ledger breaker admission holds
-- What stands of scopes: limits, what was learned, what is closed, what is used. It only reads, so it is safe to send twice.
-- ARGV scopes
-- Returns {now in Unix ms, then 3 a scope: JSON of its limits as chatq:limits has it or '', JSON of its state or '', JSON of
--      in_flight, rpm, tpm, concurrency (what is in force now, with what was learned), requests_used, tokens_used (share of the burst
--      that is not paid off), hold (see holds.lua); {} where the data is broken}.
local reply = {NOW_MS}

local function burst_used(s, paid_off_at, ms_each)
  return ms_each and math.max(0, (paid_off_at or 0) - NOW) / s.slice
end

local function describe(name)
  local s = scope(name)
  local st = s.state
  return cjson.encode({
    in_flight = used(s), concurrency = s.slots,
    rpm = s.ms_per_request and (60000 + s.slice) / s.ms_per_request, tpm = s.ms_per_token and (60000 + s.slice) / s.ms_per_token,
    requests_used = burst_used(s, st.requests_at, s.ms_per_request), tokens_used = burst_used(s, st.tokens_at, s.ms_per_token),
    hold = hold_of(s, 1),
  })
end

for _, name in ipairs(ARGV) do
  reply[#reply + 1] = redis.call('HGET', LIMITS, name) or ''
  local state = redis.pcall('GET', 'chatq:scope:' .. name)
  reply[#reply + 1] = type(state) == 'string' and state or ''
  local ok, found = pcall(describe, name)
  reply[#reply + 1] = ok and found or '{}'
end
return reply
