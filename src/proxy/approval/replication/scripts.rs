//! What the store does at once: scripts, which nothing comes between.

use std::sync::LazyLock;

use redis::Script;

/// Writes an entry. KEYS: entry, changes, counter, times, open, open of the caller.
/// ARGV: id, way, version, ballot, request, body, end of its time, `1` if it has ended, the most open ones and those of a
/// caller, and the ballot that is to be replaced, or `1` if the body must be there.
pub(super) static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local entry, id, way, version = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local ends, ended = tonumber(ARGV[7]), ARGV[8] == '1'
local found = redis.call('HMGET', entry, 'v', 'm')
local stored = tonumber(found[1] or '0') or 0
local function conflict() return { 'conflict', found[1] or '0', found[2] or '' } end
if way == 'ask' then
    if stored > 0 then return conflict() end
    for place, most in ipairs({ ARGV[9], ARGV[10] }) do
        local open = KEYS[4 + place]
        redis.call('ZREMRANGEBYSCORE', open, '-inf', now)
        if redis.call('ZCARD', open) >= tonumber(most) then return { 'full', '', '' } end
    end
elseif way == 'change' then
    if not found[1] then return { 'missing', '', '' } end
    if stored ~= version - 1 then return conflict() end
    if ARGV[11] == '1' and redis.call('HEXISTS', entry, 'b') == 0 then return { 'bodiless', '', '' } end
elseif way == 'publish' then
    if stored == version and not ended and ARGV[6] ~= '' and redis.call('HEXISTS', entry, 'b') == 0 then
        redis.call('HSET', entry, 'b', ARGV[6])
    end
    if stored >= version then return conflict() end
elseif way == 'replace' then
    if (found[2] or '') ~= ARGV[11] then return conflict() end
    redis.call('DEL', entry)
end
redis.call('HSET', entry, 'v', ARGV[3], 'm', ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', entry, 'r', ARGV[5]) end
if ARGV[6] ~= '' and not ended then redis.call('HSET', entry, 'b', ARGV[6]) end
if ended then redis.call('HDEL', entry, 'b') end
redis.call('PEXPIREAT', entry, string.format('%d', ends))
local number = math.max(now, (tonumber(redis.call('GET', KEYS[3]) or '0') or 0) + 1)
redis.call('SET', KEYS[3], string.format('%d', number))
redis.call('ZADD', KEYS[2], string.format('%d', number), id)
redis.call('ZADD', KEYS[4], string.format('%d', ends), id)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', KEYS[2], gone)
    redis.call('ZREM', KEYS[4], gone)
end
for place = 5, 6 do
    if ended then
        redis.call('ZREM', KEYS[place], id)
    else
        redis.call('ZADD', KEYS[place], string.format('%d', ends - 3600000), id)
    end
end
for place = 2, 6 do
    if redis.call('PTTL', KEYS[place]) < ends - now then
        redis.call('PEXPIREAT', KEYS[place], string.format('%d', ends))
    end
end
return { 'done', '', '' }
",
    )
});

/// Reads an entry. KEYS: entry. ARGV: the version that is known, or nothing; the largest body that is wanted.
pub(super) static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local found = redis.call('HMGET', KEYS[1], 'v', 'm')
if not found[1] then return { '', '', '', '' } end
local request, body = '', ''
if ARGV[1] == '' then request = redis.call('HGET', KEYS[1], 'r') or '' end
if redis.call('HSTRLEN', KEYS[1], 'b') <= tonumber(ARGV[2]) then body = redis.call('HGET', KEYS[1], 'b') or '' end
return { found[1], found[2] or '', request, body }
",
    )
});

/// What has changed since. KEYS: changes. ARGV: the last change that is known, how many are wanted.
pub(super) static CHANGES: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[2]))
for place = 2, #found, 2 do found[place] = string.format('%d', tonumber(found[place])) end
return found
",
    )
});
