#!lua
-- Accepts a batch of jobs: the hash, the queue entry and the wake-up, all or nothing per call.
-- Safe to send twice: an id that exists is not written again; same digest = the same job, other digest = conflict.
-- Not allow-oom: over maxmemory new work is refused before anything is written.
-- ARGV 1 result_ttl_s  2 failure_ttl_s  3 timeout_s  4 waiter's channel or ''  then 7 a job:
--      id, digest, queue, data (RQ's JSON 4-list), info (chatq's JSON), max_attempts, expires_in_ms (0 = never)
-- Returns a code a job: 1 new, 0 known and unfinished, 2 known and ended, -1 conflict.
local result_ttl, failure_ttl, timeout, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local codes, pushes = {}, {}
for i = 5, #ARGV, 7 do
  local id, digest, queue = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local key = job_key(id)
  if redis.call('EXISTS', key) == 0 then
    local deadline = tonumber(ARGV[i + 6])
    redis.call('HSET', key, 'status', 'queued', 'origin', queue, 'created_at', NOW_ISO, 'enqueued_at', NOW_ISO,
      'data', ARGV[i + 3], 'timeout', timeout, 'result_ttl', result_ttl, 'failure_ttl', failure_ttl,
      'description', 'chat', 'cq_info', ARGV[i + 4], 'cq_digest', digest, 'cq_max', ARGV[i + 5])
    if deadline > 0 then redis.call('HSET', key, 'cq_deadline', NOW_MS + deadline) end
    if channel ~= '' then redis.call('HSET', key, 'cq_notify', channel) end
    local ids = pushes[queue]
    if ids then ids[#ids + 1] = id else pushes[queue] = {id} end
    codes[#codes + 1] = 1
    count('accepted')
  else
    local known = redis.call('HMGET', key, 'cq_digest', 'status', 'cq_notify')
    if known[1] ~= digest then
      codes[#codes + 1] = -1
    elseif TERMINAL[known[2]] then
      codes[#codes + 1] = 2
    else
      if channel ~= '' then add_waiter(key, known[3], channel) end
      codes[#codes + 1] = 0
    end
  end
end
for queue in pairs(pushes) do redis.call('SADD', 'rq:queues', list_key(queue)) end
push_ids('RPUSH', pushes)
add_totals()
return codes
