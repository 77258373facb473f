-- Spends nonces. KEYS[2] and on: a key for each. ARGV: how long after the epoch's birth proofs are refused (ms), how long
-- a nonce is remembered (ms), then for each nonce when its proof was made (ms). What became of each comes last.

local born = epoch_born_ms()
local outcomes = {}
for place = 3, #ARGV do
  if tonumber(ARGV[place]) < born + tonumber(ARGV[1]) then
    outcomes[place - 2] = 'young'
  else
    local fresh = redis.call('SET', KEYS[place - 1], '1', 'NX', 'PX', ARGV[2])
    outcomes[place - 2] = fresh and 'spent' or 'replayed'
  end
end
return { whole(now), whole(born), outcomes }
