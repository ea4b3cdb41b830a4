-- Callers whose large bodies were sent in vain, with credentials that are not valid. What the transcoder makes of a large
-- body takes the gateway's one thread up to 100 ns a byte, which a further one of theirs is not worth for a while. One
-- refusal does not count: a token expires, and its owner sends the body again with a new one.
--
-- A credential waits after so many refusals, and everybody behind an address after so many credentials: one open tab with
-- a token that is no longer good keeps nobody else waiting. The last characters of a credential stand for it.

local SECONDS, REFUSALS, MOST, TAIL = 60, 3, 1000, 40
local ends, refusals, count = {}, {}, 0

local function groups_of(text)
  local groups = {}
  for group in text:gmatch("[^:]+") do groups[#groups + 1] = group end
  return groups
end

-- The /64 of an IPv6 address, within which the next address costs nothing; an IPv4 address however it is written.
local function caller(address)
  if not address:find(":", 1, true) then return address end
  local mapped = address:match("^::[fF][fF][fF][fF]:(%d+%.%d+%.%d+%.%d+)$")
  if mapped then return mapped end
  local before, after = address:match("^(.-)::(.*)$")
  local groups, rest = groups_of(before or address), groups_of(after or "")
  for _ = 1, 8 - #groups - #rest do groups[#groups + 1] = "0" end
  for _, group in ipairs(rest) do groups[#groups + 1] = group end
  return table.concat(groups, ":", 1, math.min(4, #groups)):lower()
end

-- Names a credential at an address: the network, a space, and the credential.
local function name_of(address, credential)
  return caller(address) .. " " .. credential:sub(-TAIL)
end

local function left(name)
  local seconds = ends[name] and ends[name] - os.time()
  return seconds and seconds > 0 and refusals[name] >= REFUSALS and seconds or nil
end

-- How many seconds are left; nil for a caller who may send.
local function wait(name)
  return left(name:match("^%S+")) or left(name)
end

-- Counts one more; whether it is the first.
local function add(name)
  if not ends[name] then
    if count >= MOST then ends, refusals, count = {}, {}, 0 end
    count = count + 1
  end
  local is_over = not ends[name] or ends[name] <= os.time()
  refusals[name] = is_over and 1 or refusals[name] + 1
  ends[name] = os.time() + SECONDS
  return is_over
end

local function note(name)
  if add(name) then add(name:match("^%S+")) end
end

return {name_of = name_of, note = note, wait = wait}
