-- The nonce store's epoch: since when this server has certainly forgotten nothing.
--
-- KEYS[1]  the epoch's key (a hash: born_ms, run_id, durable)
--
-- A new epoch begins when there is none (first start, flush, lost data) and when another process serves than before,
-- unless it is the same server restarted with every write on disk: `durable` was recorded by the life before, and a
-- replica that was promoted says so.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function whole(number) return string.format('%.0f', number) end

local function epoch_born_ms()
  local about = redis.call('INFO', 'server', 'replication')
  local run_id = string.match(about, 'run_id:(%x+)') or ''
  local epoch = redis.call('HMGET', KEYS[1], 'born_ms', 'run_id', 'durable')
  local born = tonumber(epoch[1] or '')
  if born and epoch[2] == run_id then return born end
  local promoted = string.match(about, 'second_repl_offset:%-1') == nil
  if born and epoch[3] == '1' and not promoted then
    redis.call('HSET', KEYS[1], 'run_id', run_id)
    return born
  end
  redis.call('HSET', KEYS[1], 'born_ms', whole(now), 'run_id', run_id, 'durable', '0')
  return now
end
