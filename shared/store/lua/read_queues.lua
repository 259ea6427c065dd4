#!lua flags=no-writes
-- include: ledger breaker lots admission holds
-- How fast queues drain, how old their oldest job is, and what holds their providers back. It only reads, so it is safe to send twice.
-- ARGV queues
-- Returns JSON {queues: {queue: {per_s?, oldest_age_ms}}, providers: {provider: {account, quarantine, holds: [see holds.lua]}}};
--      what is broken is left out; times of holds are Unix ms.
local queues, providers = {}, {}
local LOTS_SEEN = 50

local function add_hold(provider, s)
  local hold = not provider.seen[s.name] and hold_of(s, 1)
  provider.seen[s.name] = true
  if hold then provider.holds[#provider.holds + 1] = hold end
end

local function provider_at(name)
  local provider = providers[name]
  if not provider then
    local of_provider = provider_scopes(name)
    provider = {account = of_provider.name, quarantine = redis.call('LLEN', 'chatq:quarantine:' .. name), holds = {}, seen = {}}
    providers[name] = provider
    add_hold(provider, of_provider.provider)
    add_hold(provider, of_provider.account)
  end
  return provider
end

local function describe(queue)
  local name = provider_of(queue)
  local provider = provider_at(name)
  -- Models and clients that are held back have their jobs in lots of chatq:later.
  for _, lot in ipairs(redis.call('ZRANGE', later_key(queue), 0, LOTS_SEEN - 1)) do
    local client, model = string.match(lot, '^([^\n]*)\n>?(.*)$')
    if client then
      local d = call_scopes(name, client .. '\n' .. model)
      add_hold(provider, d.model)
      if next(d.client.limits) then add_hold(provider, d.client) end
    end
  end
  queues[queue] = {per_s = pace_of(queue, provider_scopes(name).account), oldest_age_ms = backlog.oldest_age_ms(queue)}
end

for _, queue in ipairs(ARGV) do pcall(describe, queue) end
for _, provider in pairs(providers) do
  provider.seen = nil
  if #provider.holds == 0 then provider.holds = nil end -- an empty table would be an object
end
local ok, found = pcall(cjson.encode, {queues = queues, providers = providers})
return ok and found or '{}'
