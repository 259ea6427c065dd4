#!lua flags=no-writes
-- include: ledger breaker lots admission holds
-- Says why one job waits, until when, how many jobs go before it, and how long that may take. It only reads, so it is safe to
-- send twice; in one step, because the job may be moved between two reads.
-- ARGV 1 job id
-- Returns JSON: {} when it does not wait or its data is broken, else reason, and where known scope, until_ms (Unix), place, eta_ms.
local LOOKED_AT = 50000 -- entries from each end of a list: about a millisecond

local function index_in(key, id)
  return redis.call('LPOS', key, id, 'MAXLEN', LOOKED_AT) or redis.call('LPOS', key, id, 'RANK', -1, 'MAXLEN', LOOKED_AT)
end

-- How many jobs go before it, and how many of those are of its own client and model; nil where it was not found.
local function place_of(job, d)
  local queue = job.origin
  if is_suspect(job) then
    local at = index_in(quarantine_key(queue), job.id)
    return at or nil, at or nil
  end
  local aside = tonumber(redis.call('GET', 'chatq:aside:' .. queue)) or 0
  local at = index_in(list_key(queue), job.id)
  if at then return at + aside, 0 end
  at = index_in(lot_key(queue, d.client_name, label_of(job, d.model_name)), job.id)
  if not at then return nil end
  -- Lots take turns, clients first, then a client's models: about as many jobs of each other lot go before it.
  local turns = math.max(1, redis.call('ZCARD', fair_key(queue)))
    * math.max(1, redis.call('ZCARD', ready_key(queue, d.client_name)))
  return math.max(at, math.min(at * turns, aside - 1)), at
end

-- Milliseconds that a scope's limits need for so many calls.
local function passing_ms(s, calls, tokens)
  return calls * math.max(s.ms_per_request or 0, tokens * (s.ms_per_token or 0))
end

local function eta_ms(job, d, tokens, hold, place, own_place)
  local wait = hold and hold.until_ms and math.max(0, hold.until_ms - NOW_MS) or 0
  local calls = place + (hold and not hold.until_ms and 1 or 0)
  local per_s = pace_of(job.origin, d.account)
  local limited = passing_ms(d.account, calls, tokens)
  if calls > 0 and not per_s and limited == 0 then return nil end
  local own = math.max(passing_ms(d.model, own_place, tokens), passing_ms(d.client, own_place, tokens))
  return wait + math.max(limited, own, per_s and calls * 1000 / per_s or 0)
end

-- The first that holds it back, in the order in which a claim asks.
local function first_hold(job, d, tokens)
  if redis.call('EXISTS', 'rq:suspended') == 1 then return {reason = 'suspended'} end
  if not has_worker(job.origin) then return {reason = 'no_worker'} end
  return hold_of(d.provider, 1) or hold_of(d.account, tokens) or hold_of(d.model, tokens)
    or next(d.client.limits) and hold_of(d.client, tokens) or nil
end

local function explain(id)
  local job = read_job(id)
  if not job or job.status ~= 'queued' and job.status ~= 'scheduled' then return {} end
  if job.status == 'scheduled' then
    local due_ms = math.ceil(redis.call('ZSCORE', 'rq:scheduled:' .. job.origin, id) * 1000)
    return {reason = 'backoff', until_ms = due_ms, eta_ms = math.max(0, due_ms - NOW_MS)}
  end
  local d = scopes_of(job)
  local tokens = estimate(d, job.prompt, job.output)
  local hold = first_hold(job, d, tokens)
  local is_stopped = hold and not hold.scope
  local place, own_place = place_of(job, d)
  return {
    reason = hold and hold.reason or is_suspect(job) and 'quarantine' or 'ready', scope = hold and hold.scope,
    until_ms = hold and hold.until_ms, place = place,
    eta_ms = place and not is_stopped and eta_ms(job, d, tokens, hold, place, own_place) or nil,
  }
end

local ok, found = pcall(function() return cjson.encode(explain(ARGV[1])) end)
return ok and found or '{}'
