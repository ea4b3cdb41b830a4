-- Reads a JSON document (RFC 8259, strictly) and lists the paths of its keys.
--
-- The transcoder drops unknown keys without a word (envoy#46623), keeps the last of two equal ones, takes what is not JSON
-- (single quotes, bare keys), takes text for a list, and names no field when a value has the wrong type. Here all of that
-- is refused, so that the server is told every key there is and the caller which one is wrong.
--
-- A path joins keys with dots; an element of an array adds `[]`: `title`, `seo.og.image`, `sections[].title`. In a key every
-- byte outside A-Z a-z 0-9 _ - is percent-encoded. Equal paths are listed once, in the order of their first appearance. A
-- free-form field is listed, but not what is in it.
--
-- One loop over bytes without recursion, so that LuaJIT compiles all of it: 2 to 4 ns a byte. Its patterns would be
-- interpreted, at ten times the cost.

local ffi = require("ffi")
local format, gsub, sub = string.format, string.gsub, string.sub
local BYTES = ffi.typeof("const uint8_t *")

-- The server's parser takes 100 nested messages, and an object in a Struct counts for three.
local MAX_DEPTH = 30
local MAX_PATHS = 500
local MAX_BYTES = 8192
-- Doubles hold every whole number up to 2^53; JSON's numbers in a Struct become doubles.
local EXACT_DIGITS, LARGEST_EXACT = 16, "9007199254740992"

local QUOTE, BACKSLASH, COLON, COMMA, LETTER_U = 34, 92, 58, 44, 117
local OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = 123, 125, 91, 93
local MINUS, PLUS, DOT, ZERO, NINE, UPPER_E, LOWER_E = 45, 43, 46, 48, 57, 69, 101
local NULL = 110
local ESCAPES = {[34] = 34, [92] = 92, [47] = 47, [98] = 8, [102] = 12, [110] = 10, [114] = 13, [116] = 9}
local LITERALS = {[116] = "true", [102] = "false", [110] = "null"}

-- With what bytes the value of a field may begin, besides `null`, and how to say so.
local function set(signs, words)
  local kind = {words = words}
  for at = 1, #signs do kind[signs:byte(at)] = true end
  return kind
end
local DIGITS = "-0123456789"
local KINDS = {
  text = set('"', "text"),
  bool = set("tf", "true or false"),
  -- A number may come as text, since JavaScript has no 64-bit integers (proto3's JSON mapping).
  number = set(DIGITS .. '"', "a number"),
  enum = set(DIGITS .. '"', "the name of one of its values"),
  object = set("{", "an object"),
  list = set("[", "a list"),
}

-- Below these nothing is listed. In FREE every number becomes a double.
local FREE, OPAQUE = {}, {}

local function fail(message, field)
  error({message = message, field = field}, 0)
end

-- `at` counts from 0.
local function fail_at(at, message)
  fail(format("Byte %d of the body: %s.", at + 1, message))
end

local function hexadecimal(sign)
  if sign >= 48 and sign <= 57 then return sign - 48 end
  sign = sign >= 97 and sign - 32 or sign
  return sign >= 65 and sign <= 70 and sign - 55 or nil
end

-- The code unit of the four digits at `at`; nil when they are none.
local function code_unit(bytes, at)
  local unit = 0
  for next = at, at + 3 do
    local digit = hexadecimal(bytes[next])
    if not digit then return nil end
    unit = unit * 16 + digit
  end
  return unit
end

-- Where the escape at `at` ends, and the code point it stands for. Half a surrogate pair stands for none.
local function read_escape(bytes, at)
  local kind = bytes[at + 1]
  if kind ~= LETTER_U then
    local point = ESCAPES[kind]
    if not point then fail_at(at, "a bad escape in a string") end
    return at + 2, point
  end
  local unit = code_unit(bytes, at + 2)
  if not unit then fail_at(at, "a bad escape in a string") end
  if unit < 0xD800 or unit > 0xDFFF then return at + 6, unit end
  local second = unit < 0xDC00 and bytes[at + 6] == BACKSLASH and bytes[at + 7] == LETTER_U and code_unit(bytes, at + 8)
  if not second or second < 0xDC00 or second > 0xDFFF then fail_at(at, "half a surrogate pair in a string") end
  return at + 12, 0x10000 + (unit - 0xD800) * 0x400 + second - 0xDC00
end

-- Where the string that opened before `at` closes, and whether it has escapes. What lies behind the document reads as NUL.
local function string_end(bytes, at)
  local escaped = false
  while true do
    local sign = bytes[at]
    if sign == QUOTE then return at, escaped end
    if sign == BACKSLASH then
      escaped = true
      at = read_escape(bytes, at)
    elseif sign < 32 then
      fail_at(at, "a control character in a string, or a string that does not end")
    elseif sign < 128 then
      at = at + 1
    else
      local after = utf8.after(bytes, at)
      if not after then fail_at(at, "not UTF-8") end
      at = after
    end
  end
end

local function unescape(text)
  local bytes, parts, from, at = ffi.cast(BYTES, text), {}, 0, 0
  while at < #text do
    if bytes[at] == BACKSLASH then
      local after, point = read_escape(bytes, at)
      parts[#parts + 1] = sub(text, from + 1, at)
      parts[#parts + 1] = utf8.char(point)
      from, at = after, after
    else
      at = at + 1
    end
  end
  parts[#parts + 1] = sub(text, from + 1)
  return table.concat(parts)
end

local function encode(key)
  return (gsub(key, "[^%w_-]", function(sign) return format("%%%02X", sign:byte()) end))
end

local function digits_end(bytes, at)
  while bytes[at] >= ZERO and bytes[at] <= NINE do at = at + 1 end
  return at
end

-- Where the number at `at` ends, and whether it is whole.
local function number_end(bytes, at)
  local first = bytes[at] == MINUS and at + 1 or at
  local stop = bytes[first] == ZERO and first + 1 or digits_end(bytes, first)
  if stop == first then fail_at(at, "a value is expected") end
  local whole = stop
  if bytes[stop] == DOT then
    local fraction = digits_end(bytes, stop + 1)
    if fraction > stop + 1 then stop = fraction end
  end
  if bytes[stop] == UPPER_E or bytes[stop] == LOWER_E then
    local sign = bytes[stop + 1]
    local from = (sign == PLUS or sign == MINUS) and stop + 2 or stop + 1
    local exponent = digits_end(bytes, from)
    if exponent > from then stop = exponent end
  end
  return stop, stop == whole
end

local function is_exact(text, from, stop)
  local digits = sub(text, from + 1, stop)
  if sub(digits, 1, 1) == "-" then digits = sub(digits, 2) end
  return #digits < EXACT_DIGITS or (#digits == EXACT_DIGITS and digits <= LARGEST_EXACT)
end

local function list(state, node)
  local count = #state.paths + 1
  state.bytes = state.bytes + #node.path + 1
  if count > MAX_PATHS or state.bytes > MAX_BYTES + 1 then fail("The body has too many keys.") end
  state.paths[count] = node.path
end

-- The node of a key of the object at `node`; the object's own where nothing below it is listed. Nodes make a tree that all
-- elements of an array share, so a path is joined once however often it appears.
local function member(state, node, key, name, field)
  if node.silent then return node end
  local child = node.children[name]
  if not child then
    local joint = node.path == "" and "" or "."
    child = {path = node.path .. joint .. encode(key), children = {}}
    if field then
      child.kind = KINDS[field.list and "list" or field.kind]
      child.item = field.list and KINDS[field.kind] or nil
      child.shape = state.shapes[field.below]
      if field.below == FREE or field.below == OPAQUE then
        child.inside = {path = child.path, silent = true, exact = field.below == FREE}
      end
    end
    node.children[name] = child
    list(state, child)
  end
  return child
end

local function element(node)
  if node.silent then return node end
  if node.inside then return node.inside end
  if not node.element then
    node.element = {path = node.path .. "[]", children = {}, kind = node.item, no_null = true, shape = node.shape}
  end
  return node.element
end

-- The path of a key inside of a free-form field, for a fault.
local function path_below(node, keys, from, depth)
  local parts = {node.path}
  for level = from, depth do
    if keys[level] then parts[#parts + 1] = encode(keys[level]) end
  end
  return table.concat(parts, ".")
end

local function read(state, shape)
  local text = state.text
  local bytes, size = ffi.cast(BYTES, text), #text
  -- By depth: what closes the container, its node, which keys it has had, and the key that is being read.
  local closers, nodes, seen, keys = {}, {}, {}, {}
  local depth, at, free_from = 0, 0, 0
  local node = {path = "", children = {}, shape = shape, kind = KINDS.object, no_null = true}
  local wants_key, wants_value = false, true
  while true do
    local sign = bytes[at]
    while sign == 32 or sign == 10 or sign == 13 or sign == 9 do
      at = at + 1
      sign = bytes[at]
    end
    if wants_key then
      if sign ~= QUOTE then fail_at(at, "a key is expected") end
      local stop, escaped = string_end(bytes, at + 1)
      local key = sub(text, at + 2, stop)
      if escaped then key = unescape(key) end
      local owner = nodes[depth].inside or nodes[depth]
      -- Free-form JSON may have an empty key; no field of a message has an empty name.
      if key == "" and not owner.silent then fail_at(at, "a key is empty") end
      local field = owner.shape and owner.shape[key]
      local name = field and field.name or key
      node = member(state, owner, key, name, field)
      if seen[depth][name] then
        fail("A key appears twice in one object.", owner.silent and path_below(owner, keys, free_from, depth - 1)
          .. "." .. encode(key) or node.path)
      end
      seen[depth][name], keys[depth] = true, key
      if not owner.silent then free_from = depth + 1 end
      at = stop + 1
      while bytes[at] == 32 or bytes[at] == 10 or bytes[at] == 13 or bytes[at] == 9 do at = at + 1 end
      if bytes[at] ~= COLON then fail_at(at, "a colon is expected") end
      at = at + 1
      wants_key, wants_value = false, true
    elseif wants_value then
      if node.kind and not node.kind[sign] and (sign ~= NULL or node.no_null) then
        -- What begins no value is a fault of its own.
        if sign == QUOTE or sign == OPEN_BRACE or sign == OPEN_BRACKET or LITERALS[sign] or sign == MINUS
          or (sign >= ZERO and sign <= NINE) then
          if node.path == "" then fail("The body has to be a JSON object.") end
          fail(format("`%s` has to be %s.", node.path, node.kind.words), node.path)
        end
        if depth == 0 then fail("The body has to be a JSON object.") end
        fail_at(at, "a value is expected")
      end
      wants_value = false
      if sign == QUOTE then
        at = string_end(bytes, at + 1) + 1
      elseif sign == OPEN_BRACE or sign == OPEN_BRACKET then
        if depth == MAX_DEPTH then fail_at(at, "nested too deeply") end
        depth = depth + 1
        nodes[depth], keys[depth] = node, false
        at = at + 1
        while bytes[at] == 32 or bytes[at] == 10 or bytes[at] == 13 or bytes[at] == 9 do at = at + 1 end
        if sign == OPEN_BRACE then
          closers[depth], seen[depth] = CLOSE_BRACE, {}
          wants_key = bytes[at] ~= CLOSE_BRACE
        else
          closers[depth] = CLOSE_BRACKET
          if bytes[at] ~= CLOSE_BRACKET then node, wants_value = element(node), true end
        end
      else
        local literal = LITERALS[sign]
        if literal and sub(text, at + 1, at + #literal) == literal then
          at = at + #literal
        else
          local stop, whole = number_end(bytes, at)
          local exact = node.exact or (node.inside and node.inside.exact)
          if whole and exact and stop - at >= EXACT_DIGITS and not is_exact(text, at, stop) then
            local path = path_below(node, keys, free_from, depth)
            fail(format("`%s` is a whole number beyond 2^53, which JSON readers round: send it as text.", path), path)
          end
          at = stop
        end
      end
    elseif depth == 0 then
      if at < size then fail_at(at, "something follows the end of the object") end
      return
    elseif sign == COMMA then
      at = at + 1
      if closers[depth] == CLOSE_BRACE then
        wants_key = true
      else
        node, wants_value = element(nodes[depth]), true
      end
    elseif sign == closers[depth] then
      at = at + 1
      depth = depth - 1
    else
      fail_at(at, "a comma or the end of the object or list is expected")
    end
  end
end

-- The paths of the keys of `text`, comma separated. `shape` maps the names of fields, in both spellings, to what they are:
-- `{name, kind, list, below}`, where `below` names the shape of a message in `shapes` or is FREE or OPAQUE. In case of a
-- fault: nil, what it is, and the path of the key in question if it has one.
local function keys(text, shape, shapes)
  local state = {text = text, shapes = shapes, paths = {}, bytes = 0}
  local ok, fault = pcall(read, state, shape)
  if ok then return table.concat(state.paths, ",") end
  if type(fault) ~= "table" then error(fault, 0) end
  return nil, fault.message, fault.field
end

return {keys = keys, FREE = FREE, OPAQUE = OPAQUE}
