-- Reads the name behind an address. KEYS: names by address, when each was last answered.
-- ARGV: address, seconds an answer counts. Returns the name, or "" for none, or none any more.

local name = redis.call('HGET', KEYS[1], ARGV[1])
if not name then return '' end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local answered = redis.call('ZSCORE', KEYS[2], name)
if not answered or tonumber(answered) <= now - tonumber(ARGV[2]) * 1000 then return '' end
return name
