-- Keeps a route grant. KEYS: the grant, the ends of all grants, those of its root. ARGV: id, statement, end (ms).

if redis.call('HSETNX', KEYS[1], 'statement', ARGV[2]) == 1 then
  redis.call('HSET', KEYS[1], 'used', '0')
  redis.call('PEXPIREAT', KEYS[1], ARGV[3])
  local clock = redis.call('TIME')
  for index = 2, 3 do
    redis.call('ZREMRANGEBYSCORE', KEYS[index], '-inf', clock[1] .. '000')
    redis.call('ZADD', KEYS[index], ARGV[3], ARGV[1])
    local last = redis.call('ZREVRANGE', KEYS[index], 0, 0, 'WITHSCORES')
    redis.call('PEXPIREAT', KEYS[index], last[2])
  end
end
return 1
