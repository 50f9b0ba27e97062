"""What the steps of a ledger in Redis share, in Lua.

Keys, all below a prefix: `job:ID` is what `sqlite_rows.SCHEMA` has in a row, and so many images are
`known`, of which those from `next` on were never claimed. `again:ID` are others that wait, by the
time from which they may be claimed: 0 for one that nobody blames. `items:ID`, `outcomes:ID` and
`attempts:ID` are by an image's number, `failing:ID` are numbers. `claim:TOKEN` has the images of a
claim that have not ended, `held:ID` the tokens of a job's claims, and `claims` those of all by the
time they run out. `jobs`, `open`, `unlisted`, `unreported`, `deadlines` and `kept` are ids.

A script may be sent again when its answer was lost: then `again` is true, and the `nonce` is the
same. Every number that is put into a key or a value is a text, for Lua rounds them.
"""

from __future__ import annotations

from promptseg.jobs.job import State
from promptseg.jobs.ledger import DIED, FIRST_PAUSE, LONGEST_PAUSE, OUT_OF_TIME, Outcome
from promptseg.jobs.texts import outcome_text

_TEXTS = f"""
local DIED = [==[{outcome_text(Outcome(State.FAILED, problems=(DIED,)))}]==]
local OUT_OF_TIME = [==[{outcome_text(Outcome(State.FAILED, problems=(OUT_OF_TIME,)))}]==]
local FIRST_PAUSE, LONGEST_PAUSE = {FIRST_PAUSE}, {LONGEST_PAUSE}
"""

SHARED = (
    _TEXTS
    + """
local call = redis.call
local now, nonce, again = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1'
if not now then
  local time = call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function key(name, id)
  return id and KEYS[1] .. ':' .. name .. ':' .. id or KEYS[1] .. ':' .. name
end

local function text(seconds) return string.format('%.6f', seconds) end

local function padded(number) return string.format('%010d', number) end

local function get(id, field) return call('HGET', key('job', id), field) end

local function number(id, field) return tonumber(get(id, field)) end

local function set(id, ...) call('HSET', key('job', id), ...) end

local function count(id, field, by) call('HINCRBY', key('job', id), field, by) end

local function exists(id) return call('EXISTS', key('job', id)) == 1 end

-- By the clock too, so that none comes again where the server has lost its last second.
local function next_token()
  local latest = tonumber(call('GET', key('token')) or '0')
  local token = string.format('%.0f', math.max(latest + 1, math.floor(now * 1e6)))
  call('SET', key('token'), token)
  return token
end

local function keep_open(id)
  if number(id, 'queued') > 0 and not get(id, 'ended') then
    call('ZADD', key('open'), get(id, 'rank'), id)
  else
    call('ZREM', key('open'), id)
  end
end

local function finish_job(id)
  if get(id, 'ended') then return end
  set(id, 'ended', text(now), 'holder', '0', 'held_until', '0', 'is_reported', '0')
  local keep = get(id, 'keep_seconds')
  if keep then call('ZADD', key('kept'), text(now + tonumber(keep)), id) end
  call('ZREM', key('open'), id)
  call('ZREM', key('unlisted'), id)
  call('ZREM', key('deadlines'), id)
  call('ZADD', key('unreported'), get(id, 'place'), id)
end

local function finish_if_over(id)
  local is_over = number(id, 'queued') == 0 and number(id, 'running') == 0
  if is_over and get(id, 'is_listed') == '1' then finish_job(id) end
end

-- The images of a claim that have not ended: pairs of a number, and when it was due.
local function images_of(token)
  local flat, found = call('HGETALL', key('claim', token)), {}
  for i = 1, #flat, 2 do
    if tonumber(flat[i]) then found[#found + 1] = {flat[i], flat[i + 1]} end
  end
  return found
end

local function drop_claim(id, token)
  call('DEL', key('claim', token))
  call('ZREM', key('claims'), token)
  call('SREM', key('held', id), token)
end

local function give_back(token, why)
  local id = call('HGET', key('claim', token), 'job')
  if not id then return end
  local is_alone = call('HGET', key('claim', token), 'is_alone') == '1'
  local limit = number(id, 'attempts')
  for _, image in ipairs(images_of(token)) do
    local name, due = image[1], image[2]
    local had = tonumber(call('HGET', key('attempts', id), name) or '0')
    if why and is_alone then had = had + 1 end
    count(id, 'running', -1)
    if why and had >= limit then
      call('HSET', key('outcomes', id), name, token .. ' ' .. why)
      call('SADD', key('failing', id), name)
      call('HDEL', key('attempts', id), name)
      count(id, 'failed', 1)
    else
      if why then
        local pause = had > 0 and math.min(FIRST_PAUSE * 2 ^ (had - 1), LONGEST_PAUSE) or 0
        due = text(now + pause)
        if had > 0 then call('HSET', key('attempts', id), name, had) end
      end
      call('ZADD', key('again', id), due, padded(name))
      count(id, 'queued', 1)
    end
  end
  drop_claim(id, token)
  keep_open(id)
  finish_if_over(id)
end

local function finish_rest(id, state, outcome)
  for _, token in ipairs(call('SMEMBERS', key('held', id))) do
    for _, image in ipairs(images_of(token)) do
      call('ZADD', key('again', id), 0, padded(image[1]))
    end
    drop_claim(id, token)
  end
  for _, name in ipairs(call('ZRANGEBYSCORE', key('again', id), '(0', '+inf')) do
    call('ZADD', key('again', id), 0, name)
  end
  call('DEL', key('attempts', id))
  count(id, state, number(id, 'queued') + number(id, 'running'))
  set(id, 'queued', 0, 'running', 0, 'rest', outcome)
  finish_job(id)
end

local function settle()
  for _, token in ipairs(call('ZRANGEBYSCORE', key('claims'), '-inf', text(now))) do
    give_back(token, DIED)
  end
  for _, id in ipairs(call('ZRANGEBYSCORE', key('deadlines'), '-inf', text(now))) do
    finish_rest(id, 'failed', OUT_OF_TIME)
  end
end

local function status(id) return call('HGETALL', key('job', id)) end

-- Whether a listing, or a report, still holds.
local function holds(id, token, kind)
  if get(id, 'holder') ~= token then return false end
  if kind == 'listing' then return get(id, 'is_listed') == '0' and not get(id, 'ended') end
  return get(id, 'is_reported') == '0' and get(id, 'ended')
end

-- The first job of a list that nobody holds, or that was taken by this very step.
local function take_on(list, seconds)
  settle()
  for _, id in ipairs(call('ZRANGE', key(list), 0, -1)) do
    local mine = again and get(id, 'nonce') == nonce
    if mine or number(id, 'held_until') <= now then
      if not mine then
        local until_ = text(now + seconds)
        set(id, 'holder', next_token(), 'held_until', until_, 'nonce', nonce)
      end
      return call('HMGET', key('job', id), 'id', 'asked', 'holder', 'held_until', 'known')
    end
  end
end

-- When the next image of a job may be claimed.
local function due_of(id)
  if number(id, 'next') < number(id, 'known') then return 0 end
  local first = call('ZRANGE', key('again', id), 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2])
end

local function is_of(id, model, job)
  local named = get(id, 'model')
  return (job == '' or id == job) and (not named or named == model)
end
"""
)
