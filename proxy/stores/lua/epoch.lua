-- The nonce store's epoch: since when this server has certainly forgotten nothing.
--
-- KEYS[1]  the epoch's key (a hash: born_ms, run_id, durable, replaced)
--
-- A new epoch begins when there is none (first start, flush, lost data) and when another process serves than before,
-- unless it is the same server restarted with every write on disk: `durable` was recorded by the life before, and a
-- replica that was promoted says so. A primary that was replaced, followed the other and was promoted again is the same
-- process with another's data: the history it took over (`replaced`) is then a new one.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function whole(number) return string.format('%.0f', number) end

local function epoch_born_ms()
  local about = redis.call('INFO', 'server', 'replication')
  local run_id = string.match(about, 'run_id:(%x+)') or ''
  local history = string.match(about, 'master_replid2:(%x+)') or ''
  local epoch = redis.call('HMGET', KEYS[1], 'born_ms', 'run_id', 'durable', 'replaced')
  local born = tonumber(epoch[1] or '')
  local replaced = string.match(history, '[^0]') and history ~= (epoch[4] or '')
  if born and epoch[2] == run_id and not replaced then return born end
  local promoted = string.match(about, 'second_repl_offset:%-1') == nil
  if born and epoch[3] == '1' and not promoted and not replaced then
    redis.call('HSET', KEYS[1], 'run_id', run_id)
    return born
  end
  redis.call('HSET', KEYS[1], 'born_ms', whole(now), 'run_id', run_id, 'durable', '0', 'replaced', history)
  return now
end
