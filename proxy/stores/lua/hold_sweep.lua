-- Expires what is due, forgets what has been over long enough, and returns every hold that expired since the last
-- sweep, whichever script noticed it first. Each is returned once.

lapse_all()

local over = redis.call('ZRANGEBYSCORE', key('done'), '-inf', whole(now), 'LIMIT', 0, LAPSE_AT_ONCE)
for _, id in ipairs(over) do
  local hold = fetch(id)
  if hold then
    redis.call('ZREM', key('root', hold.root_id), id)
    redis.call('ZREM', key('agent', hold.agent), id)
    redis.call('ZREM', key('sponsor', hold.sponsor), id)
  end
  redis.call('ZREM', key('all'), id)
  redis.call('DEL', key('hold', id))
  redis.call('ZREM', key('done'), id)
end

local found = {}
for _, id in ipairs(redis.call('LPOP', key('lapsed'), LAPSE_AT_ONCE) or {}) do
  local flat = fields(id)
  if #flat > 0 then found[#found + 1] = flat end
end
return found
