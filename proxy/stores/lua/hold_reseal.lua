-- Puts another beginning to a hold's sealed call, or, with `whole`, another sealed call in its place, if it still begins
-- as expected. asked: id, whole. ARGV[3]: how it begins. ARGV[4]: what is to stand there.

local place = key('sealed', asked.id)
if redis.call('GETRANGE', place, 0, #ARGV[3] - 1) ~= ARGV[3] then return 0 end
if asked.whole then
  redis.call('SET', place, ARGV[4], 'KEEPTTL')
else
  redis.call('SETRANGE', place, 0, ARGV[4])
end
return 1
