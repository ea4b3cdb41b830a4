-- UTF-8, as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.

local ffi = require("ffi")
local char, floor = string.char, math.floor
local BYTES = ffi.typeof("const uint8_t *")

-- Where the character at `at`, which is not ASCII, ends; nil when it is none. Behind a string stands a NUL, so nothing is
-- read that lies beyond it.
local function after(bytes, at)
  local first, count, low, high = bytes[at], 1, 0x80, 0xBF
  if first < 0xC2 or first > 0xF4 then return nil end
  if first >= 0xF0 then
    count, low, high = 3, first == 0xF0 and 0x90 or 0x80, first == 0xF4 and 0x8F or 0xBF
  elseif first >= 0xE0 then
    count, low, high = 2, first == 0xE0 and 0xA0 or 0x80, first == 0xED and 0x9F or 0xBF
  end
  for next = at + 1, at + count do
    if bytes[next] < low or bytes[next] > high then return nil end
    low, high = 0x80, 0xBF
  end
  return at + count + 1
end

-- Whether all of `text` is UTF-8.
local function is_valid(text)
  local bytes, at, size = ffi.cast(BYTES, text), 0, #text
  while at < size do
    if bytes[at] < 128 then
      at = at + 1
    else
      local next = after(bytes, at)
      if not next then return false end
      at = next
    end
  end
  return true
end

-- The bytes of a code point.
local function encode(point)
  if point < 0x80 then return char(point) end
  local last = 0x80 + point % 0x40
  if point < 0x800 then return char(0xC0 + floor(point / 0x40), last) end
  local third = 0x80 + floor(point / 0x40) % 0x40
  if point < 0x10000 then return char(0xE0 + floor(point / 0x1000), third, last) end
  return char(0xF0 + floor(point / 0x40000), 0x80 + floor(point / 0x1000) % 0x40, third, last)
end

return {is_valid = is_valid, after = after, char = encode}
