-- How far one follower is. KEYS: the mark. ARGV: what to do (take, note, leave), who asks, for how many ms, the mark.
-- Returns {'mark', text} when the mark is theirs now, {'theirs'} when it is somebody else's, {'left'} when given up.

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local kept = redis.call('HMGET', KEYS[1], 'owner', 'until', 'mark')
local until_ms = tonumber(kept[2] or '0') or 0
local mine = kept[1] == ARGV[2]

if ARGV[1] == 'leave' then
  if mine then redis.call('HSET', KEYS[1], 'owner', '', 'until', '0') end
  return { 'left' }
end
if not mine and (ARGV[1] == 'note' or until_ms > now_ms) then return { 'theirs' } end

local ends = string.format('%.0f', now_ms + tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'until', ends)
if ARGV[1] == 'note' then
  redis.call('HSET', KEYS[1], 'mark', ARGV[4])
  return { 'mark', ARGV[4] }
end
return { 'mark', kept[3] or '' }
