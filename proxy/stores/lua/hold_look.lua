-- Reads one hold: by id, or the one that counts for an equal call (root_id, call_digest). With `sealed`, its
-- encrypted call as well; with `confirm`, what is found must be on replicas' disks.

local hold
if asked.id then
  hold = fetch(asked.id)
  if hold then lapse(hold) end
else
  hold = counting(asked.root_id, asked.call_digest)
end
if hold == nil then return { 'none' } end
if hold == false then return { 'tampered' } end
if asked.confirm then confirm() end
return { 'found', fields(hold.id), asked.sealed and redis.call('GET', key('sealed', hold.id)) }
