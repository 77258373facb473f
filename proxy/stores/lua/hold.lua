-- What the scripts about holds share.
--
-- KEYS[1]  the stream of events
-- ARGV[1]  the house, as JSON: prefix, retain_ms, expirable (states that end at their deadline), expired (their end),
--          exclusive_ms, beat_ms, longest_send_ms, deliver_ms (first and longest pause), as `proxy.core.holds` has them
-- ARGV[2]  what is asked, as JSON
--
-- Numbers are kept as decimal text. Times are milliseconds since 1970 by this server's clock.

local events = KEYS[1]
local house = cjson.decode(ARGV[1])
local asked = cjson.decode(ARGV[2])

-- Never left, whatever the caller asks.
local TERMINAL = { released = true, denied = true, expired = true, cancelled = true }

local EXPIRABLE = {}
for _, state in ipairs(house.expirable) do EXPIRABLE[state] = true end

local LAPSE_AT_ONCE = 100     -- deadlines honoured per script, so that no script runs long
local UNTOLD_KEPT = 10000     -- holds that ended by themselves and wait for somebody to write that down
local FORGET_GRACE_MS = 3600000

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function whole(number) return string.format('%.0f', number) end

local function key(...) return house.prefix .. table.concat({ ... }, ':') end

local function digits(text) return text and string.match(text, '^%d+$') and #text < 16 end

-- The hold's fields; nil when there is none; false when they cannot be what these scripts wrote.
local function fetch(id)
  local flat = redis.pcall('HGETALL', key('hold', id))
  if flat.err then return false end
  if #flat == 0 then return nil end
  local hold = {}
  for i = 1, #flat, 2 do hold[flat[i]] = flat[i + 1] end
  for _, field in ipairs({ 'version', 'fence', 'filed_at', 'expires_at', 'body_bytes' }) do
    if not digits(hold[field]) then return false end
  end
  if hold.claimed_at and not digits(hold.claimed_at) then return false end
  if hold.decided_at and not digits(hold.decided_at) then return false end
  for _, field in ipairs({ 'state', 'call_digest', 'root_id', 'agent', 'sponsor' }) do
    if not hold[field] then return false end
  end
  if hold.sticky_until and not digits(hold.sticky_until) then return false end
  if hold.id ~= id then return false end
  return hold
end

local function fields(id) return redis.call('HGETALL', key('hold', id)) end

-- The worker that a claim's name begins with.
local function worker_of(claim) return string.match(claim or '', '^[^/]*') end

-- Whether a worker was heard of lately. What is yet to come was written before this clock was set back.
local function lives(worker)
  local beat = redis.call('ZSCORE', key('beats'), worker)
  return beat and math.abs(now - tonumber(beat)) < house.beat_ms
end

-- Whether somebody else may claim the hold alone for now: its agent waits there.
local function reserved(hold, worker)
  local there = hold.waits_at
  if not there or there == worker_of(worker) or not hold.decided_at then return false end
  return tonumber(hold.decided_at) + house.exclusive_ms > now and lives(there)
end

-- Ends a hold for good: the stored call goes now, the record when nobody needs it any more.
local function settle(hold)
  local id = hold.id
  redis.call('DEL', key('sealed', id))
  redis.call('ZREM', key('open'), id)
  redis.call('ZREM', key('open', 'root', hold.root_id), id)
  redis.call('ZREM', key('open', 'sponsor', hold.sponsor), id)
  local call = key('call', hold.root_id, hold.call_digest)
  local sticky_until = tonumber(hold.sticky_until or '0')
  if redis.call('GET', call) == id then
    if sticky_until > now then redis.call('PEXPIREAT', call, hold.sticky_until) else redis.call('DEL', call) end
  end
  local forget_at = math.max(now + house.retain_ms, sticky_until)
  redis.call('ZADD', key('done'), whole(forget_at), id)
  redis.call('PEXPIREAT', key('hold', id), whole(forget_at + FORGET_GRACE_MS))
end

-- Where a released call waits to be delivered: once a node has claimed it, and where its release names the node it was
-- filed at, at that node alone.
local function queue_of(hold)
  if hold.risk == house.bound then return key('deliver', hold.node or '') end
  if hold.claimed_by then return key('deliver', string.match(hold.claimed_by, '^([^.]*)%.') or '') end
  return key('deliver')
end

local function move(hold, state, changes)
  redis.call('ZREM', queue_of(hold), hold.id)
  changes.state = state
  changes.version = whole(hold.version + 1)
  local flat = {}
  for field, value in pairs(changes) do
    hold[field] = value
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  redis.call('HSET', key('hold', hold.id), unpack(flat))
  if EXPIRABLE[state] then
    redis.call('ZADD', key('due'), hold.expires_at, hold.id)
  else
    redis.call('ZREM', key('due'), hold.id)
  end
  if state == 'releasing' then
    redis.call('ZADD', key('sending'), whole(now), hold.id)
  else
    redis.call('ZREM', key('sending'), hold.id)
  end
  if state == 'approved' and hold.delivers then
    local pause, tries = 0, tonumber(hold.fence)
    if tries > 0 then pause = math.min(house.deliver_ms[2], house.deliver_ms[1] * 2 ^ math.min(tries - 1, 20)) end
    redis.call('ZADD', queue_of(hold), whole(now + pause), hold.id)
  end
  if TERMINAL[state] then settle(hold) end
  announce(events, 'id', hold.id, 'state', state, 'version', hold.version)
end

-- Notes that somebody is to write down how the hold ended.
local function report(hold)
  if redis.call('ZCARD', key('untold')) < UNTOLD_KEPT then redis.call('ZADD', key('untold'), whole(now), hold.id) end
end

-- Expires the hold if its deadline has passed, so that no script ever acts on, or shows, a hold that should have ended.
local function lapse(hold)
  if not EXPIRABLE[hold.state] or tonumber(hold.expires_at) > now then return false end
  move(hold, house.expired, {})
  report(hold)
  return true
end

local function lapse_all()
  local due = redis.call('ZRANGEBYSCORE', key('due'), '-inf', whole(now), 'LIMIT', 0, LAPSE_AT_ONCE)
  for _, id in ipairs(due) do
    local hold = fetch(id)
    if not hold then
      -- Gone or unreadable: it can never be released, and must not block the queue.
      redis.call('ZREM', key('due'), id)
      redis.call('ZREM', key('open'), id)
    elseif not lapse(hold) then
      redis.call('ZREM', key('due'), id)
      if EXPIRABLE[hold.state] then redis.call('ZADD', key('due'), hold.expires_at, id) end
    end
  end
end

-- Writes what is of no use: whoever then waits for replicas' disks waits for all that was written before, by anybody.
local function confirm() redis.call('SET', key('confirmed'), '1', 'PX', 1000) end

-- The hold that answers an equal call: open, or denied and still sticky. Nil when there is none, false when tampered.
local function counting(root_id, call_digest)
  local id = redis.call('GET', key('call', root_id, call_digest))
  if not id then return nil end
  local hold = fetch(id)
  if not hold then return hold end
  if hold.root_id ~= root_id or hold.call_digest ~= call_digest then return false end
  lapse(hold)
  if not TERMINAL[hold.state] then return hold end
  if hold.sticky_until and tonumber(hold.sticky_until) > now then return hold end
  return nil
end
