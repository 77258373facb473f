-- Keeps the response to a delivered call (asked: id, ttl_ms; ARGV[3]: the encrypted response), or reads it (asked: id).

local place = key('response', asked.id)
if asked.ttl_ms then
  redis.call('SET', place, ARGV[3], 'PX', whole(asked.ttl_ms))
  return { 'kept' }
end
return { 'response', redis.call('GET', place) }
