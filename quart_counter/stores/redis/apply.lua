-- Applies steps to one counter in one atomic run; must agree with quart_counter.model.apply (a test compares them).
--
-- KEYS  1 the counter (hash: value, version)   2 this worker's last flush   3 prefix of its idempotency records
--       4 the list of names; in a cluster it lies elsewhere, and there are three keys
-- ARGV  1 number of the flush   2 life of the flush record, ms   3 life of a key, ms   4 quota of keys
--       5 largest value   6 the counter's name
--       7 steps, as JSON: [by, count] or [by, 1, value, limit, floor, if_version, restored version, key, fingerprint],
--         false for none
-- Answers "<code> <value> <version> <replayed>" for each step, joined by spaces.
--
-- Every read comes before the first write: a script error does not undo what was written before it. Numbers are
-- doubles here, exact up to 2^53, and are printed with %.0f because tostring() rounds to 14 digits.

local number, max_value = tonumber(ARGV[1]), tonumber(ARGV[5])

-- A flush sent again after a lost reply is answered from its record; one that arrives late has no effect.
local last = redis.call('GET', KEYS[2])
if last then
  local space = string.find(last, ' ', 1, true)
  local last_number = tonumber(string.sub(last, 1, space - 1))
  if last_number == number then return string.sub(last, space + 1) end
  if last_number > number then return redis.error_reply('LATE flush ' .. ARGV[1]) end
end

local state = redis.call('HMGET', KEYS[1], 'value', 'version', 'keys')
local value, version = tonumber(state[1] or 0), tonumber(state[2] or 0)
local first_version = version

-- A key's record lies in the generation it was made in, named by the ms in which that ends, one to two lives later; the
-- counter lists those that live, so another key life in the settings shortens none that was promised before. A whole
-- generation is dropped at once, and counting live keys costs nothing.
local key_life = tonumber(ARGV[3])
local ending, records, live_keys
local live = {}
local fresh, to_keep = {}, {}

local function open_generation()
  local now = redis.call('TIME')
  local now_ms = tonumber(now[1]) * 1000 + tonumber(now[2]) / 1000
  ending = string.format('%.0f', (math.floor(now_ms / key_life) + 2) * key_life)
  records, live_keys = KEYS[3] .. ending, 0
  for other in string.gmatch(state[3] or '', '%d+') do
    if tonumber(other) > now_ms then
      live[#live + 1] = other
      live_keys = live_keys + redis.call('HLEN', KEYS[3] .. other)
    end
  end
end

local function find(key)
  local record = fresh[key]
  for _, other in ipairs(live) do record = record or redis.call('HGET', KEYS[3] .. other, key) end
  return record
end

local function decide(by, new_value, limit, floor, if_version)
  if if_version and if_version ~= version then return 'version' end
  local after = new_value or value + by
  if limit and after > limit then return 'bound' end
  if floor and after < floor then return 'bound' end
  if after > max_value or after < -max_value then return 'cap' end
  return 'applied', after
end

local function answer(code) return code .. string.format(' %.0f %.0f', value, version) end

local function carry_out(step)
  local code, after = decide(step[1], step[3], step[4], step[5], step[6])
  if after then value, version = after, math.max(version + step[2], step[7] or 0) end
  return answer(code)
end

local function carry_out_once(step)
  local key, fingerprint = step[8], step[9]
  if not ending then open_generation() end
  local record = find(key)
  if record then
    local space = string.find(record, ' ', 1, true)
    if string.sub(record, 1, space - 1) ~= fingerprint then return answer('key_reused') .. ' 0' end
    return string.sub(record, space + 1) .. ' 1'
  end
  if live_keys >= tonumber(ARGV[4]) then return answer('quota') .. ' 0' end
  local reply = carry_out(step)
  live_keys = live_keys + 1
  fresh[key] = fingerprint .. ' ' .. reply
  to_keep[#to_keep + 1] = key
  to_keep[#to_keep + 1] = fresh[key]
  return reply .. ' 0'
end

local replies = {}
for i, step in ipairs(cjson.decode(ARGV[7])) do
  replies[i] = step[8] and carry_out_once(step) or carry_out(step) .. ' 0'
  -- a run that would pass the cap is sent again one by one; what follows it must wait for that
  if step[2] > 1 and string.sub(replies[i], 1, 3) == 'cap' then break end
end
local reply = table.concat(replies, ' ')

if KEYS[4] and first_version == 0 and version > 0 then redis.call('ZADD', KEYS[4], 0, ARGV[6]) end
if version ~= first_version then
  redis.call('HSET', KEYS[1], 'value', string.format('%.0f', value), 'version', string.format('%.0f', version))
end
if #to_keep > 0 then
  redis.call('HSET', records, unpack(to_keep))
  redis.call('PEXPIREAT', records, ending)
  local ends = table.concat(live, ' ')
  if not string.find(' ' .. ends .. ' ', ' ' .. ending .. ' ', 1, true) then
    redis.call('HSET', KEYS[1], 'keys', ends == '' and ending or ends .. ' ' .. ending)
  end
end
-- A counter that was never begun holds only keys, and ends with the last of them: made-up names fill up nothing.
if version > 0 then
  if first_version == 0 then redis.call('PERSIST', KEYS[1]) end
elseif #to_keep > 0 then
  local last_end = tonumber(ending)
  for _, other in ipairs(live) do last_end = math.max(last_end, tonumber(other)) end
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last_end))
end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. reply, 'PX', ARGV[2])
return reply
