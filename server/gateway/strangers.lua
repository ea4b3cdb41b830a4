-- Addresses whose large bodies were sent in vain, with credentials that are not valid. What the transcoder makes of a large
-- body takes the gateway's one thread up to 100 ns a byte, which a further one from there is not worth for a while. One
-- refusal does not count: a token expires, and its owner sends the body again with a new one.

local SECONDS, REFUSALS, MOST = 60, 3, 1000
local ends, refusals, count = {}, {}, 0

-- How many seconds are left; nil for an address that may send.
local function wait(address)
  local left = ends[address] and ends[address] - os.time()
  return left and left > 0 and refusals[address] >= REFUSALS and left or nil
end

local function note(address)
  if not ends[address] then
    if count == MOST then ends, refusals, count = {}, {}, 0 end
    count = count + 1
  end
  local is_over = not ends[address] or ends[address] <= os.time()
  refusals[address] = is_over and 1 or refusals[address] + 1
  ends[address] = os.time() + SECONDS
end

return {note = note, wait = wait}
