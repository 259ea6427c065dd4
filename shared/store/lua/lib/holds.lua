-- What holds calls back now, as people are told it (needs ledger, breaker, admission). It only looks: nothing is written back.
local OPENED_WHY = {credentials = 'credentials', quota = 'quota'}

-- Why a scope lets no call of so many tokens through: {scope, reason, until_ms (Unix; nil = unknown), dimension?, limit?}, or nil.
local function hold_of(s, tokens)
  local function hold(reason, until_at, dimension, limit)
    return {scope = s.name, reason = reason, until_ms = until_at and math.ceil(EPOCH + until_at), dimension = dimension, limit = limit}
  end
  local opened_why = OPENED_WHY[s.state.opened_why] or 'breaker'
  local until_at, most = breaker_gate(s)
  if until_at then return hold(opened_why, until_at) end
  if most and used(probes_of(s)) >= most then return hold(opened_why, nil, 'probes', most) end
  local why
  until_at, why = held_back(s, tokens)
  if not until_at then return nil end
  if why == 'concurrency' then return hold(why, nil, why, s.slots) end
  if why == 'cooldown' then return hold(why, until_at) end
  if s.ms_per_request and s.state.requests_at > s.requests_until then
    return hold('rate_limited', until_at, 'rpm', (60000 + s.slice) / s.ms_per_request)
  end
  return hold('rate_limited', until_at, 'tpm', (60000 + s.slice) / s.ms_per_token)
end

-- Jobs a second that a queue ends: its part of what its account serves just now, else its mean of the last minutes; nil = unknown.
local function pace_of(queue, account)
  local own, all = backlog.drained_per_s(queue), 0
  for _, lane in ipairs({'interactive', 'default', 'batch'}) do all = all + backlog.drained_per_s(provider_of(queue) .. '.' .. lane) end
  local now = served_per_s(account)
  if now and own > 0 and all > 0 then return now * own / all end
  return now or own > 0 and own or nil
end
