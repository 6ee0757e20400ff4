-- Arguments: id, the other job's id or '', whether it goes right after that one (1) or right before it (0).
-- Moves a queued job among those of its owner and client, which exchange the places that they have together. Without
-- another job it becomes the first of them. Returns 'moved', 'unknown', 'begun' or 'apart'; with the second and the
-- third also which job it is.
local id, beside, after = ARGV[1], ARGV[2], ARGV[3] == '1'
local function owner_of(job) return string.match(job, '^(.*)/') or '' end

for _, job in ipairs(beside == '' and {id} or {id, beside}) do
  local state = redis.call('HGET', job_key(job), 'state')
  if not state then return {'unknown', job} end
  if state ~= 'queued' then return {'begun', job} end
end

local queue = queue_key(redis.call('HGET', job_key(id), 'client'))
local own, places = {}, {}
for place, job in ipairs(redis.call('LRANGE', queue, 0, -1)) do
  if owner_of(job) == owner_of(id) then
    places[#places + 1] = place - 1
    if job ~= id then own[#own + 1] = job end
  end
end
local at = beside == '' and 1 or nil
for index, job in ipairs(own) do
  if job == beside then at = after and index + 1 or index end
end
if not at then return {'apart'} end
table.insert(own, at, id)
for index, place in ipairs(places) do redis.call('LSET', queue, place, own[index]) end
queue_changed()
return {'moved'}
