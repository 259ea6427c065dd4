-- Standing claims. A worker whose claim found nothing leaves it in Redis, and whoever enqueues a single job has one served in the same
-- trip: the worker is woken with its grant instead of coming for it (needs base; part of claim_jobs).
-- A message may be lost, or its worker may have died: the worker sends the claim again soon, and its nonce gets the same grants.
-- chatq:standing holds the workers, score = until when they look for a message; chatq:standing:<worker> the claim's ARGV as JSON;
-- chatq:unwoken the queues whose wake-up is left to the call that has a claim made.
local STANDING, UNWOKEN = 'chatq:standing', 'chatq:unwoken'
local function standing_key(worker) return 'chatq:standing:' .. worker end

local function withdraw_claim(worker)
  if redis.call('DEL', standing_key(worker)) == 1 then redis.call('ZREM', STANDING, worker) end
end

-- Leaves a wake-up to the call that follows, if any claim stands. Returns whether it did.
local function leave_wake_up(queue)
  if redis.call('ZCARD', STANDING) == 0 then return false end
  redis.call('SADD', UNWOKEN, queue)
  redis.call('EXPIRE', UNWOKEN, 60)
  return true
end

local standing = rarely(function(standing)
  local LATEST = 4 -- workers looked at, those first that came last
  local MOST_BYTES = 65536 -- of a message; a grant that is larger is fetched by its worker

  local function serves(args, provider)
    for i = 11 + 2 * (tonumber(args[10]) or 0), #args, 3 do
      if args[i] == provider then return true end
    end
    return false
  end

  local function is_heard(worker) return redis.call('PUBSUB', 'NUMSUB', 'chatq:grants:' .. worker)[2] > 0 end

  -- Takes a claim that stands and serves the queue. Returns its ARGV, for one job of this provider and no suspect; empty = there is none.
  function standing.take(queue)
    if redis.call('LLEN', list_key(queue)) == 0 then return {} end
    local provider = provider_of(queue)
    for _, worker in ipairs(redis.call('ZREVRANGE', STANDING, 0, LATEST - 1)) do
      local args = cjson.decode(redis.call('GET', standing_key(worker)) or '[]')
      if args[1] == worker and serves(args, provider) and is_heard(worker) then
        withdraw_claim(worker)
        args[3], args[9] = 1, 0
        local claim = {unpack(args, 1, 10 + 2 * args[10])}
        for _, word in ipairs({provider, 0, 4}) do claim[#claim + 1] = word end
        return claim
      end
    end
    return {}
  end

  -- Leaves the claim that these are the arguments of, unless it stands there since less than half of its time.
  function standing.leave(args)
    local worker, for_ms = args[1], tonumber(args[9])
    if redis.call('PTTL', standing_key(worker)) > for_ms / 2 then return end
    redis.call('SET', standing_key(worker), cjson.encode(args), 'PX', for_ms)
    redis.call('ZADD', STANDING, NOW_MS + for_ms, worker)
    redis.call('PEXPIRE', STANDING, for_ms)
    redis.call('ZREMRANGEBYSCORE', STANDING, '-inf', NOW_MS)
  end

  -- Tells a worker the reply to its claim: "<nonce> <now> <more> <look again> <length of each field of the grant, - = nil>" and, after a line
  -- break, the fields. Of one that is too long the nonce alone.
  function standing.tell(worker, nonce, reply)
    local row, head = reply[4] or {}, string.format('%s %.0f %d %d', nonce, reply[1], reply[2], reply[3])
    local lengths, fields, bytes = {head}, {}, 0
    for i = 1, reply[4] and 10 or 0 do
      local field = row[i] and tostring(row[i])
      lengths[i + 1], fields[i] = field and #field or '-', field or ''
      bytes = bytes + #fields[i]
    end
    local message = bytes <= MOST_BYTES and table.concat(lengths, ' ') .. '\n' .. table.concat(fields) or nonce
    redis.call('PUBLISH', 'chatq:grants:' .. worker, message)
  end
end)

-- The arguments of the claim: this call's, or those of one that stands. What is broken there stands for nothing: then, and where nobody's
-- claim does, a wake-up that was left to this call is made up for.
local IS_HANDED, ARGS
do
  IS_HANDED, ARGS = #ARGV == 1, ARGV
  if IS_HANDED then
    local is_left = redis.pcall('SREM', UNWOKEN, ARGV[1]) == 1
    local is_sound, taken = pcall(standing.take, ARGV[1])
    ARGS = is_sound and taken or {}
    if is_left and not ARGS[1] then wake_all(ARGV[1]) end
  end
end
