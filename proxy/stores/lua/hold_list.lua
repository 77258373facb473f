-- Lists holds, newest first. asked: states, limit; optionally open (only open states are asked for), agent, sponsor,
-- root_id. Records that cannot be read are left out: they cannot be released either.

local CHUNK = 100
local SCAN_AT_MOST = 10000

lapse_all()

local index
if asked.open then
  index = asked.root_id and key('open', 'root', asked.root_id)
    or asked.sponsor and key('open', 'sponsor', asked.sponsor)
    or key('open')
else
  index = asked.root_id and key('root', asked.root_id)
    or asked.agent and key('agent', asked.agent)
    or asked.sponsor and key('sponsor', asked.sponsor)
    or key('all')
end

local wanted = {}
for _, state in ipairs(asked.states) do wanted[state] = true end

local found, gone = {}, {}
for first = 0, SCAN_AT_MOST - CHUNK, CHUNK do
  local ids = redis.call('ZREVRANGE', index, first, first + CHUNK - 1)
  for _, id in ipairs(ids) do
    local hold = fetch(id)
    if hold == nil then
      gone[#gone + 1] = id
    elseif hold and wanted[hold.state]
      and (not asked.agent or asked.agent == hold.agent)
      and (not asked.sponsor or asked.sponsor == hold.sponsor)
      and (not asked.root_id or asked.root_id == hold.root_id) then
      found[#found + 1] = fields(id)
      if #found >= asked.limit then break end
    end
  end
  if #ids < CHUNK or #found >= asked.limit then break end
end
for _, id in ipairs(gone) do redis.call('ZREM', index, id) end
return found
