-- Notes where the agent of a hold waits; once it is decided, that stays as it was. asked: id, worker ("" for nowhere).

local hold = fetch(asked.id)
if hold and hold.state == house.held then
  if asked.worker == '' then
    redis.call('HDEL', key('hold', hold.id), 'waits_at')
  else
    redis.call('HSET', key('hold', hold.id), 'waits_at', asked.worker)
  end
end
return { 'noted' }
