#!lua
-- Takes a response down, and has a keeper look after it until its outcome is kept.
-- Safe to send twice: the same response is known by its digest.
-- ARGV 1 id  2 digest of the request  3 head, JSON  4 input, JSON  5 TTL, s  6 when a keeper looks first, ms from now
-- Returns 1 taken down, 0 there already, -1 there with another digest, -2 there and deleted.
local key = 'chatq:response:' .. ARGV[1]
local known = redis.call('HMGET', key, 'digest', 'deleted')
if known[2] then return -2 end
if known[1] then return known[1] == ARGV[2] and 0 or -1 end
redis.call('HSET', key, 'digest', ARGV[2], 'head', ARGV[3], 'input', ARGV[4])
redis.call('EXPIRE', key, ARGV[5])
redis.call('ZADD', 'chatq:responses:open', NOW_MS + ARGV[6], ARGV[1])
return 1
