-- What calls showed: tokens for the ledger, results for the breakers, waits for the scopes (needs ledger, breaker, lots).
-- shown: "<reserved> <prompt> <output> <sent_at> <verdict> <ended> <cost> <observed>", and for a call that failed a newline and a
-- JSON object. Numbers in tokens, -1 = not known; sent_at in Unix ms; '' = no call was made.
--   verdict: good, bad (failures: counted by the breaker), limited, refused (says nothing about the upstream's health), dropped (by us)
--   ended: ok, or the class of the error, for the counters; - = no call was made. cost: millionths of a dollar, ? = unknown, - = none
--   observed: limit and remaining requests, limit and remaining tokens, comma-separated, '' where not said
--   JSON: {scope (provider|account|model|job), kind (rate|quota|credentials|failure), wait_ms (-1 = not stated), own_ms,
--   own_max_ms, dimension?, limit?}
-- What is gathered about the calls of a provider and whose is counted once a script.
local function is_before_stage(s, sent_at) return s.state.breaker and sent_at < (s.state.stage_at or 0) end

local function add_bad(s, sent_at)
  if is_before_stage(s, sent_at) then return end -- it says nothing about this stage of the breaker
  s.bad_results = (s.bad_results or 0) + 1
  s.last_sent_at = math.max(s.last_sent_at or 0, sent_at)
end

-- Closes what an answer blames. Returns when it opens again; nil if nothing closed.
local function blame(b, blamed, account, model, sent_at)
  local wait = tonumber(b.wait_ms) or -1
  if b.kind == 'rate' then
    local s = b.scope == 'provider' and blamed or limited_scope(b.scope, account, model)
    return cool(s, {wait_ms = wait, own_ms = tonumber(b.own_ms) or 1000, own_max_ms = tonumber(b.own_max_ms) or 60000,
      dimension = b.dimension, limit = tonumber(b.limit), sent_at = sent_at})
  elseif b.kind == 'quota' or b.kind == 'credentials' then
    open_breaker(blamed, b.kind, wait > 0 and wait or get_policy().credential_open_ms)
    return blamed.state.open_until
  end
end

-- Books what the call of a grant showed; its lease is just removed. Returns when the blamed scope opens again, or nil.
local function settle_call(job, queue, shown)
  if shown == '' then return nil end
  local reserved, prompt, output, sent_at, verdict, ended, cost, rest =
    string.match(shown, '^(%S+) (%S+) (%S+) (%S+) (%a+) (%S+) (%S+) ?(.*)$')
  if not reserved then return nil end
  reserved, prompt, output, sent_at = tonumber(reserved), tonumber(prompt), tonumber(output), tonumber(sent_at) - EPOCH
  local d = call_scopes(provider_of(queue), read_cost(job).who)
  -- What was drawn, in the account's way of counting and in the clients': known, nothing (turned away at the door), or, for a call
  -- that was dropped, what is probable; else all that was booked.
  local likely = expected(d.model, job.prompt, job.output)
  local more, share = 0, 0
  if output >= 0 then
    more, share = drawn(d.account, math.max(prompt, 0), output) - reserved, math.max(prompt, 0) + output - likely
  elseif verdict == 'limited' or verdict == 'refused' then
    more, share = -reserved, -likely
  elseif verdict == 'dropped' then
    more = math.min(0, math.ceil(likely) - reserved)
  end
  d.more = (d.more or 0) + more
  local since = share ~= 0 and sorted_since(queue)
  if since and sent_at >= since then
    d.shares = d.shares or {}
    d.shares[queue] = (d.shares[queue] or 0) + share
  end
  if ended ~= '-' then
    d.ended = d.ended or {}
    d.ended[ended] = (d.ended[ended] or 0) + 1
    if tonumber(cost) then d.micro_usd = (d.micro_usd or 0) + cost end
    if cost == '?' then d.cost_unknown = (d.cost_unknown or 0) + 1 end
  end
  if verdict == 'good' then
    d.good, d.sent_at = (d.good or 0) + 1, math.max(d.sent_at or 0, sent_at)
    for _, s in ipairs(d.healthy) do
      if is_before_stage(s, sent_at) then s.old_results = (s.old_results or 0) + 1 end
    end
    if output >= 0 then
      d.answers, d.output, d.squares = (d.answers or 0) + 1, (d.output or 0) + output, (d.squares or 0) + output * output
      if prompt >= 0 then d.prompt, d.estimated = (d.prompt or 0) + prompt, (d.estimated or 0) + job.prompt end
    end
  end
  if rest == '' then return nil end
  local observed, json = string.match(rest, '^([^\n]*)\n?(.*)$')
  if observed ~= '' then d.observed = observed end -- the latest of this script will do
  if json == '' then return nil end
  local b = decoded(json)
  local blamed = b.scope == 'provider' and d.provider or b.scope == 'account' and d.account or d.model
  if verdict == 'bad' then
    add_bad(blamed, sent_at)
    if blamed ~= d.account then add_bad(d.account, sent_at) end
  elseif verdict == 'limited' then
    tally('limited ' .. provider_of(queue), 1)
  end
  return blame(b, blamed, d.account, d.model, sent_at)
end

-- Books a grant that ended: what its call showed, and its slots. Whatever breaks there, the job's outcome counts.
local function end_grant(job, member, queue, shown)
  local ok, opens_at = pcall(settle_call, job, queue, shown)
  if not (ok and pcall(free_slots, job, member)) then count('broken') end
  return ok and opens_at or nil
end

local function take_observed(d)
  local l = {}
  for word in string.gmatch(d.observed .. ',', '([^,]*),') do l[#l + 1] = tonumber(word) or false end
  correct(limited_scope('model', d.account, d.model), l[1] or nil, l[2] or nil, l[3] or nil, l[4] or nil)
end

-- Counts results of a scope: health, the rate served, growth. An account's own breaker is for credentials and quota only.
local function count_scope(s, good, bad, sent_at)
  if not s.adapts then
    count_results(s, good, bad, sent_at)
  elseif s.state.breaker and good > 0 then
    count_results(s, good, 0, sent_at)
  end
  if good == 0 then return end
  if s.adapts or s.ms_per_request or s.ms_per_token then add_served(s, good) end
  if sent_at >= (s.state.closed_at or 0) then
    forgive(s)
    if bad == 0 then grow(s, good, used(s)) end -- a failing upstream is not pressed harder, nor cut
  end
end

-- The counters of this minute, a provider: calls by how they ended, tokens of answers, cost in millionths of a dollar.
local function tally_calls(provider, d)
  for ended, n in pairs(d.ended or {}) do tally('calls ' .. provider .. ' ' .. ended, n) end
  if d.answers then
    tally('tokens ' .. provider .. ' input', d.prompt or 0)
    tally('tokens ' .. provider .. ' output', d.output)
  end
  if d.micro_usd then tally('cost ' .. provider .. ' micro_usd', d.micro_usd) end
  if d.cost_unknown then tally('cost ' .. provider .. ' unknown', d.cost_unknown) end
end

-- Counts what was gathered. Before commit_lots(): it needs the slots as they were.
local function commit_results()
  local good, latest = {}, {}
  for provider, of_provider in pairs(drawn_on) do
    for _, d in pairs(of_provider.by_who) do
      tally_calls(provider, d)
      for _, s in ipairs(d.limited) do settle_tokens(s, d.more or 0) end
      for queue, more in pairs(d.shares or {}) do correct_share(queue, d.client_name, more) end
      if d.answers then learn_sizes(d.model, d.answers, d.output, d.squares, d.prompt or 0, d.estimated or 0) end
      if d.observed then take_observed(d) end
      for _, s in ipairs(d.healthy) do
        good[s] = (good[s] or 0) + (d.good or 0)
        latest[s] = math.max(latest[s] or 0, d.sent_at or 0)
      end
    end
  end
  for _, s in pairs(scopes) do
    local bad = s.bad_results or 0
    local new = (good[s] or 0) - (s.old_results or 0)
    if new + bad > 0 then count_scope(s, new, bad, math.max(latest[s] or 0, s.last_sent_at or 0)) end
  end
end
