#!lua flags=allow-oom
-- include: ledger lots
-- Ends closures by hand, after the operator mended what was wrong: cooldowns and breakers of scopes. What was learned of their
-- limits stays. Safe to send twice: the second time nothing is closed.
-- ARGV 1 number of scopes  then the scopes  then queues whose held lots are to be looked at again, and whose workers are woken
-- Returns 1 or 0 a scope: whether it was closed or being tried.
local CLOSURE = {'closed_until', 'strikes', 'quiet_until', 'breaker', 'opened_why', 'opened_at', 'open_until', 'opens', 'stage_at', 'base',
  'good', 'bad', 'good_before', 'bad_before', 'bad_in_a_row', 'counted_since'}
redis.call('ZREM', LEASES, '')
local reply, n_scopes = {}, tonumber(ARGV[1])
for i = 2, 1 + n_scopes do
  local s = scope(ARGV[i])
  local st = s.state
  reply[#reply + 1] = ((st.closed_until or 0) > NOW or st.breaker) and 1 or 0
  if next(st) then
    for _, field in ipairs(CLOSURE) do st[field] = nil end
    s.dirty = true
  end
end
for i = 2 + n_scopes, #ARGV do
  lots.release_soon(ARGV[i])
  redis.call('PUBLISH', WAKE, ARGV[i])
end
commit_lots()
return reply
