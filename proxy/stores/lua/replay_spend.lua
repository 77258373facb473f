-- Spends a nonce. KEYS[2]: the nonce's key. ARGV: when the proof was made (ms), how long after the epoch's birth
-- proofs are refused (ms), how long the nonce is remembered (ms).

local born = epoch_born_ms()
if tonumber(ARGV[1]) < born + tonumber(ARGV[2]) then return { 'young', whole(now), whole(born) } end
local fresh = redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[3])
return { fresh and 'spent' or 'replayed', whole(now), whole(born) }
