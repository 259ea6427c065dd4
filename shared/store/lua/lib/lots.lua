-- The order in which a queue's jobs are granted (needs ledger.lua).
-- Jobs wait in RQ's list in order of arrival. Where that order would be wrong - another client's jobs far behind, a model at its
-- limit in front - the claim sorts them into lots, one list per client and model. Ready lots are served by start-time fair
-- queueing on tokens: the client with the smallest pass is next, its pass moves on by tokens / weight, and who was idle starts at
-- the present. Within a client its models share in the same way. A lot that is held back stands in chatq:later until its time.
-- A lot's label is its model, with '>' in front for jobs that may still move on to another candidate: they are looked at apart.
local function fair_key(queue) return 'chatq:fair:' .. queue end
local function later_key(queue) return 'chatq:later:' .. queue end
local function sorted_key(queue) return 'chatq:sorted:' .. queue end
local function ready_key(queue, client) return 'chatq:ready:' .. queue .. ':' .. client end
local function lot_key(queue, client, label) return 'chatq:lot:' .. queue .. ':' .. client .. '\n' .. label end

-- Jobs standing in lots, a queue; written back by commit_lots().
local aside = {}
local function add_aside(queue, n) aside[queue] = (aside[queue] or 0) + n end

local function has_lots(queue)
  return redis.call('EXISTS', fair_key(queue), later_key(queue)) > 0
end

-- Whether a job may move on to another candidate: it has several.
local function can_move(job) return job.route and true end

local function label_of(job, model) return can_move(job) and '>' .. model or model end

-- Puts jobs back at the front, where they came from; wakes idle workers. Gathered, so that order and wake-ups are right.
local returned = {}
local function return_job(job)
  if job.deadline then redis.call('ZADD', DEADLINES, job.deadline, job.id) end -- one that passed during the call was taken off
  if is_suspect(job) then
    redis.call('LPUSH', quarantine_key(job.origin), job.id)
    redis.call('PUBLISH', WAKE, job.origin)
    return
  end
  local jobs = returned[job.origin]
  if jobs then jobs[#jobs + 1] = job else returned[job.origin] = {job} end
end

-- What is done with lots, where there are any.
local lots = rarely(function(lots)
  local function pass_key(queue) return 'chatq:pass:' .. queue end
  local PASS_TTL_S = 3600

  local function make_ready(queue, client, label)
    if not redis.call('ZSCORE', fair_key(queue), client) then
      local known = redis.call('ZMSCORE', pass_key(queue), '', client)
      local first = redis.call('ZRANGE', fair_key(queue), 0, 0, 'WITHSCORES')[2]
      local present = known[1] or first -- forgotten when nothing was served for long
      redis.call('ZADD', fair_key(queue), math.max(tonumber(present) or 0, tonumber(known[2]) or 0), client)
      if not first then redis.call('SET', sorted_key(queue), NOW, 'EX', PASS_TTL_S) end
    end
    local first = redis.call('ZRANGE', ready_key(queue, client), 0, 0, 'WITHSCORES')
    redis.call('ZADD', ready_key(queue, client), 'NX', first[2] or 0, label)
  end

  -- Puts a job into its lot: RPUSH in order of arrival, LPUSH when it comes back. Returns whether the lot was new to this script.
  local lots_seen = {} -- ready, or held back until a time
  function lots.put(command, queue, id, client, label)
    local key = lot_key(queue, client, label)
    redis.call(command, key, id)
    add_aside(queue, 1)
    if lots_seen[key] then return false end
    lots_seen[key] = 'ready'
    if not redis.call('ZSCORE', later_key(queue), client .. '\n' .. label) then make_ready(queue, client, label) end
    return true
  end

  -- Takes the first job of a lot; nil for a key of another type, which goes.
  function lots.pop(queue, client, label)
    local key = lot_key(queue, client, label)
    local id = redis.pcall('LPOP', key)
    if type(id) ~= 'string' then
      redis.call('DEL', key)
      count('broken')
      return nil
    end
    add_aside(queue, -1)
    return id
  end

  -- Takes a lot out of the running until its time.
  function lots.hold(queue, client, label, until_at)
    local key = lot_key(queue, client, label)
    if until_at and lots_seen[key] == until_at then return end
    lots_seen[key] = until_at
    local ready = ready_key(queue, client)
    redis.call('ZREM', ready, label)
    if redis.call('EXISTS', ready) == 0 then
      local pass = redis.call('ZSCORE', fair_key(queue), client)
      if pass then
        local present = redis.call('ZSCORE', pass_key(queue), '')
        if present then redis.call('ZREMRANGEBYSCORE', pass_key(queue), '-inf', '(' .. present) end -- who is behind starts there anyway
        redis.call('ZADD', pass_key(queue), pass, client)
        redis.call('EXPIRE', pass_key(queue), PASS_TTL_S)
        redis.call('ZREM', fair_key(queue), client)
      end
    end
    if until_at then redis.call('ZADD', later_key(queue), until_at, client .. '\n' .. label) end
  end

  function lots.release(queue, lot)
    lots_seen = {}
    if redis.call('ZREM', later_key(queue), lot) == 0 then return end
    local client, label = string.match(lot, '^([^\n]*)\n(.*)$')
    if client and redis.call('EXISTS', lot_key(queue, client, label)) == 1 then make_ready(queue, client, label) end
  end

  -- All held lots are due now; the next claims let them out.
  function lots.release_soon(queue)
    redis.call('ZUNIONSTORE', later_key(queue), 1, later_key(queue), 'WEIGHTS', 0)
  end

  -- Lots whose time has come are ready again.
  function lots.release_due(queue)
    for _, lot in ipairs(redis.call('ZRANGEBYSCORE', later_key(queue), '-inf', NOW, 'LIMIT', 0, 100)) do lots.release(queue, lot) end
  end

  -- The lot to be served next: client, label; nil when none is ready.
  function lots.next(queue)
    while true do
      local client = redis.call('ZRANGE', fair_key(queue), 0, 0)[1]
      if not client then return nil end
      local label = redis.call('ZRANGE', ready_key(queue, client), 0, 0)[1]
      if label and redis.call('EXISTS', lot_key(queue, client, label)) == 1 then return client, label end
      lots.hold(queue, client, label or '')
    end
  end

  -- Books a grant from a lot: its client and its model move on.
  function lots.serve(queue, client, label, tokens)
    local weight = scope('client:' .. client).limits.weight or 1
    local pass = redis.call('ZSCORE', fair_key(queue), client)
    redis.call('ZADD', pass_key(queue), pass, '')
    redis.call('EXPIRE', pass_key(queue), PASS_TTL_S)
    redis.call('EXPIRE', sorted_key(queue), PASS_TTL_S)
    redis.call('ZINCRBY', fair_key(queue), tokens / weight, client)
    redis.call('ZINCRBY', ready_key(queue, client), tokens, label)
  end

  -- The real tokens of calls are known: their client's pass follows, so that clients are equal in tokens and not in estimates.
  function lots.correct_share(queue, client, more)
    redis.call('ZADD', fair_key(queue), 'XX', 'INCR', more / (scope('client:' .. client).limits.weight or 1), client)
  end

  -- What a claim must know of jobs in RQ's list without reading them: whose they are, and whether any may move on.
  local function leave_hints(queue, job)
    redis.call('SADD', 'chatq:tenants:' .. queue, scopes_of(job).client_name)
    if can_move(job) then redis.call('SET', 'chatq:movable:' .. queue, 1) end
  end

  local function return_to_lot(queue, job)
    local d = scopes_of(job)
    lots.put('LPUSH', queue, job.id, d.client_name, label_of(job, d.model_name))
  end

  function lots.return_jobs(queue, jobs)
    local ids = {}
    if has_lots(queue) then
      for i = #jobs, 1, -1 do
        if not pcall(return_to_lot, queue, jobs[i]) then ids[#ids + 1] = jobs[i].id end
      end
      redis.call('PUBLISH', WAKE, queue)
    else
      for i = #jobs, 1, -1 do ids[#ids + 1] = jobs[i].id end
    end
    if #ids > 0 then push_ids('LPUSH', {[queue] = ids}) end
    for _, job in ipairs(jobs) do leave_hints(queue, job) end
  end
end)

-- Since when a queue's grants are booked on its clients' passes; nil = they are not.
local sorted_since
do
  local sorted = {}
  function sorted_since(queue)
    if sorted[queue] == nil then
      sorted[queue] = redis.call('EXISTS', fair_key(queue)) == 1 and tonumber(redis.call('GET', sorted_key(queue))) or false
    end
    return sorted[queue] or nil
  end
end

-- What held jobs back last ------------------------------------------------------------------------------------------
-- For the counts of waiting times: a hash a provider, a field a lot ('' = all its jobs), "<kind of scope>_<why> <Unix µs>".
local function held_key(provider) return 'chatq:held:' .. provider end
local last_hold = rarely(function(last_hold)
  local HELD_TTL_S = 3600

  function last_hold.remember(provider, lot, s, why)
    local kind, name = string.match(s.name, '^(%a+):(%a*)')
    if kind == 'probe' then kind, why = name, 'breaker' end
    redis.pcall('HSET', held_key(provider), lot, kind .. '_' .. why .. ' ' .. string.format('%.0f', TIME[1] * 1000000 + TIME[2]))
    redis.call('EXPIRE', held_key(provider), HELD_TTL_S)
  end

  function last_hold.read(provider, lot)
    local held = redis.pcall('HGET', held_key(provider), lot)
    local at = type(held) == 'string' and string.match(held, '^%l+_%l+ (%d+)$')
    return at and held, tonumber(at) or 0
  end
end)

local held_by
do
  local known = {}

  -- What held back a lot last, itself or as all jobs of its provider (lot = ''); nil = nothing.
  function held_by(provider, lot)
    local of_provider = known[provider]
    if not of_provider then
      of_provider = {all = false, all_at = 0, lots = {}, exists = redis.call('EXISTS', held_key(provider)) == 1}
      if of_provider.exists then of_provider.all, of_provider.all_at = last_hold.read(provider, '') end
      known[provider] = of_provider
    end
    if lot == '' or not of_provider.exists then return of_provider.all or nil end
    if of_provider.lots[lot] == nil then
      local held, at = last_hold.read(provider, lot)
      of_provider.lots[lot] = held and at >= of_provider.all_at and held or of_provider.all
    end
    return of_provider.lots[lot] or nil
  end
end

-- Waiting for a slot ----------------------------------------------------------------------------------------------
-- Who found a scope without a free slot leaves word: a worker its name, and the lot (with its queue) if it is only about that.
-- Freed slots wake as many workers as were freed, and one more, in case that one is gone: not the whole fleet. Many more lots are
-- let out, so that lanes and passes decide who gets the slot; the next claim holds back the others again.
local LOTS_LET_OUT = 64
local function hungry_key(s) return 'chatq:hungry:' .. s.name end
local function hungry_lots_key(s) return 'chatq:hungry-lots:' .. s.name end

local function leave_word(s, who, lot)
  redis.call('SADD', hungry_key(s), who)
  redis.call('EXPIRE', hungry_key(s), 60)
  if lot then
    redis.call('SADD', hungry_lots_key(s), lot)
    redis.call('EXPIRE', hungry_lots_key(s), 60)
  end
end

local function tell_hungry()
  for _, s in pairs(scopes) do
    if s.freed > 0 and redis.call('EXISTS', hungry_lots_key(s), hungry_key(s)) > 0 then
      for _, word in ipairs(redis.call('SPOP', hungry_lots_key(s), LOTS_LET_OUT)) do
        local queue, lot = string.match(word, '^([^\n]*)\n(.*)$')
        if queue then lots.release(queue, lot) end
      end
      for _, who in ipairs(redis.call('SPOP', hungry_key(s), s.freed + 1)) do redis.call('PUBLISH', WAKE, '@' .. who) end
    end
    s.freed = 0
  end
end

local function save_aside()
  for queue, n in pairs(aside) do
    local now = n ~= 0 and redis.pcall('INCRBY', 'chatq:aside:' .. queue, n) or 1
    if type(now) ~= 'number' or now <= 0 then redis.call('DEL', 'chatq:aside:' .. queue) end
  end
end

-- Writes back what the ledger and the lots gathered. The second-last line of every script that uses them. Jobs are written by then:
-- whatever breaks here (a key of another type) costs its own part, and the caller still hears what became of them.
local function commit_lots()
  local function attempt(step, ...)
    if not pcall(step, ...) then count('broken') end
  end
  for queue, jobs in pairs(returned) do attempt(lots.return_jobs, queue, jobs) end
  attempt(commit_slots)
  attempt(tell_hungry)
  attempt(save_aside)
  attempt(save_scopes)
end
