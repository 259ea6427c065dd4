-- Common to all scripts: what a script uses of it stands in front of it (assembly.py, with the rule for libraries).
-- Keys are RQ's (rq-internals §2) unless they start with chatq:.
-- Vocabulary: member = "<job id>:<token>", the name of one grant, in chatq:leases (score: lease end, ms)
-- and in rq:wip:<queue> (score +inf, so that no RQ tool's clock ever takes it for abandoned).
local LEASES, EVENTS, TOTALS, WAKE = 'chatq:leases', 'chatq:events', 'chatq:totals', 'chatq:wake'
local DEADLINES = 'chatq:deadlines'
local WEBHOOKS = 'chatq:webhooks' -- among a job's channels: its end is to be told by a webhook

local function job_key(id) return 'rq:job:' .. id end
local function list_key(queue) return 'rq:queue:' .. queue end

local provider_of
do
  local names = {}
  function provider_of(queue)
    local name = names[queue]
    if not name then
      name = string.match(queue, '^(.*)%.') or queue
      names[queue] = name
    end
    return name
  end
end

-- A module whose functions are defined when the first of them is called: Redis runs all definitions of a script at each call, and
-- one costs about as much as a call of it. For what is not on the usual way; what it keeps, it keeps as long as a script runs.
local RARELY = {}
function RARELY.__index(module, name)
  local define = module[1]
  setmetatable(module, nil)
  define(module)
  return module[name]
end
local function rarely(define) return setmetatable({define}, RARELY) end

-- Redis's clock: Unix milliseconds, and the same instant as RQ writes dates. Nobody else's clock counts.
local TIME = redis.call('TIME')
local NOW_MS = TIME[1] * 1000 + math.floor(TIME[2] / 1000)
local NOW_S = NOW_MS / 1000

-- Civil date from days since the epoch (proleptic Gregorian, era of 400 years).
local NOW_ISO
do
  local function iso_now()
    local secs = tonumber(TIME[1])
    local days, rest = math.floor(secs / 86400), secs % 86400
    local z = days + 719468
    local era = math.floor(z / 146097)
    local doe = z - era * 146097
    local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
    local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
    local mp = math.floor((5 * doy + 2) / 153)
    local month = mp < 10 and mp + 3 or mp - 9
    local year = yoe + era * 400 + (month <= 2 and 1 or 0)
    return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month, doy - math.floor((153 * mp + 2) / 5) + 1,
      math.floor(rest / 3600), math.floor(rest % 3600 / 60), rest % 60, tonumber(TIME[2]))
  end
  NOW_ISO = iso_now()
end

-- Redis does not roll a script back: one job's broken data (a key of another type) must not keep the work of its
-- neighbours from being finished. Returns what f returned, or 'broken'.
local function guarded(f, ...)
  local ok, result = pcall(f, ...)
  return ok and result or 'broken'
end

-- RQ's rule for job ids. Any other id could not be told apart in "<id>:<token>", a log line or a header.
local function is_id(id) return string.match(id, '^[%w_-]+$') ~= nil end

-- Calls a command with many arguments in chunks: unpack of ~8000 overflows Lua's C stack. Returns the last reply.
local function call_many(command, key, values)
  local reply
  for i = 1, #values, 1000 do
    reply = redis.call(command, key, unpack(values, i, math.min(i + 999, #values)))
  end
  return reply
end

-- Pushes ids (a list per queue, at least one); wakes idle workers of the queues that were empty.
-- A worker sleeps only after it saw its queues empty, so a push on a non-empty list needs no wake-up.
local function wake_all(queue) redis.call('PUBLISH', WAKE, queue) end
local function push_ids(command, ids_by_queue, wake)
  for queue, ids in pairs(ids_by_queue) do
    local was_empty = call_many(command, list_key(queue), ids) == #ids
    if was_empty then (wake or wake_all)(queue) end
  end
end

-- Jobs that have ended, for waiters that want them at once: "<id> <length of each field, - for none>" and, after a line break, the
-- fields as reading.py reads them. Of a long answer only the id is told, whoever wants it reads it: buffers of subscribers are bounded.
local whole = {most_bytes = 16384, too_long = {}}
function whole.job(id)
  if whole.too_long[id] then return id end
  local fields = redis.call('HMGET', job_key(id), 'status', 'cq_state', 'origin', 'cq_info', 'cq_attempts', 'created_at', 'started_at', 'ended_at',
    'cq_result', 'cq_error', 'cq_wait', 'worker_name', 'cq_hops', 'cq_tries')
  local lengths, bytes = {id}, 0
  for i, field in ipairs(fields) do
    lengths[i + 1] = field and #field or '-'
    bytes = bytes + #(field or '')
    fields[i] = field or ''
  end
  return bytes <= 2 * whole.most_bytes and table.concat(lengths, ' ') .. '\n' .. table.concat(fields) or id
end

-- Channels of waiters to tell, filled by finish(), flushed by notify(): one message a channel and call, or a job where they want it whole.
local to_notify = {}
local function notify()
  for channel, ids in pairs(to_notify) do
    if channel == WEBHOOKS then
      local due = {}
      for _, id in ipairs(ids) do due[#due + 1], due[#due + 2] = NOW_MS, 'job:' .. id end
      pcall(call_many, 'ZADD', 'chatq:webhooks:due', due)
    elseif string.match(channel, '^chatq:answers:%x+$') then
      for _, id in ipairs(ids) do redis.call('PUBLISH', channel, whole.job(id)) end
    else
      redis.call('PUBLISH', channel, table.concat(ids, ' '))
    end
  end
end

-- Adds a waiter's channel to a job, once; the newest 8 are kept, older ones fall back on their slow poll. The mark of a webhook
-- stands before them and stays.
local function add_waiter(key, channels, channel)
  local kept = {}
  for known in string.gmatch(channels or '', '%S+') do
    if known == channel then return end
    kept[#kept + 1] = known
  end
  local oldest = kept[1] == WEBHOOKS and 2 or 1
  if #kept - oldest >= 7 then table.remove(kept, oldest) end
  kept[#kept + 1] = channel
  redis.call('HSET', key, 'cq_notify', table.concat(kept, ' '))
end

-- Appends telemetry (JSON, '' = none) to the capped stream, a call and the end it brought in one entry; max_entries 0 = off.
local function add_events(max_entries, attempt, outcome)
  if max_entries == '0' then return end
  if attempt ~= '' and outcome ~= '' then
    redis.call('XADD', EVENTS, 'MAXLEN', '~', max_entries, '*', 'attempt', attempt, 'outcome', outcome)
  elseif attempt ~= '' then
    redis.call('XADD', EVENTS, 'MAXLEN', '~', max_entries, '*', 'attempt', attempt)
  elseif outcome ~= '' then
    redis.call('XADD', EVENTS, 'MAXLEN', '~', max_entries, '*', 'outcome', outcome)
  end
end

-- The outcome of a job that a script ends by itself, without a worker's measurements.
local function add_bare_outcome(max_entries, id, queue, state, err)
  add_events(max_entries, '', cjson.encode({type = 'outcome', job = id, queue = queue, state = state, error = err}))
end

local totals = {}
local function count(what) totals[what] = (totals[what] or 0) + 1 end

-- One terminal outcome: RQ status, RQ registry, chatq's word for the state.
local OUTCOMES = {
  completed = {'finished', 'rq:finished:', 'result_ttl'},
  failed = {'failed', 'rq:failed:', 'failure_ttl'},
  expired = {'failed', 'rq:failed:', 'failure_ttl'},
  cancelled = {'canceled', 'rq:canceled:', 'failure_ttl'},
  stopped = {'stopped', 'rq:failed:', 'failure_ttl'},
}
local TERMINAL = {finished = true, failed = true, canceled = true, stopped = true}

-- A TTL in whole seconds from a job's field. RQ's -1 means for ever, which nothing of ours is: a year. RQ's 0, and
-- what is no number, gets a day.
local function ttl_of(value)
  local ttl = math.floor(tonumber(value) or 0)
  if ttl == -1 then return 31622400 end
  return ttl >= 1 and ttl or 86400
end

-- The TTL and the time when it is over, as text: Redis writes a number with 17 digits, which costs as much as a small command.
local life_of
do
  local lives = {}
  function life_of(value)
    local life = lives[value]
    if not life then
      local ttl = ttl_of(value)
      life = {ttl = string.format('%.0f', ttl), ends_at = string.format('%.3f', NOW_S + ttl)}
      lives[value] = life
    end
    return life
  end
end

-- What a job asks of limits, in cq_cost: prompt tokens (estimated), output tokens asked for (0 = not said), bytes of payload, and
-- whose limits it draws on: "<client>\n<model>". A job of plain RQ says nothing.
local function parse_cost(cost)
  local prompt, output, bytes, who = string.match(cost or '', '^(%d+) (%d+) (%d+) (.*\n.*)$')
  if not prompt then return 0, 0, 0, '\n' end
  return prompt + 0, output + 0, bytes + 0, who -- they are digits, and this is half the work of tonumber()
end

-- What the scripts need to know of a job; nil when there is no hash.
local read_job
do
  local JOB_FIELDS = {'status', 'cq_token', 'origin', 'cq_notify', 'result_ttl', 'failure_ttl', 'worker_name', 'cq_deadline', 'cq_cost',
    'cq_attempts', 'cq_max', 'cq_limited', 'cq_drained', 'cq_abandoned', 'cq_hops', 'cq_route', 'cq_state'}
  function read_job(id)
    local key = job_key(id)
    local f = redis.call('HMGET', key, unpack(JOB_FIELDS))
    if not f[1] then return nil end
    local prompt, output, bytes, who = parse_cost(f[9])
    return {id = id, key = key, status = f[1], token = f[2], origin = f[3] or '', notify = f[4], result_ttl = f[5], failure_ttl = f[6], worker = f[7],
      deadline = tonumber(f[8]), prompt = prompt, output = output, bytes = bytes, who = who, attempts = tonumber(f[10]) or 0, max = tonumber(f[11]), limited = tonumber(f[12]) or 0,
      drained = tonumber(f[13]) or 0, abandoned = tonumber(f[14]) or 0, hops = f[15], route = f[16], state = f[17]}
  end
end

-- Of a job that ran, the part that is needed to end it: this is read for every answer.
local read_ending
do
  local ENDING_FIELDS = {'status', 'cq_token', 'origin', 'cq_notify', 'result_ttl', 'failure_ttl', 'cq_deadline', 'cq_cost'}
  function read_ending(id)
    local key = job_key(id)
    local f = redis.call('HMGET', key, unpack(ENDING_FIELDS))
    if not f[1] then return nil end
    local prompt, output, bytes, who = parse_cost(f[8])
    local job = {id = id, key = key, status = f[1], token = f[2], origin = f[3] or '', result_ttl = f[5], failure_ttl = f[6],
      prompt = prompt, output = output, bytes = bytes, who = who}
    if f[4] then job.notify = f[4] end
    if f[7] then job.deadline = tonumber(f[7]) end
    return job
  end
end

-- Jobs that wait in a queue's list and lots.
local function waiting_in(queue)
  return redis.call('LLEN', list_key(queue)) + tonumber(redis.call('GET', 'chatq:aside:' .. queue) or 0)
end

-- Whether a living worker serves a queue; RQ's set keeps the names of dead ones for a while.
local has_worker
do
  local served_queues = {}
  function has_worker(queue)
    local is_served = served_queues[queue]
    if is_served == nil then
      is_served = false
      for _, key in ipairs(redis.call('SMEMBERS', 'rq:workers:' .. queue)) do
        if redis.pcall('HEXISTS', key, 'death') == 0 and redis.call('EXISTS', key) == 1 then
          is_served = true
          break
        end
      end
      served_queues[queue] = is_served
    end
    return is_served
  end
end

-- From its second abandonment on a job is a suspect: it waits in its provider's quarantine, wherever it comes from.
local function is_suspect(job) return (job.abandoned or 0) >= 2 end
local function quarantine_key(queue) return 'chatq:quarantine:' .. provider_of(queue) end

-- Whether a job's present call is a selector's (cq_route, see failover.lua).
local function is_rating(job)
  local ok, route = pcall(cjson.decode, job.route or '')
  local current = tonumber(string.match(job.hops or '0@0', '(%d+)@%d+x?$')) or 0
  local here = ok and type(route) == 'table' and route[current + 1]
  return type(here) == 'table' and here[5] == 'rating'
end

-- Unfinished jobs and the bytes of their payload, a queue; for the bounds on new work.
local payload, unfinished = {}, {}
local function add_payload(queue, bytes, jobs)
  payload[queue] = (payload[queue] or 0) + bytes
  unfinished[queue] = (unfinished[queue] or 0) + jobs
end

-- Counters of this minute, for rates and dashboards.
local minute = {}
local function tally(field, n) minute[field] = (minute[field] or 0) + n end

-- What ended in this script: {entries of the registry, bytes of payload} a queue and outcome.
local ended = {}
local function ended_as(queue, kind)
  local of_queue = ended[queue]
  if not of_queue then
    of_queue = {}
    ended[queue] = of_queue
  end
  of_queue[kind] = of_queue[kind] or {entries = {}, bytes = 0}
  return of_queue[kind]
end

-- Ends a job. The caller has checked that it may, and has removed the lease and wip entry of this grant.
-- job: from read_job; field, value: what to store (or field = nil).
local function finish(job, kind, field, value)
  local key, outcome = job.key, OUTCOMES[kind]
  local life = life_of(job[outcome[3]])
  local state = kind == 'stopped' and 'cancelled' or kind
  if job.status == 'scheduled' then redis.call('ZREM', 'rq:scheduled:' .. job.origin, job.id) end
  if job.deadline then redis.call('ZREM', DEADLINES, job.id) end
  if job.status ~= 'started' then redis.call('HSETNX', key, 'cq_epoch', 0) end -- it has a past now, should RQ requeue it
  redis.call('HSET', key, 'status', outcome[1], 'cq_state', state, 'ended_at', NOW_ISO, field or 'cq_state', value or state)
  redis.call('EXPIRE', key, life.ttl)
  local together = ended_as(job.origin, kind)
  local entries = together.entries
  entries[#entries + 1], entries[#entries + 2] = life.ends_at, job.id
  together.bytes = together.bytes + job.bytes
  if job.notify then
    if value and #value > whole.most_bytes then whole.too_long[job.id] = true end
    for channel in string.gmatch(job.notify, '%S+') do
      local ids = to_notify[channel]
      if ids then ids[#ids + 1] = job.id else to_notify[channel] = {job.id} end
    end
  end
end

-- Remembers what became of a call that did not end its job well, newest last; the last call of a good end is in the result.
local function remember_try(id, json)
  if json == '' then return end
  local tries = redis.call('HGET', job_key(id), 'cq_tries')
  tries = tries and tries .. '\n' .. json or json
  if #tries > 32768 then tries = string.match(tries, '\n(.*)', #tries - 32768) or json end
  redis.call('HSET', job_key(id), 'cq_tries', tries)
end

-- The full mirror's leftovers of one grant (rq-internals §7); written by claim when the mirror is full.
local function drop_execution(id, token)
  redis.call('DEL', 'rq:execution:' .. id .. ':' .. token)
  redis.call('ZREM', 'rq:executions:' .. id, token)
end

-- Writes what was gathered: messages to waiters, counters. The last line of every script that ends or moves jobs.
local function commit()
  for queue, of_queue in pairs(ended) do
    for kind, together in pairs(of_queue) do
      local n, state = #together.entries / 2, kind == 'stopped' and 'cancelled' or kind
      call_many('ZADD', OUTCOMES[kind][2] .. queue, together.entries)
      add_payload(queue, -together.bytes, -n)
      totals[state] = (totals[state] or 0) + n
      tally('ended ' .. queue .. ' ' .. state, n)
    end
  end
  notify()
  for what, n in pairs(totals) do redis.call('HINCRBY', TOTALS, what, n) end
  for key, changes in pairs({['chatq:payload'] = payload, ['chatq:unfinished'] = unfinished}) do
    for queue, n in pairs(changes) do
      if n ~= 0 and redis.call('HINCRBY', key, queue, n) <= 0 then redis.call('HDEL', key, queue) end
    end
  end
  if next(minute) then
    local key = 'chatq:minute:' .. math.floor(NOW_S / 60)
    local is_new
    for field, n in pairs(minute) do is_new = redis.call('HINCRBY', key, field, n) == n or is_new end
    if is_new then redis.call('EXPIRE', key, 3 * 3600) end
  end
end
