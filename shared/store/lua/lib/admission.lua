-- Bounds on what may wait in a lane (needs ledger for the rate it drains at).
local bounds, fullness, refusals = {}, {}, {}
local function add_bound(lane, jobs, bytes, age_ms)
  bounds[lane] = {jobs = tonumber(jobs), bytes = tonumber(bytes), age_ms = tonumber(age_ms)}
end

-- What a bound's refusal says, and how old a backlog is.
local backlog = rarely(function(backlog)
  -- Unix ms of a date as RQ writes it; nil if it is none.
  local function unix_ms(iso)
    local y, mo, d, h, mi, s = string.match(iso or '', '^(%d%d%d%d)-(%d%d)-(%d%d)T(%d%d):(%d%d):([%d.]+)')
    if not y then return nil end
    y, mo = tonumber(y), tonumber(mo)
    if mo <= 2 then y = y - 1 end
    local era = math.floor(y / 400)
    local yoe = y - era * 400
    local doy = math.floor((153 * (mo > 2 and mo - 3 or mo + 9) + 2) / 5) + d - 1
    local days = era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy - 719468
    return ((days * 24 + h) * 60 + mi) * 60000 + s * 1000
  end

  -- Age of the job that waits at the head: of RQ's list, or of the lot that is served next or held back longest.
  function backlog.oldest_age_ms(queue)
    local heads = {redis.call('LINDEX', list_key(queue), 0)}
    local client = redis.call('ZRANGE', 'chatq:fair:' .. queue, 0, 0)[1]
    local label = client and redis.call('ZRANGE', 'chatq:ready:' .. queue .. ':' .. client, 0, 0)[1]
    if label then heads[#heads + 1] = redis.call('LINDEX', 'chatq:lot:' .. queue .. ':' .. client .. '\n' .. label, 0) end
    for _, lot in ipairs(redis.call('ZRANGE', 'chatq:later:' .. queue, 0, 19)) do
      heads[#heads + 1] = redis.call('LINDEX', 'chatq:lot:' .. queue .. ':' .. lot, 0)
    end
    local oldest = 0
    for _, id in pairs(heads) do
      local f = id and redis.pcall('HMGET', job_key(id), 'created_at', 'status') or {}
      local created = f[2] == 'queued' and unix_ms(f[1]) -- not a tombstone
      if created then oldest = math.max(oldest, NOW_MS - created) end
    end
    return oldest
  end

  -- Jobs that a queue ended per second, over this minute and the last.
  function backlog.drained_per_s(queue)
    local this_minute, n = math.floor(NOW_S / 60), 0
    for _, state in ipairs({'completed', 'failed'}) do
      for m = this_minute - 1, this_minute do
        n = n + tonumber(redis.call('HGET', 'chatq:minute:' .. m, 'ended ' .. queue .. ' ' .. state) or 0)
      end
    end
    return n / (60 + NOW_S % 60)
  end

  function backlog.refuse(queue, bound, there, excess)
    local per_s = backlog.drained_per_s(queue)
    local wait = per_s > 0 and math.ceil(excess * 1000 / per_s) or -1
    for _, word in ipairs({queue, bound, there, wait}) do refusals[#refusals + 1] = word end
    fullness[queue].refused = true
  end
end)

-- What waits in a queue; false where there is no bound.
local function measure(queue)
  local bound = bounds[string.match(queue, '[^.]*$')]
  if not bound or bound.jobs + bound.bytes + bound.age_ms == 0 then return false end
  local running = redis.call('ZCARD', 'rq:wip:' .. queue)
  return {bound = bound, jobs = math.max(0, tonumber(redis.call('HGET', 'chatq:unfinished', queue) or 0) - running),
    bytes = tonumber(redis.call('HGET', 'chatq:payload', queue) or 0), age_ms = bound.age_ms > 0 and backlog.oldest_age_ms(queue) or 0}
end

-- Whether a queue takes no further job of so many bytes, beside what this call has brought it so far.
local function is_full(queue, new_jobs, new_bytes, bytes)
  local f = fullness[queue]
  if f == nil then
    f = measure(queue)
    fullness[queue] = f
  end
  if not f then return false end
  if f.refused then return true end
  local bound = f.bound
  local queued = f.bytes + new_bytes
  if bound.jobs > 0 and f.jobs + new_jobs >= bound.jobs then
    backlog.refuse(queue, 'jobs', f.jobs + new_jobs, 1)
  elseif bound.bytes > 0 and queued + bytes > bound.bytes then
    backlog.refuse(queue, 'bytes', queued, math.max(1, (queued + bytes - bound.bytes) * f.jobs / math.max(1, queued)))
  elseif bound.age_ms > 0 and f.age_ms > bound.age_ms then
    backlog.refuse(queue, 'age', f.age_ms, math.max(1, f.jobs * (1 - bound.age_ms / f.age_ms)))
  end
  return f.refused or false
end
