#!lua flags=allow-oom
-- Writes a worker's whole entry in RQ's registry, so that it also comes back after Redis lost it. Safe to send twice.
-- The first write frees memory: a worker is seen over maxmemory too.
-- ARGV 1 worker name  2 TTL, seconds  3 queues, comma-separated  then field and value pairs
-- Returns 1.
redis.call('ZREM', LEASES, '')
local key = 'rq:worker:' .. ARGV[1]
redis.call('HSET', key, 'queues', ARGV[3], unpack(ARGV, 4))
redis.call('EXPIRE', key, ARGV[2])
redis.call('SADD', 'rq:workers', key)
for queue in string.gmatch(ARGV[3], '[^,]+') do
  redis.call('SADD', 'rq:workers:' .. queue, key)
  redis.call('SADD', 'rq:queues', list_key(queue))
end
return 1
