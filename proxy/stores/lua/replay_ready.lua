-- Opens the epoch and records whether this life of the server loses nothing in a crash. ARGV[1]: '1' if so, else '0'.

local born = epoch_born_ms()
redis.call('HSET', KEYS[1], 'durable', ARGV[1])
return { whole(now), whole(born) }
