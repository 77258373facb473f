-- Gives a name its address. KEYS: addresses by name, names by address, when each name was last answered.
-- ARGV: name, quota, seconds an answer counts, seconds an address is kept, addresses to try.
-- Returns the address and whether it is new ("1"), or "" where there is none to give.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local until_ms = now + tonumber(ARGV[4]) * 1000
local function kept()
  for index = 1, 3 do redis.call('PEXPIREAT', KEYS[index], until_ms) end
end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  redis.call('ZADD', KEYS[3], now, ARGV[1])
  kept()
  return { known, '0' }
end
local old = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - tonumber(ARGV[4]) * 1000, 'LIMIT', 0, 100)
for _, name in ipairs(old) do
  local address = redis.call('HGET', KEYS[1], name)
  if address then redis.call('HDEL', KEYS[2], address) end
  redis.call('HDEL', KEYS[1], name)
  redis.call('ZREM', KEYS[3], name)
end
if redis.call('ZCOUNT', KEYS[3], '(' .. (now - tonumber(ARGV[3]) * 1000), '+inf') >= tonumber(ARGV[2]) then
  return { '', '0' }
end
for index = 5, #ARGV do
  if not redis.call('HGET', KEYS[2], ARGV[index]) then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[index])
    redis.call('HSET', KEYS[2], ARGV[index], ARGV[1])
    redis.call('ZADD', KEYS[3], now, ARGV[1])
    kept()
    return { ARGV[index], '1' }
  end
end
return { '', '0' }
