-- Granting one job (needs ledger, breaker, lots, standing): part of claim_jobs, whose arguments it reads.
local worker, nonce, want, lease_ms, max_data = ARGS[1] or '', ARGS[2] or '', tonumber(ARGS[3]), tonumber(ARGS[4]) or 0, tonumber(ARGS[5])
local mirror_full, max_events, expired_error = ARGS[6] == 'full', ARGS[7], ARGS[8]
local grant_key = 'chatq:grant:' .. worker
local reply = {TIME[1] * 1000000 + TIME[2], 0, -1}
local TOUCHES = 800 -- entries looked at in one call: about 4 ms of Redis
local touches = 0
local add_to_reply, read_waiting
do
  -- What waits is read with what a grant needs (for sorting without: payloads are large), and what only a job with a past has
  -- (cq_epoch: it was claimed, moved or ended before) in a second step: most have none, and every field costs.
  -- Their order is that of the reply: what was read is what is sent.
  local WAITING_FIELDS = {'status', 'cq_epoch', 'origin', 'cq_cost', 'cq_route', 'cq_deadline', 'cq_max', 'data', 'cq_info', 'enqueued_at'}
  local PAST_FIELDS = {'cq_attempts', 'cq_hops', 'cq_state', 'cq_abandoned', 'cq_limited'}
  local n = #reply

  function add_to_reply(job, token, attempts, reserved)
    local row, past = job.row, ''
    if job.epoch or job.held then
      past = string.format('%d %d %d %s %s', attempts, tonumber(job.limited) or 0, job.abandoned or 0, job.held or '- 0', job.hops or '')
    end
    row[1], row[2], row[4], row[5] = job.id, token, reserved, past
    local data = row[8]
    if data and #data > max_data then row[8] = false end
    n = n + 1
    reply[n] = row
  end

  function read_waiting(id, with_payload)
    local key = job_key(id)
    local f = redis.call('HMGET', key, unpack(WAITING_FIELDS, 1, with_payload and 10 or 6))
    if not f[1] then return nil end
    local prompt, output, bytes, who = parse_cost(f[4])
    -- Eight names, and more only where there is something to say: that many cost half of sixteen.
    local job = {id = id, key = key, row = f, origin = f[3] or '', prompt = prompt, output = output, bytes = bytes, who = who}
    if f[5] then job.route = f[5] end
    if f[6] then job.deadline = tonumber(f[6]) end
    if f[2] then
      job.epoch = f[2]
      f = redis.call('HMGET', key, unpack(PAST_FIELDS))
      job.attempts, job.hops, job.state = tonumber(f[1]) or 0, f[2], f[3]
      job.abandoned, job.limited = tonumber(f[4]) or 0, f[5]
    end
    return job
  end
end

local function look_again(at)
  local ms = math.max(1, math.ceil(at - NOW))
  if reply[3] < 0 or ms < reply[3] then reply[3] = ms end
end

-- As text: see life_of().
local lease_end = string.format('%.0f', NOW_MS + lease_ms)
local first_token = '1-' .. nonce

local as_text = {} -- of tokens reserved

local grants, leases, wip = {}, {}, {}
local function grant(job, d, reserved)
  local key = job.key
  if job.state then -- it had ended, and RQ's requeue put it back: it starts anew
    redis.call('HDEL', key, 'cq_state', 'cq_error', 'cq_limited', 'cq_abandoned', 'cq_tries', 'cq_streamed', 'ended_at')
    redis.call('DEL', 'chatq:deltas:' .. job.id)
    job.attempts, job.limited, job.abandoned = 0, 0, 0
    add_payload(job.origin, job.bytes, 1)
  end
  local epoch, attempts, token = '1', 1, first_token
  if job.epoch or job.bytes == 0 then -- it has a past, or comes from plain RQ: only then it may have a TTL
    redis.call('PERSIST', key) -- RQ's ttl is for the time in the queue; a requeued job still has that of its end
    epoch, attempts = tostring((tonumber(job.epoch) or 0) + 1), (job.attempts or 0) + 1
    token = epoch .. '-' .. nonce
  end
  local member = job.id .. ':' .. token
  redis.call('HSET', key, 'status', 'started', 'started_at', NOW_ISO, 'last_heartbeat', NOW_ISO, 'worker_name', worker,
    'cq_epoch', epoch, 'cq_token', token, 'cq_attempts', attempts)
  leases[#leases + 1], leases[#leases + 2] = lease_end, member
  local entries = wip[job.origin]
  if not entries then
    entries = {}
    wip[job.origin] = entries
  end
  entries[#entries + 1], entries[#entries + 2] = '+inf', member
  local text = as_text[reserved]
  if not text then
    text = ':' .. reserved
    as_text[reserved] = text
  end
  grants[#grants + 1] = job.id .. text
  reserve(d.account, member, reserved)
  reserve(d.model, member, reserved)
  if d.has_client_limits then reserve(d.client, member, reserved) end
  add_to_reply(job, token, attempts, reserved)
  if mirror_full then
    local execution, ttl = 'rq:execution:' .. member, math.ceil(lease_ms / 1000) + 3600
    redis.call('HSET', execution, 'id', token, 'job_id', job.id, 'created_at', NOW_S, 'last_heartbeat', NOW_S, 'worker_name', worker)
    redis.call('EXPIRE', execution, ttl)
    redis.call('ZADD', 'rq:executions:' .. job.id, NOW_S + ttl, token)
    redis.call('EXPIRE', 'rq:executions:' .. job.id, ttl)
  end
end

-- The job behind a list entry, or 'dropped' for a tombstone. One whose deadline passed ends here: no call, no attempt.
local function waiting_job(id, queue, with_payload)
  touches = touches + 1
  if not is_id(id) then
    redis.call('EXPIRE', job_key(id), 86400)
    error('no job id')
  end
  local job = read_waiting(id, with_payload)
  if not job then return 'dropped' end
  local status = job.row[1]
  if status ~= 'queued' or job.origin ~= queue then
    if TERMINAL[status] and redis.call('TTL', job_key(id)) == -1 then -- RQ's own cancel sets none
      add_payload(job.origin, -job.bytes, -1)
      redis.call('ZREM', DEADLINES, id)
      redis.call('HSETNX', job_key(id), 'cq_epoch', 0) -- it has a past now, should RQ requeue it
      redis.call('EXPIRE', job_key(id), ttl_of(redis.call('HGET', job_key(id), 'failure_ttl')))
    end
    return 'dropped'
  end
  if job.deadline and job.deadline <= NOW_MS then
    finish(read_ending(id), 'expired', 'cq_error', expired_error)
    add_bare_outcome(max_events, id, queue, 'expired', 'expired')
    return 'dropped'
  end
  return job
end

-- The same for an entry of any kind: false for what is no waiting job.
local function look_at(id, queue, with_payload)
  local job = guarded(waiting_job, id, queue, with_payload)
  if job == 'broken' then count('broken') end
  return type(job) == 'table' and job
end

-- Tries one job. Returns 'granted' and the tokens booked; or 'saturated' (its provider's limits: leave it where it is) or 'held' (its
-- own model's or client's), nil, and {scope, until_at, why}. What breaks (a key of another type) costs this job only.
local function try_unguarded(job, provider)
  local d = provider.scopes.by_who[job.who] or call_scopes(provider.name, job.who)
  local account, model = d.account, d.model
  local tokens = estimate(d, job.prompt, job.output)
  local until_at, why, where, most
  if provider.most then
    until_at, why, where = held_back(d.provider, 0, provider.most)
    if until_at then return 'saturated', nil, {scope = where or d.provider, until_at = until_at, why = why} end
  end
  until_at, why, where = held_back(account, tokens, provider.account_most)
  if until_at then return 'saturated', nil, {scope = where or account, until_at = until_at, why = why} end
  until_at, most = breaker_gate(model)
  if until_at then return 'held', nil, {scope = model, until_at = until_at, why = 'breaker'} end
  until_at, why, where = held_back(model, tokens, most)
  if until_at then return 'held', nil, {scope = where or model, until_at = until_at, why = why} end
  if d.has_client_limits then
    until_at, why, where = held_back(d.client, tokens)
    if until_at then return 'held', nil, {scope = where or d.client, until_at = until_at, why = why} end
  end
  grant(job, d, tokens)
  if provider.most or provider.account_most or most then
    local member = leases[#leases]
    if provider.most then take_slot(probes_of(d.provider), member) end
    if provider.account_most then take_slot(probes_of(account), member) end
    if most then take_slot(probes_of(model), member) end
  end
  return 'granted', tokens
end

local function try(job, provider)
  local ok, result, detail, hold = pcall(try_unguarded, job, provider)
  if ok then return result, detail, hold end
  count('broken')
  redis.call('RPUSH', list_key(job.origin), job.id)
  touches = TOUCHES -- not the same one again in this call
  return 'broken'
end
