"""What a ledger in Redis does, each step a script of Lua, which happens wholly or not at all.

Its keys, and what `again` and `nonce` are, is in `redis_shared.py`.
"""

from __future__ import annotations

from promptseg.jobs.redis_shared import SHARED

_SUBMIT = """
local id, owner, name, asked = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if exists(id) then return {id, asked} end
if name ~= '' then
  local before = call('HGET', key('keys'), name)
  if before then return {before, get(before, 'asked')} end
  call('HSET', key('keys'), name, id)
end
local place = call('INCR', key('places'))
local rank = place - tonumber(ARGV[8]) * 2 ^ 40
set(id, 'id', id, 'owner', owner, 'name', name, 'asked', asked, 'place', place, 'rank', rank,
  'attempts', ARGV[9], 'submitted', text(now), 'problems', '[]', 'is_listed', 0,
  'is_cancelled', 0, 'is_reported', 0, 'holder', 0, 'held_until', 0, 'next', 0, 'known', 0,
  'queued', 0, 'running', 0, 'done', 0, 'failed', 0, 'cancelled', 0)
if ARGV[10] ~= '' then set(id, 'model', ARGV[10]) end
if ARGV[11] ~= '' then set(id, 'seconds', ARGV[11]) end
if ARGV[12] ~= '' then set(id, 'keep_seconds', ARGV[12]) end
call('ZADD', key('jobs'), place, id)
call('ZADD', key('unlisted'), rank, id)
return {id, asked}
"""

_CLAIM_LISTING = "return take_on('unlisted', tonumber(ARGV[4]))"

_CLAIM_REPORTING = "return take_on('unreported', tonumber(ARGV[4]))"

_ADD = """
local id, token = ARGV[4], ARGV[5]
if again and get(id, 'nonce') == nonce then return 1 end
if not holds(id, token, 'listing') then return 0 end
local known = number(id, 'known')
for i = 7, #ARGV do
  call('HSET', key('items', id), known, ARGV[i])
  known = known + 1
end
count(id, 'queued', #ARGV - 6)
set(id, 'known', known, 'held_until', text(now + tonumber(ARGV[6])), 'nonce', nonce)
keep_open(id)
return 1
"""

_LISTED = """
local id = ARGV[4]
if again and get(id, 'nonce') == nonce then return 1 end
if not holds(id, ARGV[5], 'listing') then return 0 end
set(id, 'is_listed', 1, 'problems', ARGV[6], 'nonce', nonce)
call('ZREM', key('unlisted'), id)
finish_if_over(id)
return 1
"""

_REPORTED = """
local id = ARGV[4]
if again and get(id, 'nonce') == nonce then return 1 end
if not holds(id, ARGV[5], 'report') then return 0 end
set(id, 'is_reported', 1, 'nonce', nonce)
call('ZREM', key('unreported'), id)
return 1
"""

_CLAIM = """
local most, seconds, model, job = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]

local function answer(id, token)
  local found = {id, get(id, 'asked'), token, call('ZSCORE', key('claims'), token)}
  for _, image in ipairs(images_of(token)) do
    found[#found + 1] = image[1]
    found[#found + 1] = call('HGET', key('items', id), image[1])
    found[#found + 1] = call('HGET', key('attempts', id), image[1]) or '0'
  end
  return found
end

if again then
  for _, token in ipairs(call('ZRANGE', key('claims'), 0, -1)) do
    if call('HGET', key('claim', token), 'nonce') == nonce then
      return answer(call('HGET', key('claim', token), 'job'), token)
    end
  end
end
settle()

local function choose()
  for _, id in ipairs(call('ZRANGE', key('open'), 0, -1)) do
    local due = is_of(id, model, job) and due_of(id)
    if due and due <= now then return id end
  end
end

local id = choose()
if not id then return false end
local taken = call('ZRANGEBYSCORE', key('again', id), 0, 0, 'LIMIT', 0, most)
local due = '0'
local next, known = number(id, 'next'), number(id, 'known')
while #taken < most and next < known do
  taken[#taken + 1] = next
  next = next + 1
end
set(id, 'next', next)
if #taken == 0 then
  local first = call('ZRANGE', key('again', id), 0, 0, 'WITHSCORES')
  taken, due = {first[1]}, first[2]
end
local token = next_token()
call('HSET', key('claim', token), 'job', id, 'nonce', nonce, 'is_alone', #taken == 1 and 1 or 0)
for _, name in ipairs(taken) do
  call('ZREM', key('again', id), name)
  call('HSET', key('claim', token), tonumber(name), due)
end
call('ZADD', key('claims'), text(now + seconds), token)
call('SADD', key('held', id), token)
count(id, 'queued', -#taken)
count(id, 'running', #taken)
keep_open(id)
call('HSETNX', key('job', id), 'started', text(now))
local limit = get(id, 'seconds')
if limit and not get(id, 'deadline') then
  set(id, 'deadline', text(now + tonumber(limit)))
  call('ZADD', key('deadlines'), get(id, 'deadline'), id)
end
return answer(id, token)
"""

_EXTEND = """
local id, token, until_ = ARGV[4], ARGV[5], text(now + tonumber(ARGV[6]))
if ARGV[7] == 'claim' then
  call('ZADD', key('claims'), 'XX', until_, token)
  return call('EXISTS', key('claim', token))
end
if not holds(id, token, ARGV[7]) then return 0 end
set(id, 'held_until', until_)
return 1
"""

_FINISH = """
local id, token, name, state, outcome = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
if call('HDEL', key('claim', token), name) == 0 then
  local said = again and call('HGET', key('outcomes', id), name)
  return said == token .. ' ' .. outcome and 1 or 0
end
call('HSET', key('outcomes', id), name, token .. ' ' .. outcome)
call('HDEL', key('attempts', id), name)
if state ~= 'done' then call('SADD', key('failing', id), name) end
count(id, 'running', -1)
count(id, state, 1)
-- What is left of its fields are those that are no image.
if call('HLEN', key('claim', token)) == 3 then drop_claim(id, token) end
finish_if_over(id)
return 1
"""

_RELEASE = """
local id, token, kind = ARGV[4], ARGV[5], ARGV[6]
if kind == 'claim' then
  give_back(token, ARGV[7] ~= '' and ARGV[7])
elseif holds(id, token, kind) then
  set(id, 'holder', 0, 'held_until', 0)
end
"""

_STATUS = """
local id = ARGV[4]
if not exists(id) or ARGV[5] == '1' and get(id, 'owner') ~= ARGV[6] then return {} end
settle()
return status(id)
"""

_JOBS = """
settle()
local found = {}
for _, id in ipairs(call('ZREVRANGE', key('jobs'), 0, -1)) do
  if ARGV[4] == '0' or get(id, 'owner') == ARGV[5] then found[#found + 1] = status(id) end
end
return found
"""

_ENTRIES = """
local id, start, most = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
if not exists(id) then return false end
local rest = get(id, 'rest')
local last = math.min(start + most, number(id, 'known')) - 1
local found = {}
for name = start, last do
  local outcome = call('HGET', key('outcomes', id), name) or rest and '0 ' .. rest
  if outcome then
    found[#found + 1] = name
    found[#found + 1] = call('HGET', key('items', id), name)
    found[#found + 1] = outcome
  end
end
return {last - start + 1, found}
"""

_CANCEL = """
local id = ARGV[4]
if exists(id) and not get(id, 'ended') then
  set(id, 'is_cancelled', 1)
  finish_rest(id, 'cancelled', ARGV[5])
end
return status(id)
"""

_RETRY = """
local id = ARGV[4]
if not exists(id) then return {} end
local lost = number(id, 'failed') + number(id, 'cancelled')
local is_listed = get(id, 'is_listed') == '1'
if get(id, 'ended') and (lost > 0 or not is_listed) then
  call('HDEL', key('job', id), 'ended', 'rest', 'deadline')
  set(id, 'is_cancelled', 0, 'holder', 0, 'held_until', 0)
  call('ZREM', key('kept'), id)
  call('ZREM', key('unreported'), id)
  if not is_listed then call('ZADD', key('unlisted'), get(id, 'rank'), id) end
end
for _, name in ipairs(call('SMEMBERS', key('failing', id))) do
  call('ZADD', key('again', id), 0, padded(name))
  call('HDEL', key('outcomes', id), name)
end
call('DEL', key('failing', id))
count(id, 'queued', lost)
set(id, 'failed', 0, 'cancelled', 0)
keep_open(id)
return status(id)
"""

_FORGET = """
local id = ARGV[4]
if not exists(id) then return again and 'gone' or 'unknown' end
if not get(id, 'ended') then return 'not ended' end
if get(id, 'name') ~= '' then call('HDEL', key('keys'), get(id, 'name')) end
for _, list in ipairs({'jobs', 'kept', 'unreported'}) do call('ZREM', key(list), id) end
for _, part in ipairs({'job', 'items', 'outcomes', 'attempts', 'again', 'failing', 'held'}) do
  call('UNLINK', key(part, id))
end
return 'gone'
"""

_OVERDUE = "return call('ZRANGEBYSCORE', key('kept'), '-inf', text(now))"

_NEXT_DUE = """
local model, job = ARGV[4], ARGV[5]
local least = math.huge
local function see(due) if due and due < least then least = due end end
for _, id in ipairs(call('ZRANGE', key('open'), 0, -1)) do
  if is_of(id, model, job) then see(due_of(id)) end
  if least == 0 then return text(0) end
end
local flat = call('ZRANGE', key('claims'), 0, -1, 'WITHSCORES')
for i = 1, #flat, 2 do
  if is_of(call('HGET', key('claim', flat[i]), 'job'), model, job) then
    see(tonumber(flat[i + 1]))
    break
  end
end
for _, list in ipairs({'unlisted', 'unreported'}) do
  for _, id in ipairs(call('ZRANGE', key(list), 0, -1)) do
    if job == '' or id == job then see(number(id, 'held_until')) end
    if least == 0 then return text(0) end
  end
end
flat = call('ZRANGE', key('deadlines'), 0, -1, 'WITHSCORES')
for i = 1, #flat, 2 do
  if job == '' or flat[i] == job then see(tonumber(flat[i + 1])) end
end
return least < math.huge and text(math.max(least - now, 0))
"""

SCRIPTS = {
    name: SHARED + body
    for name, body in {
        "submit": _SUBMIT,
        "claim_listing": _CLAIM_LISTING,
        "add": _ADD,
        "listed": _LISTED,
        "claim": _CLAIM,
        "claim_reporting": _CLAIM_REPORTING,
        "reported": _REPORTED,
        "extend": _EXTEND,
        "finish": _FINISH,
        "release": _RELEASE,
        "status": _STATUS,
        "jobs": _JOBS,
        "entries": _ENTRIES,
        "cancel": _CANCEL,
        "retry": _RETRY,
        "forget": _FORGET,
        "overdue": _OVERDUE,
        "next_due": _NEXT_DUE,
    }.items()
}
