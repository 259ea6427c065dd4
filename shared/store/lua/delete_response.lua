#!lua flags=allow-oom
-- Deletes what a response says. That it was there is remembered for as long as it would have been, so that the
-- idempotency key it was made with does not make it again. Safe to send twice: there is nothing left to delete.
-- ARGV 1 id
-- Returns 1 deleted, 0 there is none.
local key = 'chatq:response:' .. ARGV[1]
redis.call('ZREM', 'chatq:responses:open', ARGV[1])
if redis.call('HDEL', key, 'head', 'input', 'outcome') == 0 then return 0 end
redis.call('HSET', key, 'deleted', 1)
return 1
