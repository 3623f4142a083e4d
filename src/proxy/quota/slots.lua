-- Takes from quotas, or from none of them if one has nothing left. A use is counted by the slot, a 60th of the window, that
-- it was taken in, until that slot has left the window whole: no window ever has more than the limit.
--
-- KEYS: a hash for each quota, with a field for each caller: the slot in which it last asked, the most it can use, what it
-- used in all, the oldest slot of that, and "slot:count" for each slot. The slots are read only when one may have to go.
-- ARGV, 7 for each: the limit; the length of a slot in microseconds; whose field; 1 if the quota is the caller's own; the
-- most that the caller can use; how many are wanted; how many were used without asking.
-- Returns for each: how many were taken; what is used, by all and by the caller; how many ask; how many it can take still;
-- and, in microseconds: to the end of the slot, until the oldest use is not counted any more, until there is one again.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local SLOTS = 60

local function read(text)
  local asked, most, sum, oldest, rest = string.match(text, '^(%d+) (%d+) (%d+) (%d+) ?(.*)$')
  if not asked then return { asked = 0, most = 0, sum = 0, oldest = 0, slots = {} } end
  return { asked = tonumber(asked), most = tonumber(most), sum = tonumber(sum), oldest = tonumber(oldest), rest = rest }
end

local function slots(caller)
  if not caller.slots then
    caller.slots = {}
    for slot, count in string.gmatch(caller.rest, '(%d+):(%d+)') do
      caller.slots[#caller.slots + 1] = { tonumber(slot), tonumber(count) }
    end
  end
  return caller.slots
end

local function used(caller, first)
  if caller.oldest >= first then return caller.sum end
  local sum = 0
  for _, slot in ipairs(slots(caller)) do
    if slot[1] >= first then sum = sum + slot[2] end
  end
  return sum
end

local function add(caller, slot, count)
  local all = slots(caller)
  local last = all[#all]
  if last and last[1] == slot then last[2] = last[2] + count else all[#all + 1] = { slot, count } end
  if caller.sum == 0 then caller.oldest = slot end
  caller.sum = caller.sum + count
  caller.changed = true
end

-- Forgets what the window has left.
local function forget(caller, first)
  if caller.sum == 0 or caller.oldest >= first then return end
  local kept = {}
  caller.sum, caller.oldest, caller.changed = 0, 0, true
  for _, slot in ipairs(slots(caller)) do
    if slot[1] >= first then
      kept[#kept + 1] = slot
      caller.sum = caller.sum + slot[2]
      if #kept == 1 then caller.oldest = slot[1] end
    end
  end
  caller.slots = kept
end

local function write(key, name, caller)
  local words = { string.format('%.0f %.0f %.0f %.0f', caller.asked, caller.most, caller.sum, caller.oldest) }
  for _, slot in ipairs(slots(caller)) do words[#words + 1] = string.format('%.0f:%.0f', slot[1], slot[2]) end
  redis.call('HSET', key, name, table.concat(words, ' '))
end

-- How a quota stands for its caller when `first` is the oldest slot that counts.
local function standing(quota, first)
  local active = 1
  for name, caller in pairs(quota.callers) do
    if name ~= quota.own and caller.asked >= first then active = active + 1 end
  end
  local share = math.max(math.floor(quota.limit / active), 1)
  local own, kept = 0, 0
  if quota.callers[quota.own] then own = used(quota.callers[quota.own], first) end
  local all = own
  for name, caller in pairs(quota.callers) do
    if name ~= quota.own then
      local theirs = used(caller, first)
      all = all + theirs
      if caller.asked >= first then kept = kept + math.max(math.min(share, caller.most) - theirs, 0) end
    end
  end
  local room = math.max(quota.limit - all, 0)
  local remaining = math.max(math.min(math.max(share - own, 0), room), room - kept, 0)
  return { used = all, own = own, active = active, remaining = remaining }
end

-- No more is taken of one quota than there is of the others: what a request lacks of one it does not need of another.
local quotas, closed, stopped, least = {}, false, false, math.huge
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 7
  local quota = {
    limit = tonumber(ARGV[at + 1]), length = tonumber(ARGV[at + 2]), own = ARGV[at + 3], is_own = ARGV[at + 4] == '1',
    most = tonumber(ARGV[at + 5]), wanted = tonumber(ARGV[at + 6]), untold = tonumber(ARGV[at + 7]), callers = {},
  }
  quota.slot = math.floor(now / quota.length)
  quota.first = quota.slot - SLOTS
  local kept = redis.call('HGETALL', key)
  for j = 1, #kept, 2 do
    local caller = read(kept[j + 1])
    forget(caller, quota.first)
    quota.callers[kept[j]] = caller
  end
  local caller = quota.callers[quota.own] or { asked = 0, most = 0, sum = 0, oldest = 0, slots = {} }
  quota.callers[quota.own] = caller
  caller.most = quota.most
  if quota.untold > 0 then add(caller, quota.slot, quota.untold) end
  quota.standing = standing(quota, quota.first)
  least = math.min(least, quota.standing.remaining)
  if quota.standing.remaining == 0 then
    closed = true
    if quota.is_own then stopped = true end
  end
  quotas[i] = quota
end

local answer = {}
for i, quota in ipairs(quotas) do
  local caller, told, taken = quota.callers[quota.own], quota.standing, 0
  -- Whom its own quota stops does not ask for its share of the listener's.
  if quota.is_own or not stopped then caller.asked = quota.slot end
  if not closed then
    taken = math.min(quota.wanted, least)
    add(caller, quota.slot, taken)
    told.used, told.own, told.remaining = told.used + taken, told.own + taken, told.remaining - taken
  end
  write(KEYS[i], quota.own, caller)
  local oldest
  for name, other in pairs(quota.callers) do
    if other.sum > 0 and (not oldest or other.oldest < oldest) then oldest = other.oldest end
    if name ~= quota.own then
      if other.sum == 0 and other.asked < quota.first then redis.call('HDEL', KEYS[i], name)
      elseif other.changed then write(KEYS[i], name, other) end
    end
  end
  redis.call('PEXPIRE', KEYS[i], string.format('%.0f', math.ceil(quota.length * (SLOTS + 2) / 1000)))
  local opens = 0
  if told.remaining == 0 then
    local not_yet, surely = 0, SLOTS + 1
    while surely - not_yet > 1 do
      local middle = math.floor((not_yet + surely) / 2)
      if standing(quota, quota.first + middle).remaining > 0 then surely = middle else not_yet = middle end
    end
    opens = (quota.slot + surely) * quota.length - now
  end
  local more = oldest and (oldest + SLOTS + 1) * quota.length - now or 0
  local left = (quota.slot + 1) * quota.length - now
  answer[i] = { taken, told.used, told.own, told.active, told.remaining, left, more, opens }
end
return answer
