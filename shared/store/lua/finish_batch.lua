#!lua flags=allow-oom
-- Ends a batch: its last state, its result files, and no batcher takes it any more.
-- Safe to send twice: who ended it is remembered, and is told the same again.
-- ARGV 1 batch id  2 token of the lease  3 status (completed, failed or expired; one that was cancelled meanwhile ends as that, unless
--      it failed: nothing ran, there are no files, and its errors are what there is to tell)
--      4 how long it is kept, s  5 number of files  then 3 a file: id, record (JSON; '' = there is none after all), Unix second at which it goes
--      then the number of blobs that it read, and these; then fields and values of the hash
-- Returns {1 ended or 0 lost, status}.
redis.call('ZREM', 'chatq:batches:open', '')
local id, key = ARGV[1], 'chatq:batch:' .. ARGV[1]
local now = redis.call('HMGET', key, 'lease', 'status', 'client', 'spec', 'ended_by')
if now[5] == ARGV[2] then return {1, now[2]} end
if now[1] ~= ARGV[2] or redis.call('ZREM', 'chatq:batches:open', id) == 0 then return {0, now[2] or ''} end

local status = ARGV[3]
if now[2] == 'cancelling' and status ~= 'failed' then status = 'cancelled' end
redis.call('HSET', key, 'status', status, status .. '_at', math.floor(NOW_S), 'ended_by', ARGV[2])
redis.call('HDEL', key, 'lease')
redis.call('DEL', 'chatq:batch:segments:' .. id)
local n_files = tonumber(ARGV[5])
for i = 6, 3 + 3 * n_files, 3 do
  local file, record = 'chatq:file:' .. ARGV[i], ARGV[i + 1]
  if record == '' then
    redis.call('DEL', file)
  else
    redis.call('SET', file, record)
    redis.call('EXPIREAT', file, ARGV[i + 2])
    redis.call('ZADD', 'chatq:files:' .. now[3], TIME[1] * 1000000 + TIME[2] + i, ARGV[i]) -- each has a place of its own
    redis.call('EXPIRE', 'chatq:files:' .. now[3], 31622400)
  end
end
local at = 6 + 3 * n_files
local n_blobs = tonumber(ARGV[at])
for i = at + 1, at + n_blobs do
  if redis.call('HINCRBY', 'chatq:batches:blobs', ARGV[i], -1) <= 0 then redis.call('HDEL', 'chatq:batches:blobs', ARGV[i]) end
end
if #ARGV > at + n_blobs then redis.call('HSET', key, unpack(ARGV, at + n_blobs + 1)) end
redis.call('EXPIRE', key, ARGV[4])
local ok, spec = pcall(cjson.decode, now[4])
if ok and type(spec) == 'table' and type(spec.webhook_url) == 'string' then
  redis.call('ZADD', 'chatq:webhooks:due', NOW_MS, 'batch:' .. id)
end
return {1, status}
