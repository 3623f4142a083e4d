-- Reserves permits of a rate, unless the first would be too late: a bucket, kept as the time at which it is full again (the
-- "virtual scheduling" of the generic cell rate algorithm). All times are whole microseconds of the store's clock.
--
-- KEYS: a hash with "tat", when the bucket is full again, and "calm", when a cool-down ends. A time that is further ahead
-- than any reservation takes it was written by another clock, and is cut.
-- ARGV: the time between two; how far ahead of "tat" one may go; how many; the longest wait; how far ahead "tat" may be.
-- Returns how many were reserved; the time of the first, counted from now; and that of the end of the cool-down. The next ones
-- go one interval later each, and none in the cool-down. If none was: when the first would go.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local kept = redis.call('HMGET', KEYS[1], 'tat', 'calm')
local interval, tolerance, count = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local calm = math.min(tonumber(kept[2] or '') or 0, now + 60000000)
local from = math.max(now, calm)
local full = math.max(math.min(tonumber(kept[1] or '') or 0, from + tonumber(ARGV[5])), from)
local first = full - tolerance
local wait = math.max(first, from) - now
if wait > tonumber(ARGV[4]) then
  return { 0, wait, from - now }
end
full = full + count * interval
redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', full))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((full - now) / 1000) + 60000))
return { count, first - now, from - now }
