-- One look over everything, by one worker. Expires what is due, gives up sends that were abandoned, forgets what has
-- been over long enough. Returns every hold that ended so, whichever script noticed it first, until somebody says that
-- it was told of it, and to nobody else for a while; and what this worker may deliver now. asked: worker ("" for none),
-- its node, and told (ids that it was told of and has written down).

local GIVE_UP_AT_ONCE = 100
local DELIVER_AT_ONCE = 16    -- of each queue, as in proxy/stores/memory_holds.py

lapse_all()

-- A worker that was not heard of for a while, as when this server was away, cannot say who else is dead: the others
-- were not heard of either. It judges once it has been there long enough for each of them to come back.
local judges = false
if asked.worker ~= '' then
  local beat = tonumber(redis.call('ZSCORE', key('beats'), asked.worker) or '0')
  if math.abs(now - beat) >= house.beat_ms then redis.call('ZADD', key('beats', 'since'), whole(now), asked.worker) end
  redis.call('ZADD', key('beats'), whole(now), asked.worker)
  local since = tonumber(redis.call('ZSCORE', key('beats', 'since'), asked.worker) or whole(now))
  judges = since <= now - house.beat_ms
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', key('beats'), '-inf', whole(now - house.longest_send_ms))) do
    redis.call('ZREM', key('beats'), dead)
    redis.call('ZREM', key('beats', 'since'), dead)
  end
end

-- The members of an index whose time has come, and those of a time so far ahead that this clock must have been set back.
local function come(index, at, ahead, most)
  local ids = redis.call('ZRANGEBYSCORE', index, '-inf', whole(at), 'LIMIT', 0, most)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '(' .. whole(ahead), '+inf', 'LIMIT', 0, most)) do
    ids[#ids + 1] = id
  end
  return ids
end

local given_up = 0
for _, id in ipairs(come(key('sending'), now - house.beat_ms, now + house.beat_ms, -1)) do
  local hold = fetch(id)
  if not hold or hold.state ~= house.sending then
    redis.call('ZREM', key('sending'), id)
  elseif given_up < GIVE_UP_AT_ONCE then
    local claimed_at = tonumber(hold.claimed_at or '0')
    local gone = judges and not lives(worker_of(hold.claimed_by))
    if gone or claimed_at <= now - house.longest_send_ms then
      move(hold, house.lost, {})
      report(hold)
      given_up = given_up + 1
    end
  end
end

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
for _, id in ipairs(asked.told) do redis.call('ZREM', key('untold'), id) end
for _, id in ipairs(come(key('untold'), now, now + house.beat_ms, LAPSE_AT_ONCE)) do
  local hold = fetch(id)
  if hold then
    found[#found + 1] = fields(id)
    redis.call('ZADD', key('untold'), whole(now + house.beat_ms), id)
  else
    redis.call('ZREM', key('untold'), id)
  end
end

-- What is handed out comes up again after a pause, that of a long released call a longer one: a call that its node refuses
-- to send, as when its mandate was revoked meanwhile, keeps no other from its turn.
local deliver = {}
local function hand_out(queue)
  local first, most = house.deliver_ms[1], house.deliver_ms[2]
  local given = 0
  for _, id in ipairs(come(queue, now, now + most, LAPSE_AT_ONCE)) do
    local hold = fetch(id)
    if not hold or hold.state ~= house.approved then
      redis.call('ZREM', queue, id)
    elseif given < DELIVER_AT_ONCE and not reserved(hold, asked.worker) then
      given = given + 1
      deliver[#deliver + 1] = id
      local released_ms = now - tonumber(hold.decided_at or '0')
      redis.call('ZADD', queue, whole(now + math.max(first, math.min(most, math.floor(released_ms / 2)))), id)
    end
  end
end
if asked.worker ~= '' then
  hand_out(key('deliver'))
  hand_out(key('deliver', asked.node))
end
return { 'swept', found, deliver }
