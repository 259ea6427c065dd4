#!lua
-- Writes down pieces of answers that are being streamed, and tells who follows them.
-- Fenced: only the attempt that has the job appends, and only one attempt of a job ever does (cq_streamed): another one's answer would
-- not go on where the first one's stopped.
-- Safe to send twice: pieces are numbered from 1, and the number is the entry's id; what is in already is passed over.
-- Not allow-oom: the answer itself is worth the last memory, its pieces are not.
-- ARGV 1 TTL, s  then a job: id, token, number of its first piece, how many pieces, the pieces (JSON each)
-- Returns a code a job: ok, stale (the job is not this attempt's, or another one has streamed), broken (a key of another type, no memory).
local ttl, codes, at = ARGV[1], {}, 2

local function add(key, number, piece)
  local added = redis.pcall('XADD', key, string.format('%d-0', number), 'd', piece)
  if type(added) == 'table' and added.err and not string.find(added.err, 'equal or smaller', 1, true) then error(added.err) end
end

-- Those who wait for the job's end, whose word for its pieces is a channel beside.
local function tell(id, channels)
  for channel in string.gmatch(channels or '', '%S+') do
    if channel ~= WEBHOOKS then
      channel = channel .. ':deltas'
      local ids = to_notify[channel]
      if ids then ids[#ids + 1] = id else to_notify[channel] = {id} end
    end
  end
end

local function append(id, token, first, n, from)
  local key, hash = 'chatq:deltas:' .. id, job_key(id)
  local status, holder, channels, streamed = unpack(redis.call('HMGET', hash, 'status', 'cq_token', 'cq_notify', 'cq_streamed'))
  if status ~= 'started' or holder ~= token or streamed and streamed ~= token then return 'stale' end -- FENCE
  for i = 0, n - 1 do add(key, first + i, ARGV[from + i]) end
  if not streamed then redis.call('HSET', hash, 'cq_streamed', token) end
  redis.call('EXPIRE', key, ttl)
  tell(id, channels)
  return 'ok'
end

while at <= #ARGV do
  local n = tonumber(ARGV[at + 3])
  codes[#codes + 1] = guarded(append, ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), n, at + 4)
  at = at + 4 + n
end
notify()
return codes
