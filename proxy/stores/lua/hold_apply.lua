-- Takes one step of the state machine, or returns the hold as it is.
-- asked: id, sources (states that permit the step), target, changes; optionally fence (the claim's, as text) and by (who
-- claimed), claims (the step is a claim of this worker: the fence moves on), sticky_ms (how long the end answers equal
-- calls by default), lifts (the step ends a denial's answering; the state stays),
-- version (the one the hold must still be at, as text), said (a statement to add to those that decided nothing).

local hold = fetch(asked.id)
if hold == nil then return { 'unknown' } end
if hold == false then return { 'tampered' } end

-- Expiry is never taken on anyone's word: it happens when, and only when, the deadline has passed.
local applied = lapse(hold) and asked.target == house.expired

local permitted = false
for _, state in ipairs(asked.sources) do permitted = permitted or state == hold.state end
local lifts = asked.lifts and hold.state == 'denied' and asked.target == 'denied'
if TERMINAL[hold.state] and not lifts then permitted = false end
if asked.target == house.expired then permitted = false end
if asked.fence and asked.fence ~= hold.fence then permitted = false end
if asked.version and asked.version ~= hold.version then permitted = false end

if asked.by and asked.by ~= (hold.claimed_by or '') then permitted = false end
if asked.claims and reserved(hold, asked.claims) then permitted = false end

if permitted then
  local changes = asked.changes
  if asked.claims then
    changes.fence = whole(hold.fence + 1)
    changes.claimed_at = whole(now)
    changes.claimed_by = asked.claims
  end
  if asked.said then
    local line = whole(hold.version + 1) .. ' ' .. asked.said
    changes.said = hold.said and hold.said .. '\n' .. line or line
  end
  if changes.expires_at and not hold.first_end then changes.first_end = hold.expires_at end
  if changes.decided_by then changes.decided_at = whole(now) end
  if asked.sticky_ms and not changes.sticky_until then changes.sticky_until = whole(now + asked.sticky_ms) end
  move(hold, asked.target, changes)
  applied = true
end

return { 'moved', applied and 1 or 0, fields(hold.id) }
