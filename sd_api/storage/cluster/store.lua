-- Tasks, their turns, their events and what is known of images. Each command is one transaction: Redis runs nothing
-- else meanwhile. ARGV[1] names the command, and the others are its arguments. A command that is sent again, because
-- its answer was lost, answers the same and changes nothing.

local commands = {}

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function next_number(kind)
  return string.format('%.0f', redis.call('HINCRBY', 'sd:store:numbers', kind, 1))
end

local function task(id)
  local fields = redis.call('HMGET', 'sd:store:task:' .. id, 'owner', 'parameters', 'state', 'created')
  table.insert(fields, 1, id)
  return fields
end

-- Keep an event, and tell of it: in one transaction, so that events are told in the order of their ids everywhere.
local function tell(id, owner, content)
  local event_id = next_number('event')
  local key = 'sd:store:task:' .. id
  redis.call('XADD', 'sd:store:events:' .. owner, event_id .. '-0', 'task', id, 'content', content)
  local before = redis.call('HGET', key, 'event_ids')
  redis.call('HSET', key, 'event_ids', before and before .. ' ' .. event_id or event_id, 'event_id', event_id,
    'event', content)
  redis.call('PUBLISH', 'sd:store:events', table.concat({event_id, owner, id, content}, ' '))
  return event_id
end

-- Turns -------------------------------------------------------------------------------------------------------------

-- Have a task wait for a process to carry it, among its owner's in the order in which they came.
local function wait(id, owner, number)
  redis.call('ZADD', 'sd:store:waiting:' .. owner, number, id)
  if not redis.call('ZSCORE', 'sd:store:turns', owner) then
    redis.call('ZADD', 'sd:store:turns', next_number('turn'), owner)
    -- Whoever had the last turn comes after everybody, newcomers too.
    local served = redis.call('HGET', 'sd:store:numbers', 'served')
    if served and served ~= owner then
      redis.call('ZADD', 'sd:store:turns', 'XX', next_number('turn'), served)
    end
  end
end

local function drop_empty_turn(owner)
  if redis.call('EXISTS', 'sd:store:waiting:' .. owner) == 0 then
    redis.call('ZREM', 'sd:store:turns', owner)
  end
end

-- Have a task carried by nobody.
local function put_down(id)
  local key = 'sd:store:task:' .. id
  local carrier = redis.call('HGET', key, 'carrier')
  if carrier then
    redis.call('SREM', 'sd:store:carried:' .. carrier, id)
    redis.call('SREM', 'sd:store:left:' .. carrier, id)
    redis.call('HDEL', key, 'carrier')
  end
end

local function carry(id, carrier)
  redis.call('SADD', 'sd:store:carried:' .. carrier, id)
  redis.call('HSET', 'sd:store:task:' .. id, 'carrier', carrier)
end

-- The task whose turn it is. The same again until the carrier says, with its id as `taken`, that it has it.
function commands.claim(carrier, lease, ahead, taken)
  redis.call('ZADD', 'sd:store:carriers', now() + lease, carrier)
  local claimed = redis.call('GET', 'sd:store:claimed:' .. carrier)
  if claimed and claimed ~= taken then
    return task(claimed)
  end
  redis.call('DEL', 'sd:store:claimed:' .. carrier)
  local owner = redis.call('ZRANGE', 'sd:store:turns', 0, 0)[1]
  if not owner or redis.call('SCARD', 'sd:store:ahead') >= tonumber(ahead) then
    return false
  end
  local id = redis.call('ZPOPMIN', 'sd:store:waiting:' .. owner)[1]
  redis.call('ZADD', 'sd:store:turns', next_number('turn'), owner)
  redis.call('HSET', 'sd:store:numbers', 'served', owner)
  drop_empty_turn(owner)
  carry(id, carrier)
  redis.call('SADD', 'sd:store:ahead', id)
  redis.call('SET', 'sd:store:claimed:' .. carrier, id)
  return task(id)
end

-- Renew a carrier's lease, and give it what those carried whose leases are over: of that, it is told of the tasks that
-- had begun, again and again until they are among `known`; the others wait again.
function commands.renew(carrier, lease, ...)
  local time = now()
  local left = 'sd:store:left:' .. carrier
  for _, id in ipairs({...}) do
    redis.call('SREM', left, id)
  end
  redis.call('ZADD', 'sd:store:carriers', time + lease, carrier)
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', 'sd:store:carriers', '-inf', time)) do
    for _, id in ipairs(redis.call('SMEMBERS', 'sd:store:carried:' .. dead)) do
      put_down(id)
      local found = redis.call('HMGET', 'sd:store:task:' .. id, 'state', 'owner', 'number')
      if found[1] == 'started' then
        carry(id, carrier)
        redis.call('SADD', left, id)
      elseif found[1] == 'pending' then
        redis.call('SREM', 'sd:store:ahead', id)
        wait(id, found[2], found[3])
      end
    end
    redis.call('DEL', 'sd:store:claimed:' .. dead)
    redis.call('ZREM', 'sd:store:carriers', dead)
  end
  local tasks = {}
  for _, id in ipairs(redis.call('SMEMBERS', left)) do
    table.insert(tasks, task(id))
  end
  return tasks
end

-- End a carrier's lease now.
function commands.leave(carrier)
  redis.call('ZADD', 'sd:store:carriers', 'XX', 0, carrier)
end

-- Images ------------------------------------------------------------------------------------------------------------

local function insert_blob(id, owner, size, expires, blob)
  redis.call('HSET', 'sd:store:blob:' .. id, 'owner', owner, 'size', size, 'blob', blob)
  redis.call('ZADD', 'sd:store:blobs', expires, id)
  redis.call('ZADD', 'sd:store:blobs:' .. owner, expires, id)
  redis.call('INCRBY', 'sd:store:bytes:' .. owner, size)
  redis.call('ZREM', 'sd:store:unlisted', id)
end

-- Take note of a content that is about to be written, so that somebody deletes it if it is never listed.
function commands.expect_blob(id)
  redis.call('ZADD', 'sd:store:unlisted', now(), id)
end

function commands.drop_blob(id)
  local found = redis.call('HMGET', 'sd:store:blob:' .. id, 'owner', 'size')
  if found[1] then
    redis.call('ZREM', 'sd:store:blobs', id)
    redis.call('ZREM', 'sd:store:blobs:' .. found[1], id)
    if redis.call('DECRBY', 'sd:store:bytes:' .. found[1], found[2]) <= 0 then
      redis.call('DEL', 'sd:store:bytes:' .. found[1])
    end
  end
  redis.call('DEL', 'sd:store:blob:' .. id)
  redis.call('ZADD', 'sd:store:unlisted', 0, id)
end

-- Forget some of what has expired, of one owner or altogether; how many there were.
local function drop_expired(blobs)
  local expired = redis.call('ZRANGEBYSCORE', blobs, '-inf', now(), 'LIMIT', 0, 1000)
  for _, id in ipairs(expired) do
    commands.drop_blob(id)
  end
  return #expired
end

-- Forget what has expired; some of the contents that nobody wants, those from the last `grace` seconds left out.
function commands.unwanted_contents(grace)
  drop_expired('sd:store:blobs')
  return redis.call('ZRANGEBYSCORE', 'sd:store:unlisted', '-inf', now() - grace, 'LIMIT', 0, 1000)
end

function commands.forget_contents(...)
  redis.call('ZREM', 'sd:store:unlisted', ...)
end

-- How many bytes are kept for an owner.
function commands.bytes_kept(owner)
  while drop_expired('sd:store:blobs:' .. owner) > 0 do end
  return tonumber(redis.call('GET', 'sd:store:bytes:' .. owner) or 0)
end

-- List an image, unless its owner would have `most` bytes or more; how many bytes there were then.
function commands.add_blob(most, id, owner, size, expires, blob)
  if redis.call('EXISTS', 'sd:store:blob:' .. id) == 1 then
    return false
  end
  local kept = commands.bytes_kept(owner)
  if kept + size >= tonumber(most) then
    return kept
  end
  insert_blob(id, owner, size, expires, blob)
  return false
end

-- Tasks -------------------------------------------------------------------------------------------------------------

function commands.add_task(id, owner, parameters, created, content)
  local key = 'sd:store:task:' .. id
  if redis.call('EXISTS', key) == 1 then
    return string.match(redis.call('HGET', key, 'event_ids'), '%d+')
  end
  local number = next_number('task')
  redis.call('HSET', key, 'owner', owner, 'parameters', parameters, 'state', 'pending', 'created', created,
    'number', number, 'starts', 0)
  redis.call('ZADD', 'sd:store:tasks:' .. owner, number, id)
  redis.call('SADD', 'sd:store:pending:' .. owner, id)
  wait(id, owner, number)
  return tell(id, owner, content)
end

-- Give a task another state, with its event and its images; nothing happens where it has ended. `change` names this
-- very change, so that the same one that is sent again is known. Each image is five arguments, as insert_blob's.
function commands.record(id, change, state, content, ...)
  local key = 'sd:store:task:' .. id
  local found = redis.call('HMGET', key, 'state', 'owner', 'number', 'change', 'event_id')
  local before, owner, number = found[1], found[2], found[3]
  if found[4] == change then
    return found[5]
  elseif before ~= 'pending' and before ~= 'started' then
    return false
  elseif before == 'started' and state == 'started' then
    -- Of a process that was only slow: whoever took its tasks over has told of this start.
    return found[5]
  end
  redis.call('HSET', key, 'state', state, 'change', change)
  redis.call('SREM', 'sd:store:ahead', id)
  if state == 'pending' then
    redis.call('SADD', 'sd:store:pending:' .. owner, id)
    put_down(id)
    wait(id, owner, number)
  else
    redis.call('SREM', 'sd:store:pending:' .. owner, id)
    redis.call('ZREM', 'sd:store:waiting:' .. owner, id)
    drop_empty_turn(owner)
    if state == 'started' then
      redis.call('HINCRBY', key, 'starts', 1)
    else
      put_down(id)
      redis.call('ZADD', 'sd:store:ended', now(), id)
    end
  end
  local images = {...}
  for first = 1, #images, 5 do
    insert_blob(unpack(images, first, first + 4))
  end
  return tell(id, owner, content)
end

-- Some of an owner's tasks with their last events, the newest first.
function commands.list_tasks(owner, first, last)
  local found = {}
  for _, id in ipairs(redis.call('ZREVRANGE', 'sd:store:tasks:' .. owner, first, last)) do
    table.insert(found, {task(id), redis.call('HMGET', 'sd:store:task:' .. id, 'event_id', 'event')})
  end
  return found
end

-- Delete some of the tasks that ended before a time; how many there were.
function commands.forget_tasks(before)
  local ended = redis.call('ZRANGEBYSCORE', 'sd:store:ended', '-inf', '(' .. before, 'LIMIT', 0, 100)
  for _, id in ipairs(ended) do
    local found = redis.call('HMGET', 'sd:store:task:' .. id, 'owner', 'event_ids')
    local events = 'sd:store:events:' .. found[1]
    for event_id in string.gmatch(found[2], '%d+') do
      redis.call('XDEL', events, event_id .. '-0')
    end
    if redis.call('XLEN', events) == 0 then
      redis.call('DEL', events)
    end
    redis.call('ZREM', 'sd:store:tasks:' .. found[1], id)
    redis.call('ZREM', 'sd:store:ended', id)
    redis.call('DEL', 'sd:store:task:' .. id)
  end
  return #ended
end

return commands[ARGV[1]](unpack(ARGV, 2))
