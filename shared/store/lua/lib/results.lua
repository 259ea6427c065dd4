-- What calls showed: tokens for the ledger, results for the breakers, waits for the scopes (needs ledger, breaker, lots).
-- shown, written by call_result.py: '' = no call was made; else packed, because it is read for every answer:
--   reserved, prompt, output: tokens, -1 = not known  sent_at: Unix ms  cost: millionths of a dollar, -1 = unknown, -2 = none  verdict
-- and, unless it is a good answer that says no more or no call, three lines of text: ended, observed, blame.
--   verdict: good, bad (failures: counted by the breaker), limited, refused (says nothing about the upstream's health), dropped (by us)
--   ended: ok, or the class of the error, for the counters
--   observed: limit and remaining requests, limit and remaining tokens, comma-separated, '' where not said
--   blame: '' or JSON {scope (provider|account|model|job), kind (rate|quota|credentials|failure), wait_ms (-1 = not stated), own_ms,
--   own_max_ms, dimension?, limit?}
-- What is gathered about the calls of a provider and whose is counted once a script.
local PACKED, PACKED_BYTES = '>i8i8i8i8i8B', 41
local VERDICTS = {'good', 'bad', 'limited', 'refused', 'dropped'}
local NO_COST = -2

local function is_before_stage(s, sent_at) return s.state.breaker and sent_at < (s.state.stage_at or 0) end

-- What the calls of one provider and whose showed, summed up.
local function seen_by(d)
  if not d.seen then
    d.seen = {more = 0, shares = {}, ended = {}, micro_usd = 0, cost_unknown = 0, good = 0, failed = 0, plain = 0, sent_at = 0,
      answers = 0, output = 0, squares = 0, prompt = 0, estimated = 0,
      slower = 0, took = 0, usual_ms = d.model.state.usual_ms or 0, has_breaker = d.provider.state.breaker or d.account.state.breaker or d.model.state.breaker}
  end
  return d.seen
end

-- What was drawn, in the account's way of counting and in the clients': known, nothing (turned away at the door), or, for a call that
-- was dropped, what is probable; else all that was booked. Tokens more (or less) than that.
local function add_drawn(d, seen, job, queue, sent_at, verdict, reserved, prompt, output)
  local is_known, is_nothing = output >= 0, verdict == 'limited' or verdict == 'refused'
  prompt = prompt > 0 and prompt or 0
  if is_known then
    seen.more = seen.more + drawn(d.account, prompt, output) - reserved
  elseif is_nothing then
    seen.more = seen.more - reserved
  elseif verdict == 'dropped' then
    seen.more = seen.more + math.min(0, math.ceil(expected(d.model, job.prompt, job.output)) - reserved)
  end
  local since = sorted_since(queue)
  if since and sent_at >= since and (is_known or is_nothing) then
    local share = (is_known and prompt + output or 0) - expected(d.model, job.prompt, job.output)
    seen.shares[queue] = (seen.shares[queue] or 0) + share
  end
end

local function add_good(d, seen, job, sent_at, prompt, output)
  seen.good, seen.took = seen.good + 1, seen.took + NOW - sent_at
  if NOW - sent_at > seen.usual_ms then seen.slower = seen.slower + 1 end
  if sent_at > seen.sent_at then seen.sent_at = sent_at end
  if seen.has_breaker then
    for _, s in ipairs(d.healthy) do
      if is_before_stage(s, sent_at) then s.old_results = (s.old_results or 0) + 1 end
    end
  end
  if output < 0 then return end
  seen.answers, seen.output, seen.squares = seen.answers + 1, seen.output + output, seen.squares + output * output
  if prompt >= 0 then seen.prompt, seen.estimated = seen.prompt + prompt, seen.estimated + job.prompt end
end

-- What an answer says beyond being good: the three lines of text behind what is packed.
local said = rarely(function(said)
  local function add_bad(s, sent_at)
    if is_before_stage(s, sent_at) then return end -- it says nothing about this stage of the breaker
    s.bad_results = (s.bad_results or 0) + 1
    s.last_sent_at = math.max(s.last_sent_at or 0, sent_at)
  end

  -- Closes what an answer blames. Returns when it opens again; nil if nothing closed.
  local function blame(b, blamed, account, model, sent_at)
    local wait = tonumber(b.wait_ms) or -1
    if b.kind == 'rate' then
      local s = b.scope == 'provider' and blamed or heed.scope(b.scope, account, model)
      return heed.refusal(s, {wait_ms = wait, own_ms = tonumber(b.own_ms) or 1000, own_max_ms = tonumber(b.own_max_ms) or 60000,
        dimension = b.dimension, limit = tonumber(b.limit), sent_at = sent_at})
    elseif b.kind == 'quota' or b.kind == 'credentials' then
      breaker.open(blamed, b.kind, wait > 0 and wait or get_policy().credential_open_ms)
      return blamed.state.open_until
    end
  end

  -- Books it. Returns when the blamed scope opens again, or nil.
  function said.book(d, seen, queue, shown, verdict, sent_at)
    local ended, observed, json = string.match(shown, '^([^\n]*)\n([^\n]*)\n(.*)$', PACKED_BYTES + 1)
    if ended ~= '' then seen.ended[ended] = (seen.ended[ended] or 0) + 1 end
    if verdict == 'bad' or verdict == 'refused' and ended ~= '' then seen.failed = seen.failed + 1 end
    if observed ~= '' then seen.observed = observed end -- the latest of this script will do
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

  function said.take_observed(d)
    local l = {}
    for word in string.gmatch(d.seen.observed .. ',', '([^,]*),') do l[#l + 1] = tonumber(word) or false end
    heed.headers(heed.scope('model', d.account, d.model), l[1] or nil, l[2] or nil, l[3] or nil, l[4] or nil)
  end
end)

-- Books what the call of a grant showed; its lease is just removed. Returns when the blamed scope opens again, or nil.
local function settle_call(d, job, queue, shown)
  local reserved, prompt, output, sent_at, cost, verdict = struct.unpack(PACKED, shown)
  verdict, sent_at = VERDICTS[verdict], sent_at - EPOCH
  local seen = d.seen or seen_by(d)
  add_drawn(d, seen, job, queue, sent_at, verdict, reserved, prompt, output)
  if cost >= 0 then
    seen.micro_usd = seen.micro_usd + cost
  elseif cost ~= NO_COST then
    seen.cost_unknown = seen.cost_unknown + 1
  end
  if verdict == 'good' then add_good(d, seen, job, sent_at, prompt, output) end
  if #shown == PACKED_BYTES then
    if verdict == 'good' then seen.plain = seen.plain + 1 end
    return nil
  end
  return said.book(d, seen, queue, shown, verdict, sent_at)
end

-- Books a grant that ended: its slots, and what its call showed. Whatever breaks there, the job's outcome counts.
local end_grant
do
  local function book(job, member, queue, shown)
    local d = call_scopes(provider_of(queue), job.who)
    d.leaving[#d.leaving + 1] = member
    return shown ~= '' and settle_call(d, job, queue, shown) or nil
  end

  function end_grant(job, member, queue, shown)
    local ok, opens_at = pcall(book, job, member, queue, shown)
    if not ok then count('broken') end
    return ok and opens_at or nil
  end
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
    if bad == 0 then grow(s, good) end -- a failing upstream is not pressed harder, nor cut
  end
end

-- The counters of this minute, a provider: calls by how they ended, tokens of answers, cost in millionths of a dollar.
local function tally_calls(provider, seen)
  for ended, n in pairs(seen.ended) do tally('calls ' .. provider .. ' ' .. ended, n) end
  if seen.plain > 0 then tally('calls ' .. provider .. ' ok', seen.plain) end
  if seen.answers > 0 then
    tally('tokens ' .. provider .. ' input', seen.prompt)
    tally('tokens ' .. provider .. ' output', seen.output)
  end
  if seen.micro_usd > 0 then tally('cost ' .. provider .. ' micro_usd', seen.micro_usd) end
  if seen.cost_unknown > 0 then tally('cost ' .. provider .. ' unknown', seen.cost_unknown) end
end

-- Counts what was gathered. Before commit_lots(): it needs the slots as they were. Ratings are short, and say nothing of how long a
-- model's answers take.
local function commit_results(are_ratings)
  local good, latest = {}, {}
  for provider, of_provider in pairs(drawn_on) do
    for _, d in pairs(of_provider.by_who) do
      local seen = seen_by(d)
      tally_calls(provider, seen)
      for _, s in ipairs(d.limited) do settle_tokens(s, seen.more) end
      for queue, more in pairs(seen.shares) do lots.correct_share(queue, d.client_name, more) end
      if seen.answers > 0 then learn_sizes(d.model, seen.answers, seen.output, seen.squares, seen.prompt, seen.estimated) end
      if seen.good > 0 and not are_ratings then learn_pace(d.model, seen.good, seen.slower, seen.took) end
      learn_silence(d.model, seen.good, seen.failed)
      if seen.observed then said.take_observed(d) end
      for _, s in ipairs(d.healthy) do
        good[s] = (good[s] or 0) + seen.good
        latest[s] = math.max(latest[s] or 0, seen.sent_at)
      end
    end
  end
  for _, s in pairs(scopes) do
    local bad = s.bad_results or 0
    local new = (good[s] or 0) - (s.old_results or 0)
    if new + bad > 0 then count_scope(s, new, bad, math.max(latest[s] or 0, s.last_sent_at or 0)) end
  end
end
