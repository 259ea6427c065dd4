#!lua flags=allow-oom
-- Forgets a file. Its id stays in the listing for a while, so that who pages through it and deletes keeps their place.
-- Safe to send twice: a file that is gone is gone.
-- ARGV 1 file id  2 name of its blob
-- Returns 1 when an open batch reads the blob, which has to stay then, else 0.
redis.call('DEL', 'chatq:file:' .. ARGV[1])
return redis.call('HEXISTS', 'chatq:batches:blobs', ARGV[2])
