-- Files a hold, unless an equal call already has one that counts or a cap is reached.
-- asked: fields, ttl_ms, caps, confirm (one that is there must be on replicas' disks, too). ARGV[3]: the encrypted call.

lapse_all()

local hold = asked.fields
local twin = counting(hold.root_id, hold.call_digest)
if twin == false then return { 'tampered' } end
if twin then
  if asked.confirm then confirm() end
  return { 'exists', fields(twin.id) }
end
if redis.call('EXISTS', key('hold', hold.id)) == 1 then return { 'taken' } end

local of_root = key('open', 'root', hold.root_id)
local of_sponsor = key('open', 'sponsor', hold.sponsor)
local caps = asked.caps

local function stored_bytes(each)
  if each.not_stored then return 0 end
  return tonumber(each.body_bytes)
end

local open, bytes = 0, stored_bytes(hold)
for _, id in ipairs(redis.call('ZRANGE', of_root, 0, -1)) do
  local other = fetch(id)
  if other then
    open = open + 1
    bytes = bytes + stored_bytes(other)
  elseif other == nil then
    redis.call('ZREM', of_root, id)
    redis.call('ZREM', of_sponsor, id)
  end
end
if open >= caps.open_per_root then return { 'cap', 'open_per_root' } end
if redis.call('ZCARD', of_sponsor) >= caps.open_per_sponsor then return { 'cap', 'open_per_sponsor' } end
local last_hour = redis.call('ZCOUNT', key('root', hold.root_id), '(' .. whole(now - 3600000), '+inf')
if last_hour >= caps.per_hour_per_root then return { 'cap', 'per_hour_per_root' } end
if bytes > caps.bytes_per_root then return { 'cap', 'bytes_per_root' } end

hold.version = '1'
hold.fence = '0'
hold.filed_at = whole(now)
hold.expires_at = whole(now + asked.ttl_ms)
local flat = {}
for field, value in pairs(hold) do
  flat[#flat + 1] = field
  flat[#flat + 1] = value
end
redis.call('HSET', key('hold', hold.id), unpack(flat))
redis.call('SET', key('sealed', hold.id), ARGV[3])
redis.call('SET', key('call', hold.root_id, hold.call_digest), hold.id)
for _, index in ipairs({
  key('open'), of_root, of_sponsor,
  key('all'), key('root', hold.root_id), key('agent', hold.agent), key('sponsor', hold.sponsor),
}) do
  redis.call('ZADD', index, hold.filed_at, hold.id)
end
redis.call('ZADD', key('due'), hold.expires_at, hold.id)
announce(events, 'id', hold.id, 'state', hold.state, 'version', hold.version)
return { 'created', fields(hold.id) }
