-- UTF-8, as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.

local byte, char, floor = string.byte, string.char, math.floor

-- How many bytes follow the first one of a character, and the range of the next.
local function tail(first)
  if first < 0xC2 or first > 0xF4 then return 0, 1, 0 end
  if first < 0xE0 then return 1, 0x80, 0xBF end
  if first < 0xF0 then return 2, first == 0xE0 and 0xA0 or 0x80, first == 0xED and 0x9F or 0xBF end
  return 3, first == 0xF0 and 0x90 or 0x80, first == 0xF4 and 0x8F or 0xBF
end

local function is_character(text, at, count, low, high)
  for next = at + 1, at + math.max(count, 1) do
    local following = byte(text, next) or 0
    if following < low or following > high then return false end
    low, high = 0x80, 0xBF
  end
  return true
end

-- Where `text` stops being UTF-8; nil when it is throughout. A loop over bytes: patterns are slow where it is not ASCII.
local function fault(text)
  local at, size = text:find("[\128-\255]") or #text + 1, #text
  while at <= size do
    local first = byte(text, at)
    local count, low, high = 0, 0, 0
    if first >= 0x80 then
      count, low, high = tail(first)
      if not is_character(text, at, count, low, high) then return at end
    end
    at = at + count + 1
  end
  return nil
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

return {fault = fault, char = encode}
