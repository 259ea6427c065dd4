#!lua flags=allow-oom
-- Keeps the outcome of a response; the first one stands. Safe to send twice: the second finds the first.
-- ARGV 1 id  2 outcome, JSON  3 TTL from now, s
-- Returns 1 kept, 0 there is no such response, it was deleted, or has its outcome.
local key = 'chatq:response:' .. ARGV[1]
redis.call('ZREM', 'chatq:responses:open', ARGV[1])
if redis.call('HEXISTS', key, 'head') == 0 or redis.call('HSETNX', key, 'outcome', ARGV[2]) == 0 then return 0 end
redis.call('EXPIRE', key, ARGV[3])
return 1
