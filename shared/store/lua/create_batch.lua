#!lua
-- Accepts a batch: its record, its place in the listing, and among what batchers take.
-- Safe to send twice: what stands under the id stays, and its digest is returned.
-- ARGV 1 batch id  2 client  3 digest of what was asked for  4 specification (JSON)  5 its window in s
--      6 how long it is kept after its deadline, in s  7 input file id  then the blobs it reads
-- Returns {'new'}, {'known', digest}, or {'no_file'} when the input file is gone.
local key = 'chatq:batch:' .. ARGV[1]
local known = redis.call('HGET', key, 'digest')
if known then return {'known', known} end
if redis.call('EXISTS', 'chatq:file:' .. ARGV[7]) == 0 then return {'no_file'} end
local now_s, window_s = math.floor(NOW_S), tonumber(ARGV[5])
redis.call('HSET', key, 'client', ARGV[2], 'digest', ARGV[3], 'spec', ARGV[4], 'status', 'validating',
  'created_at', now_s, 'expires_at', now_s + window_s)
redis.call('EXPIRE', key, window_s + ARGV[6])
redis.call('ZADD', 'chatq:batches:of:' .. ARGV[2], TIME[1] * 1000000 + TIME[2], ARGV[1])
redis.call('EXPIRE', 'chatq:batches:of:' .. ARGV[2], 31622400)
redis.call('ZADD', 'chatq:batches:open', NOW_MS, ARGV[1])
for i = 8, #ARGV do redis.call('HINCRBY', 'chatq:batches:blobs', ARGV[i], 1) end
return {'new'}
