-- Stores a control statement once. KEYS: the statements by id, the stream. ARGV: id, statement.

if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  announce(KEYS[2], 'id', ARGV[1], 'statement', ARGV[2])
end
return 1
