-- A page of the open holds and the first bytes of each one's sealed call. asked: cursor (text), head_bytes.

local page = redis.call('ZSCAN', key('open'), asked.cursor, 'COUNT', LAPSE_AT_ONCE)
local found = {}
for i = 1, #page[2], 2 do
  local id = page[2][i]
  local head = redis.pcall('GETRANGE', key('sealed', id), 0, asked.head_bytes - 1)
  if type(head) == 'string' and #head > 0 then
    found[#found + 1] = id
    found[#found + 1] = head
  end
end
return { 'page', page[1], found }
