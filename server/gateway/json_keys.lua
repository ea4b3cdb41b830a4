-- Reads a JSON document (RFC 8259, strictly) and lists the paths of its keys.
--
-- The transcoder drops unknown keys without a word (envoy#46623), keeps the last of two equal ones, and takes what is not
-- JSON (single quotes, bare keys). Here all of that is refused, so that the server is told every key there is.
--
-- A path joins keys with dots; an element of an array adds `[]`: `title`, `seo.og.image`, `sections[].title`. In a key every
-- byte outside A-Z a-z 0-9 _ - is percent-encoded. Equal paths are listed once, in the order of their first appearance. A
-- free-form field is listed, but not what is in it.
--
-- Work is linear in the length of the document: paths are nodes of a tree that all elements of an array share, so a path is
-- joined once however often it appears.

local byte, find, format = string.byte, string.find, string.format
local gsub, match, sub = string.gsub, string.match, string.sub

-- The server's parser takes 100 nested messages, and an object in a Struct counts for three.
local MAX_DEPTH = 30
local MAX_PATHS = 500
local MAX_BYTES = 8192

-- The shape of a free-form field.
local FREE = {}

local QUOTE, BACKSLASH, COLON, COMMA, LETTER_U = 34, 92, 58, 44, 117
local OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = 123, 125, 91, 93
local ESCAPES = {[34] = 34, [92] = 92, [47] = 47, [98] = 8, [102] = 12, [110] = 10, [114] = 13, [116] = 9}
local LITERALS = {[116] = "true", [102] = "false", [110] = "null"}

local function fail(message, field)
  error({message = message, field = field}, 0)
end

local function fail_at(at, message)
  fail(format("Byte %d of the body: %s.", at, message))
end

local function skip_space(text, at)
  return find(text, "[^ \t\n\r]", at) or #text + 1
end

local function code_unit(text, at)
  local digits = match(text, "^%x%x%x%x", at)
  return digits and tonumber(digits, 16)
end

-- Where the escape at `at` ends, and the code point it stands for. Half a surrogate pair stands for none.
local function read_escape(text, at)
  local kind = byte(text, at + 1)
  if ESCAPES[kind] then return at + 2, ESCAPES[kind] end
  local unit = kind == LETTER_U and code_unit(text, at + 2)
  if not unit then fail_at(at, "a bad escape in a string") end
  if unit < 0xD800 or unit > 0xDFFF then return at + 6, unit end
  local second = unit < 0xDC00 and sub(text, at + 6, at + 7) == "\\u" and code_unit(text, at + 8)
  if not second or second < 0xDC00 or second > 0xDFFF then fail_at(at, "half a surrogate pair in a string") end
  return at + 12, 0x10000 + (unit - 0xD800) * 0x400 + second - 0xDC00
end

-- Where the string that opened before `at` closes, and whether it has escapes.
local function string_end(text, at)
  local escaped = false
  while true do
    local stop = find(text, '[%z\1-\31"\\]', at)
    if not stop then fail_at(at, "a string does not end") end
    local sign = byte(text, stop)
    if sign == QUOTE then return stop, escaped end
    if sign ~= BACKSLASH then fail_at(stop, "a control character in a string") end
    escaped = true
    at = read_escape(text, stop)
  end
end

local function unescape(text)
  local parts, from = {}, 1
  while true do
    local at = find(text, "\\", from, true)
    if not at then break end
    parts[#parts + 1] = sub(text, from, at - 1)
    local after, point = read_escape(text, at)
    parts[#parts + 1] = utf8.char(point)
    from = after
  end
  parts[#parts + 1] = sub(text, from)
  return table.concat(parts)
end

local function encode(key)
  return (gsub(key, "[^%w_-]", function(sign) return format("%%%02X", byte(sign)) end))
end

local function list(state, node)
  local count = #state.paths + 1
  state.bytes = state.bytes + #node.path + 1
  if count > MAX_PATHS or state.bytes > MAX_BYTES + 1 then fail("The body has too many keys.") end
  state.paths[count] = node.path
end

-- The node of a key of the object at `node`; nil where nothing is listed.
local function member(state, node, key)
  if not node or node.shape == FREE then return nil end
  local child = node.children[key]
  if not child then
    local shape = node.shape and node.shape[key]
    local joint = node.path == "" and "" or "."
    child = {path = node.path .. joint .. encode(key), children = {}, shape = state.shapes[shape] or shape}
    node.children[key] = child
    list(state, child)
  end
  return child
end

local function element(node)
  if not node or node.shape == FREE then return nil end
  if not node.element then node.element = {path = node.path .. "[]", children = {}, shape = node.shape} end
  return node.element
end

local read_value

-- Free-form JSON may have an empty key; no field of a message has an empty name.
local function read_key(state, at, node)
  local text = state.text
  if byte(text, at) ~= QUOTE then fail_at(at, "a key is expected") end
  local stop, escaped = string_end(text, at + 1)
  local key = sub(text, at + 1, stop - 1)
  if escaped then key = unescape(key) end
  if key == "" and node and node.shape ~= FREE then fail_at(at, "a key is empty") end
  local colon = skip_space(text, stop + 1)
  if byte(text, colon) ~= COLON then fail_at(colon, "a colon is expected") end
  return key, colon + 1
end

local function read_object(state, at, node, depth)
  local text, seen = state.text, {}
  at = skip_space(text, at)
  if byte(text, at) == CLOSE_BRACE then return at + 1 end
  while true do
    local key, after = read_key(state, skip_space(text, at), node)
    local child = member(state, node, key)
    if seen[key] then fail("A key appears twice in one object.", child and child.path or encode(key)) end
    seen[key] = true
    at = skip_space(text, read_value(state, after, child, depth))
    local sign = byte(text, at)
    if sign == CLOSE_BRACE then return at + 1 end
    if sign ~= COMMA then fail_at(at, "a comma or a closing brace is expected") end
    at = at + 1
  end
end

local function read_array(state, at, node, depth)
  local text = state.text
  at = skip_space(text, at)
  if byte(text, at) == CLOSE_BRACKET then return at + 1 end
  node = element(node)
  while true do
    at = skip_space(text, read_value(state, at, node, depth))
    local sign = byte(text, at)
    if sign == CLOSE_BRACKET then return at + 1 end
    if sign ~= COMMA then fail_at(at, "a comma or a closing bracket is expected") end
    at = at + 1
  end
end

local function read_number(text, at)
  local _, stop = find(text, "^-?[1-9]%d*", at)
  if not stop then _, stop = find(text, "^-?0", at) end
  if not stop then fail_at(at, "a value is expected") end
  local _, fraction = find(text, "^%.%d+", stop + 1)
  stop = fraction or stop
  local _, exponent = find(text, "^[eE][+-]?%d+", stop + 1)
  return (exponent or stop) + 1
end

function read_value(state, at, node, depth)
  local text = state.text
  at = skip_space(text, at)
  local sign = byte(text, at)
  if sign == QUOTE then return (string_end(text, at + 1)) + 1 end
  if sign == OPEN_BRACE or sign == OPEN_BRACKET then
    if depth == MAX_DEPTH then fail_at(at, "nested too deeply") end
    local read = sign == OPEN_BRACE and read_object or read_array
    return read(state, at + 1, node, depth + 1)
  end
  local literal = LITERALS[sign]
  if literal and sub(text, at, at + #literal - 1) == literal then return at + #literal end
  return read_number(text, at)
end

-- The paths of the keys of `text`, comma separated. `shape` maps the names of message fields to the names of their shapes in
-- `shapes`, or to FREE. In case of a fault: nil, what it is, and the path of the key in question if it has one.
local function keys(text, shape, shapes)
  local state = {text = text, shapes = shapes, paths = {}, bytes = 0}
  local ok, fault = pcall(function()
    local fault = utf8.fault(text)
    if fault then fail_at(fault, "not UTF-8") end
    local at = skip_space(text, 1)
    if byte(text, at) ~= OPEN_BRACE then fail("The body has to be a JSON object.") end
    at = skip_space(text, read_value(state, at, {path = "", children = {}, shape = shape}, 0))
    if at <= #text then fail_at(at, "something follows the end of the object") end
  end)
  if ok then return table.concat(state.paths, ",") end
  if type(fault) ~= "table" then error(fault, 0) end
  return nil, fault.message, fault.field
end

return {keys = keys, FREE = FREE}
