#!lua
-- Makes a file known. Safe to send twice: what stands under the id stays, and is returned.
-- ARGV 1 file id  2 client  3 record (JSON)  4 Unix second at which it goes  5 '1' = put it into the client's listing
-- Returns '' when it is new, else the record that was there.
local key = 'chatq:file:' .. ARGV[1]
local known = redis.call('GET', key)
if known then return known end
redis.call('SET', key, ARGV[3])
redis.call('EXPIREAT', key, ARGV[4])
if ARGV[5] == '1' then
  redis.call('ZADD', 'chatq:files:' .. ARGV[2], TIME[1] * 1000000 + TIME[2], ARGV[1])
  redis.call('EXPIRE', 'chatq:files:' .. ARGV[2], 31622400)
end
return ''
