-- Moving a job on to another of its candidates (needs ledger, breaker, lots).
-- cq_route: JSON [[provider, model], …]. cq_hops: where it has been, "<candidate>@<attempts before>" each, newest last; x after one
-- that can never do it, '!' at the end = it has been everywhere and stays where it is. One pass over the route, one attempt budget.
local function hops_of(job)
  local visited, current = {}, 0
  for hop, unfit in string.gmatch(job.hops or '0@0', '(%d+)@%d+(x?)') do
    current = tonumber(hop)
    visited[current] = unfit == 'x' and 'unfit' or 'fit'
  end
  return visited, current
end

-- Whether waiting until then is worse than going on elsewhere.
local function is_long(until_at) return until_at - NOW > get_policy().failover_after_ms end

local function is_served(queue) return redis.call('EXISTS', 'rq:workers:' .. queue) == 1 end

-- When a candidate takes calls again: a time before NOW = it does now.
local function opens_at(provider, model)
  local at, d = 0, call_scopes(provider, '\n' .. model)
  for _, s in ipairs({d.provider, d.account, d.model}) do
    at = math.max(at, s.state.closed_until or 0, s.state.breaker == 'open' and s.state.open_until or 0)
  end
  return at, d.account
end

-- Until when a candidate's queue has drained, as far as anybody can tell: by what it serves, else by its limit.
local function drained_at(provider, account, moved)
  local waiting = moved
  for _, lane in ipairs({'interactive', 'default', 'batch'}) do waiting = waiting + waiting_in(provider .. '.' .. lane) end
  local rpm = least(account.limits.rpm, account.state.stated_rpm)
  local per_s = served_per_s(account) or rpm and rpm / 60
  if waiting == 0 or not per_s then return NOW end
  return NOW + waiting * 1000 / per_s
end

-- The candidate a job should move to: index, provider, model, whether that is its last move; nil = stay.
-- The first one not yet visited that is open, has workers and drains in time. `stays_until` = the job can wait where it is until
-- then; nil = it cannot stay, so a closed candidate will do. After a full pass: the one that opens first, if that is sooner.
local SLACK_MS = 60000 -- without a deadline, waiting this much longer elsewhere is no reason to stay
local moved_to = {} -- jobs moved to a provider by this script
local function choose_candidate(job, stays_until)
  local ok, route = pcall(cjson.decode, job.route or '')
  if not ok or type(route) ~= 'table' then return nil end
  local visited, current = hops_of(job)
  local lane = string.match(job.origin, '%.([^.]*)$') or 'default'
  local latest = job.deadline and job.deadline - EPOCH or (stays_until or math.huge) + SLACK_MS
  local new, new_at, old, old_at = nil, math.huge, nil, math.huge
  for i, candidate in ipairs(route) do
    local index, provider, model = i - 1, candidate[1], candidate[2]
    local usable = index ~= current and visited[index] ~= 'unfit' and type(provider) == 'string' and type(model) == 'string'
    if usable and is_served(provider .. '.' .. lane) then
      local at, account = opens_at(provider, model)
      if visited[index] then
        if at < old_at then old, old_at = index, at end
      else
        if at <= NOW and drained_at(provider, account, moved_to[provider] or 0) < latest then return index, provider, model end
        if at < new_at then new, new_at = index, at end
      end
    end
  end
  local chosen = not stays_until and new or stays_until and not new and old_at < stays_until and old
  if not chosen then return nil end
  return chosen, route[chosen + 1][1], route[chosen + 1][2], chosen == old
end

-- Puts a job (no longer held, not in any list) on its new candidate's queue.
local function move_job(job, is_unfit, index, provider, model, is_last)
  read_cost(job)
  local client = string.match(job.who, '^[^\n]*')
  local queue = provider .. string.match(job.origin, '%.[^.]*$')
  local hops = (job.hops or '0@0') .. (is_unfit and 'x ' or ' ') .. index .. '@' .. job.attempts .. (is_last and '!' or '')
  local key = job_key(job.id)
  add_payload(job.origin, -job.bytes)
  add_payload(queue, job.bytes)
  redis.call('HSET', key, 'status', 'queued', 'origin', queue, 'enqueued_at', NOW_ISO, 'cq_hops', hops,
    'cq_cost', job.prompt .. ' ' .. job.output .. ' ' .. job.bytes .. ' ' .. client .. '\n' .. model)
  redis.call('HDEL', key, 'cq_wait')
  if job.status == 'scheduled' then redis.call('ZREM', 'rq:scheduled:' .. job.origin, job.id) end
  redis.call('SADD', 'rq:queues', list_key(queue))
  redis.call('SADD', 'chatq:tenants:' .. queue, client, '>')
  if is_suspect(job) then
    redis.call('RPUSH', quarantine_key(queue), job.id)
    redis.call('PUBLISH', WAKE, queue)
  else
    push_ids('RPUSH', {[queue] = {job.id}})
  end
  moved_to[provider] = (moved_to[provider] or 0) + 1
  count('moved')
  tally('moved ' .. provider_of(job.origin) .. ' ' .. provider, 1)
end
