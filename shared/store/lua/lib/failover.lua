-- Moving a job on to another of its candidates (needs ledger, breaker, lots).
-- cq_route: JSON [[provider, model], …], with a call's tokens [provider, model, prompt, output] where they differ from cq_cost's, and
-- 'rating' behind them for a selector. cq_hops: the candidates it has been to, "<candidate>@<attempts before>" each, the present
-- one last; x after one that can never do it. One attempt budget, and one pass over the route; after that it waits where it is, and
-- moves again only from a candidate that is closed to one that is open.

-- Whether waiting until then is worse than going on elsewhere.
local function is_long(until_at) return until_at - NOW > get_policy().failover_after_ms end

-- Where a job may go, and its way there.
local move = rarely(function(move)
  local function hops_of(job)
    local visited, current = {}, 0
    for hop, unfit in string.gmatch(job.hops or '0@0', '(%d+)@%d+(x?)') do
      current = tonumber(hop)
      visited[current] = unfit == 'x' and 'unfit' or 'fit'
    end
    return visited, current
  end

  -- When a candidate takes calls again, by its closures and rates: a time before NOW = it does now. A slot may free at any moment.
  local function opens_at(provider, model)
    local at, d = 0, call_scopes(provider, '\n' .. model)
    for _, s in ipairs(d.healthy) do
      local until_at, why = held_back(s, 1)
      if why == 'concurrency' then until_at = 0 end
      at = math.max(at, until_at or 0, s.state.breaker == 'open' and s.state.open_until or 0)
    end
    return at, d
  end

  -- Until when a candidate's queue has drained, as far as anybody can tell: by what its model or account serves, else by their limits.
  local function drained_at(provider, d)
    local waiting = 0
    for _, lane in ipairs({'interactive', 'default', 'batch'}) do waiting = waiting + waiting_in(provider .. '.' .. lane) end
    local per_s = served_per_s(d.model) or served_per_s(d.account)
    if not per_s then
      local rpm = least(least(d.account.limits.rpm, d.account.state.stated_rpm), least(d.model.limits.rpm, d.model.state.stated_rpm))
      local tpm = least(least(d.account.limits.tpm, d.account.state.stated_tpm), least(d.model.limits.tpm, d.model.state.stated_tpm))
      local rate = least(rpm, tpm and tpm / expected(d.model, 0, 0))
      per_s = rate and rate / 60
    end
    if waiting == 0 or not per_s then return NOW end
    return NOW + waiting * 1000 / per_s
  end

  -- The candidate a job should move to: index, and its entry in the route; nil = stay. `stays_until` = it can wait where it is until then; nil =
  -- it cannot stay, so a closed candidate will do.
  -- First choice is one not yet visited that is open, has workers and drains in time; then one it has been to that is open now.
  local SLACK_MS = 60000 -- without a deadline, waiting this much longer elsewhere is no reason to stay
  local function choose_candidate(job, stays_until, is_rated)
    local ok, route = pcall(cjson.decode, job.route or '')
    if not ok or type(route) ~= 'table' then return nil end
    local visited, current = hops_of(job)
    local lane = string.match(job.origin, '%.([^.]*)$') or 'default'
    local latest = job.deadline and job.deadline - EPOCH or (stays_until or math.huge) + SLACK_MS
    local new, new_at, old = nil, math.huge, nil
    for i, candidate in ipairs(route) do
      if type(candidate) ~= 'table' then return nil end
      local index, provider, model = i - 1, candidate[1], candidate[2]
      local usable = index ~= current and visited[index] ~= 'unfit' and type(provider) == 'string' and type(model) == 'string'
        and not (is_rated and candidate[5] == 'rating')
      if usable and has_worker(provider .. '.' .. lane) then
        local at, d = opens_at(provider, model)
        local is_open = at <= NOW and drained_at(provider, d) < latest
        if not visited[index] then
          if is_open then return index, candidate end
          if at < new_at then new, new_at = index, at end
        elseif is_open then
          old = old or index
        end
      end
    end
    local chosen = not stays_until and new or stays_until and old
    if chosen then return chosen, route[chosen + 1] end
  end

  -- Puts a job (no longer held, not in any list) on its new candidate's queue.
  function move.to(job, is_unfit, index, candidate)
    local provider, model, prompt, output = unpack(candidate, 1, 4)
    if type(prompt) ~= 'number' or type(output) ~= 'number' then prompt, output = job.prompt, job.output end
    local client = string.match(job.who, '^[^\n]*')
    local queue = provider .. string.match(job.origin, '%.[^.]*$')
    local hops = string.gsub(' ' .. (job.hops or '0@0') .. (is_unfit and 'x' or ''), ' ' .. index .. '@%d+x?', '')
    hops = string.sub(hops .. ' ' .. index .. '@' .. (job.attempts or 0), 2)
    local key = job_key(job.id)
    add_payload(job.origin, -job.bytes, -1)
    add_payload(queue, job.bytes, 1)
    redis.call('HSET', key, 'status', 'queued', 'origin', queue, 'enqueued_at', NOW_ISO, 'cq_hops', hops,
      'cq_cost', math.floor(prompt) .. ' ' .. math.floor(output) .. ' ' .. job.bytes .. ' ' .. client .. '\n' .. model)
    redis.call('HSETNX', key, 'cq_epoch', 0) -- it has a past
    redis.call('HDEL', key, 'cq_wait')
    if job.deadline then redis.call('ZADD', DEADLINES, job.deadline, job.id) end -- one that passed during the call was taken off
    if job.status == 'scheduled' then redis.call('ZREM', 'rq:scheduled:' .. job.origin, job.id) end
    redis.call('SADD', 'rq:queues', list_key(queue))
    redis.call('SADD', 'chatq:tenants:' .. queue, client)
    redis.call('SET', 'chatq:movable:' .. queue, 1)
    if is_suspect(job) then
      redis.call('RPUSH', quarantine_key(queue), job.id)
      redis.call('PUBLISH', WAKE, queue)
    else
      push_ids('RPUSH', {[queue] = {job.id}})
    end
  end

  local function go_to(job, is_unfit, index, candidate)
    if is_rating(job) then redis.call('HDEL', job.key, 'cq_limited') end -- its waits were the selector's
    move.to(job, is_unfit, index, candidate)
    count('moved')
    tally('moved ' .. provider_of(job.origin) .. ' ' .. candidate[1], 1)
  end

  -- Goes on with another candidate, if there is a better place than this one. stays_until: see choose_candidate; a candidate that
  -- cannot keep the job is not tried again. is_rated: no selector is wanted any more. Returns whether the job moved.
  function move.elsewhere(job, stays_until, is_rated)
    if not can_move(job) then return false end
    local index, candidate = choose_candidate(job, stays_until, is_rated)
    if index then go_to(job, not stays_until, index, candidate) end
    return index ~= nil
  end

  -- Goes on with the first candidate it has not been to that is no selector, whether anybody serves that or not. Returns whether
  -- there was one.
  function move.anywhere(job)
    local ok, route = pcall(cjson.decode, job.route or '')
    local visited = hops_of(job)
    for i, candidate in ipairs(ok and type(route) == 'table' and route or {}) do
      local is_one = type(candidate) == 'table' and type(candidate[1]) == 'string' and type(candidate[2]) == 'string'
      if is_one and not visited[i - 1] and candidate[5] ~= 'rating' then
        go_to(job, true, i - 1, candidate)
        return true
      end
    end
    return false
  end
end)
