-- Addresses whose large body was just sent in vain, with credentials that are none. What the transcoder makes of a large body
-- takes the gateway's one thread up to 100 ns a byte, which the next one from there is not worth for a while.

local SECONDS, MOST = 60, 1000
local ends, count = {}, 0

local function note(address)
  if not ends[address] then
    if count == MOST then ends, count = {}, 0 end
    count = count + 1
  end
  ends[address] = os.time() + SECONDS
end

-- How many seconds are left; nil for an address that is not here.
local function wait(address)
  local left = ends[address] and ends[address] - os.time()
  return left and left > 0 and left or nil
end

return {note = note, wait = wait}
