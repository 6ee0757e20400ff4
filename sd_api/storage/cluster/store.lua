-- Tasks, the task queue, events, the list of images and users. Each command is one transaction: Redis runs nothing else
-- meanwhile. ARGV[1] names the command, and the others are its arguments. Commands are idempotent: one that is sent
-- again, because its answer was lost, answers the same and changes nothing.
--
-- The keys are users' data, which outlives an update, so their names stay; docs/architecture.md lists them.

local commands = {}

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function next_number(kind)
  return string.format('%.0f', redis.call('HINCRBY', 'sd:store:numbers', kind, 1))
end

-- The keys in which something of a client is counted: its own, that of all public tokens, and that of all.
local function counters(name, client)
  local keys = {name .. client, name .. 'all'}
  if string.sub(client, 1, 5) ~= 'user:' then table.insert(keys, name .. 'public') end
  return keys
end

-- Whether as much is used as is allowed, or more: by a client, by all public tokens, or in all.
local function is_full(client, used, more, own, public, total)
  local is_public = string.sub(client, 1, 5) ~= 'user:'
  return used[1] + more >= tonumber(own) or used[3] + more >= tonumber(total)
    or (is_public and used[2] + more >= tonumber(public))
end

local function task(id)
  local fields = redis.call('HMGET', 'sd:store:task:' .. id, 'owner', 'parameters', 'state', 'created')
  table.insert(fields, 1, id)
  return fields
end

-- Store an event and publish it in one transaction, so that all processes get events in the order of their ids.
local function store_event(id, owner, content)
  local event_id = next_number('event')
  local key = 'sd:store:task:' .. id
  redis.call('XADD', 'sd:store:events:' .. owner, event_id .. '-0', 'task', id, 'content', content)
  local before = redis.call('HGET', key, 'event_ids')
  redis.call('HSET', key, 'event_ids', before and before .. ' ' .. event_id or event_id, 'event_id', event_id,
    'event', content)
  redis.call('PUBLISH', 'sd:store:events', table.concat({event_id, owner, id, content}, ' '))
  return event_id
end

-- The task queue ----------------------------------------------------------------------------------------------------

-- Queue a task for a process to dispatch, among its client's tasks in the order in which they were accepted.
local function enqueue(id, client, number)
  redis.call('ZADD', 'sd:store:waiting:' .. client, number, id)
  if not redis.call('ZSCORE', 'sd:store:turns', client) then
    redis.call('ZADD', 'sd:store:turns', next_number('turn'), client)
    -- The client that was served last comes after all others, new clients included.
    local served = redis.call('HGET', 'sd:store:numbers', 'served')
    if served and served ~= client then
      redis.call('ZADD', 'sd:store:turns', 'XX', next_number('turn'), served)
    end
  end
end

local function drop_client_if_empty(client)
  if redis.call('EXISTS', 'sd:store:waiting:' .. client) == 0 then
    redis.call('ZREM', 'sd:store:turns', client)
  end
end

-- Take a task away from the process that dispatches it.
local function unassign(id)
  local key = 'sd:store:task:' .. id
  local process = redis.call('HGET', key, 'carrier')
  if process then
    redis.call('SREM', 'sd:store:carried:' .. process, id)
    redis.call('SREM', 'sd:store:left:' .. process, id)
    redis.call('HDEL', key, 'carrier')
  end
end

local function assign(id, process)
  redis.call('SADD', 'sd:store:carried:' .. process, id)
  redis.call('HSET', 'sd:store:task:' .. id, 'carrier', process)
end

-- Assign the next task to a process. The same task is returned until the process acknowledges it by its id, `taken`.
function commands.claim(process, lease, max_dispatched, taken)
  redis.call('ZADD', 'sd:store:carriers', now() + lease, process)
  local claimed = redis.call('GET', 'sd:store:claimed:' .. process)
  if claimed and claimed ~= taken then
    return task(claimed)
  end
  redis.call('DEL', 'sd:store:claimed:' .. process)
  local client = redis.call('ZRANGE', 'sd:store:turns', 0, 0)[1]
  if not client or redis.call('SCARD', 'sd:store:ahead') >= tonumber(max_dispatched) then
    return false
  end
  local id = redis.call('ZPOPMIN', 'sd:store:waiting:' .. client)[1]
  redis.call('ZADD', 'sd:store:turns', next_number('turn'), client)
  redis.call('HSET', 'sd:store:numbers', 'served', client)
  drop_client_if_empty(client)
  assign(id, process)
  redis.call('SADD', 'sd:store:ahead', id)
  redis.call('SET', 'sd:store:claimed:' .. process, id)
  return task(id)
end

-- Renew a process's lease, and assign it the tasks of processes whose leases have expired. Started tasks are returned
-- again and again, until their ids are among the acknowledged ones, which are the further arguments. Other tasks are
-- queued again.
function commands.renew(process, lease, ...)
  local time = now()
  local left = 'sd:store:left:' .. process
  for _, id in ipairs({...}) do
    redis.call('SREM', left, id)
  end
  redis.call('ZADD', 'sd:store:carriers', time + lease, process)
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', 'sd:store:carriers', '-inf', time)) do
    for _, id in ipairs(redis.call('SMEMBERS', 'sd:store:carried:' .. dead)) do
      unassign(id)
      local found = redis.call('HMGET', 'sd:store:task:' .. id, 'state', 'owner', 'number', 'client')
      if found[1] == 'started' then
        assign(id, process)
        redis.call('SADD', left, id)
      elseif found[1] == 'pending' then
        redis.call('SREM', 'sd:store:ahead', id)
        enqueue(id, found[4] or found[2], found[3])
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

-- End a process's lease now.
function commands.leave(process)
  redis.call('ZADD', 'sd:store:carriers', 'XX', 0, process)
end

-- Images ------------------------------------------------------------------------------------------------------------

-- Images of earlier versions are not yet in the sums of public tokens and of all.
local function sum_up()
  if redis.call('EXISTS', 'sd:store:bytes:all') == 1 then return end
  for _, id in ipairs(redis.call('ZRANGE', 'sd:store:blobs', 0, -1)) do
    local found = redis.call('HMGET', 'sd:store:blob:' .. id, 'owner', 'size', 'client')
    for place, key in ipairs(counters('sd:store:bytes:', found[3] or found[1])) do
      if place > 1 then redis.call('INCRBY', key, found[2]) end
    end
  end
end

local function insert_blob(id, client, size, expires, blob)
  sum_up()
  redis.call('HSET', 'sd:store:blob:' .. id, 'client', client, 'size', size, 'blob', blob)
  redis.call('ZADD', 'sd:store:blobs', expires, id)
  redis.call('ZADD', 'sd:store:blobs:' .. client, expires, id)
  for _, key in ipairs(counters('sd:store:bytes:', client)) do redis.call('INCRBY', key, size) end
  redis.call('ZREM', 'sd:store:unlisted', id)
end

-- Record a content that is about to be written, so that the sweeper deletes it if it is never listed.
function commands.expect_blob(id)
  redis.call('ZADD', 'sd:store:unlisted', now(), id)
end

function commands.drop_blob(id)
  sum_up()
  local found = redis.call('HMGET', 'sd:store:blob:' .. id, 'client', 'size', 'owner')
  -- Images of earlier versions have an owner that is their client.
  local client = found[1] or found[3]
  if client then
    redis.call('ZREM', 'sd:store:blobs', id)
    redis.call('ZREM', 'sd:store:blobs:' .. client, id)
    for _, key in ipairs(counters('sd:store:bytes:', client)) do
      if redis.call('DECRBY', key, found[2]) <= 0 then redis.call('DEL', key) end
    end
  end
  redis.call('DEL', 'sd:store:blob:' .. id)
  redis.call('ZADD', 'sd:store:unlisted', 0, id)
end

-- Delete some of the expired images, of one client or of all; returns their number.
local function drop_expired(blobs)
  local expired = redis.call('ZRANGEBYSCORE', blobs, '-inf', now(), 'LIMIT', 0, 1000)
  for _, id in ipairs(expired) do
    commands.drop_blob(id)
  end
  return #expired
end

-- Delete expired images; returns some of the contents that have not been listed for `grace` seconds.
function commands.orphaned_contents(grace)
  drop_expired('sd:store:blobs')
  return redis.call('ZRANGEBYSCORE', 'sd:store:unlisted', '-inf', now() - grace, 'LIMIT', 0, 1000)
end

-- Forget contents that have been deleted.
function commands.delete_orphaned(...)
  redis.call('ZREM', 'sd:store:unlisted', ...)
end

-- The bytes that the images of a client, of all public tokens, and of all clients take.
function commands.bytes_used(client)
  sum_up()
  while drop_expired('sd:store:blobs:' .. client) > 0 do end
  drop_expired('sd:store:blobs')
  local used = redis.call('MGET', 'sd:store:bytes:' .. client, 'sd:store:bytes:public', 'sd:store:bytes:all')
  return {tonumber(used[1] or 0), tonumber(used[2] or 0), tonumber(used[3] or 0)}
end

-- List an image, unless a limit would then be reached: of its client, of all public tokens, or of all. In that case, what
-- they use is returned.
function commands.add_blob(own, public, total, id, client, size, expires, blob)
  if redis.call('EXISTS', 'sd:store:blob:' .. id) == 1 then
    return false
  end
  local used = commands.bytes_used(client)
  if is_full(client, used, size, own, public, total) then
    return used
  end
  insert_blob(id, client, size, expires, blob)
  return false
end

-- Tasks -------------------------------------------------------------------------------------------------------------

-- The pending tasks of a client, of all public tokens, and of all clients.
function commands.tasks_pending(client)
  local function count(who) return redis.call('SCARD', 'sd:store:pending:' .. who) end
  return {count(client), count('public'), count('all')}
end

-- Store a task, unless a limit of pending tasks is reached: of its client, of all public tokens, or of all. Returns the id of
-- its first event; in that case, how many tasks they have.
function commands.add_task(own, public, total, id, owner, client, parameters, created, content)
  local key = 'sd:store:task:' .. id
  if redis.call('EXISTS', key) == 1 then
    return string.match(redis.call('HGET', key, 'event_ids'), '%d+')
  end
  local used = commands.tasks_pending(client)
  if is_full(client, used, 0, own, public, total) then
    return used
  end
  local number = next_number('task')
  redis.call('HSET', key, 'owner', owner, 'client', client, 'parameters', parameters, 'state', 'pending', 'created', created,
    'number', number, 'starts', 0)
  redis.call('ZADD', 'sd:store:tasks:' .. owner, number, id)
  for _, counter in ipairs(counters('sd:store:pending:', client)) do redis.call('SADD', counter, id) end
  enqueue(id, client, number)
  return store_event(id, owner, content)
end

-- Store a new state of a task, its event and its images; nothing happens if the task has ended. `change` identifies the
-- change, so that one that is sent again is recognised. Each image is five arguments, those of insert_blob.
function commands.record(id, change, state, content, ...)
  local key = 'sd:store:task:' .. id
  local found = redis.call('HMGET', key, 'state', 'owner', 'number', 'change', 'event_id', 'client')
  local before, owner, number = found[1], found[2], found[3]
  -- Tasks of earlier versions have no client but their owner.
  local client = found[6] or owner
  if found[4] == change then
    return found[5]
  elseif before ~= 'pending' and before ~= 'started' then
    return false
  elseif before == 'started' and state == 'started' then
    -- The caller was slow and has lost the task; the process that took it over has stored this start.
    return found[5]
  end
  redis.call('HSET', key, 'state', state, 'change', change)
  redis.call('SREM', 'sd:store:ahead', id)
  if state == 'pending' then
    for _, counter in ipairs(counters('sd:store:pending:', client)) do redis.call('SADD', counter, id) end
    unassign(id)
    enqueue(id, client, number)
  else
    for _, counter in ipairs(counters('sd:store:pending:', client)) do redis.call('SREM', counter, id) end
    redis.call('ZREM', 'sd:store:waiting:' .. client, id)
    drop_client_if_empty(client)
    if state == 'started' then
      redis.call('HINCRBY', key, 'starts', 1)
    else
      unassign(id)
      redis.call('ZADD', 'sd:store:ended', now(), id)
    end
  end
  local images = {...}
  for first = 1, #images, 5 do
    insert_blob(unpack(images, first, first + 4))
  end
  return store_event(id, owner, content)
end

-- Some of an owner's tasks with their last events, the newest first.
function commands.list_tasks(owner, first, last)
  local found = {}
  for _, id in ipairs(redis.call('ZREVRANGE', 'sd:store:tasks:' .. owner, first, last)) do
    table.insert(found, {task(id), redis.call('HMGET', 'sd:store:task:' .. id, 'event_id', 'event')})
  end
  return found
end

-- Delete some of the tasks that ended before a time; returns their number.
function commands.delete_tasks(before)
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

-- Users -------------------------------------------------------------------------------------------------------------

-- Store a user, unless another one has a name that is the same when folded. Returns whether the user is stored.
function commands.add_user(name, folded, user)
  local alike, key = 'sd:store:names:' .. folded, 'sd:store:user:' .. name
  if redis.call('EXISTS', alike) == 1 then
    return redis.call('GET', key) == user and 1 or 0
  end
  redis.call('SET', key, user)
  redis.call('SADD', alike, name)
  return 1
end

return commands[ARGV[1]](unpack(ARGV, 2))
