-- Appends to a stream whose entries each name the entry before them. A reader that was not shown an entry (trimmed,
-- flushed, lost in a failover) notices, because the next one does not name the last it saw.

local STREAM_LENGTH = 10000

local function announce(stream, ...)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  local prev = last[1] and last[1][1] or '0-0'
  redis.call('XADD', stream, 'MAXLEN', '~', STREAM_LENGTH, '*', 'prev', prev, ...)
end
