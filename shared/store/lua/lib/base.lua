-- Common to all scripts; scripts.py puts it in front of each. Keys are RQ's (rq-internals §2) unless they start with chatq:.
-- Vocabulary: member = "<job id>:<token>", the name of one grant, in chatq:leases (score: lease end, ms)
-- and in rq:wip:<queue> (score +inf, so that no RQ tool's clock ever takes it for abandoned).
local LEASES, EVENTS, TOTALS, WAKE = 'chatq:leases', 'chatq:events', 'chatq:totals', 'chatq:wake'

local function job_key(id) return 'rq:job:' .. id end
local function list_key(queue) return 'rq:queue:' .. queue end

-- Redis's clock: Unix milliseconds, and the same instant as RQ writes dates. Nobody else's clock counts.
local TIME = redis.call('TIME')
local NOW_MS = TIME[1] * 1000 + math.floor(TIME[2] / 1000)
local NOW_S = NOW_MS / 1000

-- Civil date from days since the epoch (proleptic Gregorian, era of 400 years).
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
local NOW_ISO = iso_now()

-- Redis does not roll a script back: one job's broken data (a key of another type) must not keep the work of its
-- neighbours from being finished. Returns what f returned, or 'broken'.
local function guarded(f, ...)
  local ok, result = pcall(f, ...)
  return ok and result or 'broken'
end

-- RQ's rule for job ids. Any other id could not be told apart in "<id>:<token>", a log line or a header.
local function is_id(id) return string.match(id, '^[%w_-]+$') ~= nil end

-- Calls a command with many arguments in chunks: unpack of ~8000 overflows Lua's C stack.
local function call_many(command, key, values)
  for i = 1, #values, 1000 do
    redis.call(command, key, unpack(values, i, math.min(i + 999, #values)))
  end
end

-- Pushes ids (a list per queue); wakes idle workers of the queues that were empty.
-- A worker sleeps only after it saw its queues empty, so a push on a non-empty list needs no wake-up.
local function push_ids(command, ids_by_queue)
  for queue, ids in pairs(ids_by_queue) do
    local key = list_key(queue)
    local was_empty = redis.call('EXISTS', key) == 0
    call_many(command, key, ids)
    if was_empty then redis.call('PUBLISH', WAKE, queue) end
  end
end

-- Channels of waiters to tell, filled by finish(), flushed by notify(): one message a channel and call.
local to_notify = {}
local function notify()
  for channel, ids in pairs(to_notify) do redis.call('PUBLISH', channel, table.concat(ids, ' ')) end
end

-- Adds a waiter's channel to a job, once; the newest 8 are kept, older ones fall back on their slow poll.
local function add_waiter(key, channels, channel)
  local kept = {}
  for known in string.gmatch(channels or '', '%S+') do
    if known == channel then return end
    kept[#kept + 1] = known
  end
  if #kept >= 8 then table.remove(kept, 1) end
  kept[#kept + 1] = channel
  redis.call('HSET', key, 'cq_notify', table.concat(kept, ' '))
end

-- Appends a telemetry event (JSON) to the capped stream; max_entries 0 = telemetry is off.
local function add_event(max_entries, json)
  if json ~= '' and tonumber(max_entries) > 0 then
    redis.call('XADD', EVENTS, 'MAXLEN', '~', max_entries, '*', 'e', json)
  end
end

-- The outcome of a job that a script ends by itself, without a worker's measurements.
local function add_bare_outcome(max_entries, id, queue, state, err)
  add_event(max_entries, cjson.encode({type = 'outcome', job = id, queue = queue, state = state, error = err}))
end

local totals = {}
local function count(what) totals[what] = (totals[what] or 0) + 1 end
local function add_totals()
  for what, n in pairs(totals) do redis.call('HINCRBY', TOTALS, what, n) end
end

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

-- Ends a job. The caller has checked that it may, and has removed the lease and wip entry of this grant.
-- job: {status=, origin=, notify=, result_ttl=, failure_ttl=}; field, value: what to store (or field = nil).
local function finish(id, job, kind, field, value)
  local key, outcome = job_key(id), OUTCOMES[kind]
  local ttl = ttl_of(job[outcome[3]])
  local state = kind == 'stopped' and 'cancelled' or kind
  if job.status == 'scheduled' then redis.call('ZREM', 'rq:scheduled:' .. job.origin, id) end
  redis.call('HSET', key, 'status', outcome[1], 'cq_state', state, 'ended_at', NOW_ISO, field or 'cq_state', value or state)
  redis.call('EXPIRE', key, ttl)
  redis.call('ZADD', outcome[2] .. job.origin, NOW_S + ttl, id)
  count(state)
  if job.notify then
    for channel in string.gmatch(job.notify, '%S+') do
      local ids = to_notify[channel]
      if ids then ids[#ids + 1] = id else to_notify[channel] = {id} end
    end
  end
end

-- The full mirror's leftovers of one grant (rq-internals §7); written by claim when the mirror is full.
local function drop_execution(id, token)
  redis.call('DEL', 'rq:execution:' .. id .. ':' .. token)
  redis.call('ZREM', 'rq:executions:' .. id, token)
end
