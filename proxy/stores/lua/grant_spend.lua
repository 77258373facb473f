-- Counts one use of a route grant. KEYS: the grant. ARGV: how often it may be used, by its statement.
-- Returns the number of this use, or 0: it was used up, has ended, or was never kept.

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local used = redis.call('HGET', KEYS[1], 'used')
if not used or not string.match(used, '^%d+$') or #used > 9 or tonumber(used) >= tonumber(ARGV[1]) then return 0 end
return redis.call('HINCRBY', KEYS[1], 'used', 1)
