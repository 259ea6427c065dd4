#!lua flags=allow-oom
-- Asks for the end of a batch: the batcher that has it, or takes it next, ends it. One whose lines have all ended stays as it is.
-- Safe to send twice: the second time it is asked already.
-- ARGV 1 batch id
-- Returns the status it has now, '' for no such batch.
redis.call('ZREM', 'chatq:batches:open', '')
local key = 'chatq:batch:' .. ARGV[1]
local status = redis.call('HGET', key, 'status')
if not status then return '' end
if (status == 'validating' or status == 'in_progress') and redis.call('ZSCORE', 'chatq:batches:open', ARGV[1]) then
  status = 'cancelling'
  redis.call('HSET', key, 'status', status, 'cancelling_at', math.floor(NOW_S))
end
return status
