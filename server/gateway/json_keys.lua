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
-- One loop over bytes without recursion, so that LuaJIT compiles all of it. Its patterns would be interpreted, at ten times
-- the cost, and one closure made on the way keeps it from compiling the loop at all. What is known of a field is kept from
-- one document to the next.

local ffi = require("ffi")
local format, gsub, sub = string.format, string.gsub, string.sub
local BYTES = ffi.typeof("const uint8_t *")

-- The server's parser takes 100 nested messages, and an object in a Struct counts for three.
local MAX_DEPTH = 30
local MAX_PATHS = 500
local MAX_BYTES = 8192
-- Nodes of known fields that are kept. Messages that contain themselves have fields without end.
local MOST_KEPT = 20000
-- Doubles hold every whole number up to 2^53; JSON's numbers in a Struct become doubles.
local EXACT_DIGITS, LARGEST_EXACT = 16, "9007199254740992"

local QUOTE, BACKSLASH, COLON, COMMA, LETTER_U = 34, 92, 58, 44, 117
local OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = 123, 125, 91, 93
local MINUS, PLUS, DOT, ZERO, NINE, UPPER_E, LOWER_E = 45, 43, 46, 48, 57, 69, 101
local NULL = 110
local ESCAPES = {[34] = 34, [92] = 92, [47] = 47, [98] = 8, [102] = 12, [110] = 10, [114] = 13, [116] = 9}
local LITERALS = {[116] = "true", [102] = "false", [110] = "null"}

-- Bytes that a string may have as they are.
local PLAIN = ffi.new("uint8_t[256]")
for sign = 32, 127 do PLAIN[sign] = (sign == QUOTE or sign == BACKSLASH) and 0 or 1 end

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

-- Where what a string may not have as it is ends: an escape, or a character that is not ASCII. What lies behind the document
-- reads as NUL.
local function special_end(bytes, at)
  local sign = bytes[at]
  if sign == BACKSLASH then return (read_escape(bytes, at)) end
  if sign < 32 then fail_at(at, "a control character in a string, or a string that does not end") end
  local after = utf8.after(bytes, at)
  if not after then fail_at(at, "not UTF-8") end
  return after
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

local function encode_sign(sign)
  return format("%%%02X", sign:byte())
end

local function encode(key)
  return (gsub(key, "[^%w_-]", encode_sign))
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

local function list(state, path)
  local count = #state.paths + 1
  state.bytes = state.bytes + #path + 1
  if count > MAX_PATHS or state.bytes > MAX_BYTES + 1 then fail("The body has too many keys.") end
  state.paths[count] = path
end

-- A node is a key, wherever in a document it appears: the elements of an array share theirs. Nodes of fields are kept below the
-- shape of the body. A field has two spellings, whose nodes share the marks: `seen` is the last object that had the key,
-- `listed` the last document that had it, and `path` what it is listed as there.
local function new_node(path, marks)
  return {path = path, marks = marks, children = {}, fields = {}}
end

local roots, kept = {}, 0

local function root_of(shape)
  if kept > MOST_KEPT then roots, kept = {}, 0 end
  local root = roots[shape or FREE]
  if not root then
    root = new_node("", {})
    root.shape, root.kind, root.no_null = shape, KINDS.object, true
    roots[shape or FREE] = root
  end
  return root
end

local function keep_field(state, node, key, path, field)
  local marks = node.fields[field.name] or {}
  local child = new_node(path, marks)
  child.kind = KINDS[field.list and "list" or field.kind]
  child.item = field.list and KINDS[field.kind] or nil
  child.shape = state.shapes[field.below]
  if field.below == FREE or field.below == OPAQUE then
    child.inside = {path = path, silent = true, exact = field.below == FREE}
  end
  node.fields[field.name], node.children[key], kept = marks, child, kept + 1
  return child
end

-- The node of a key that no earlier document had at this place. What is no field is forgotten with the document.
local function new_member(state, node, key)
  local path = (node.path == "" and "" or node.path .. ".") .. encode(key)
  local field = node.shape and node.shape[key]
  if field then return keep_field(state, node, key, path, field) end
  local child = state.unknown[path] or new_node(path, {})
  state.unknown[path] = child
  return child
end

local function element(node)
  if node.silent then return node end
  if node.inside then return node.inside end
  local child = node.element
  if not child then
    child = new_node(node.path .. "[]", node.marks)
    child.kind, child.no_null, child.shape = node.item, true, node.shape
    node.element, kept = child, kept + 1
  end
  return child
end

-- By depth: what closes the container, its node, its number if it is an object, and the key that is being read. Objects are
-- numbered through all documents. Documents are read one after the other, so all of them use these.
local closers, nodes, numbers, keys_at = {}, {}, {}, {}

-- The path of a key inside of a free-form field, for a fault.
local function path_below(node, from, depth)
  local parts = {node.path}
  for level = from, depth do
    if keys_at[level] then parts[#parts + 1] = encode(keys_at[level]) end
  end
  return table.concat(parts, ".")
end

local function fail_twice(path)
  fail("A key appears twice in one object.", path)
end

-- A value of the wrong kind. What begins no value is a fault of its own.
local function fail_kind(node, sign, depth, at)
  local begins = sign == QUOTE or sign == OPEN_BRACE or sign == OPEN_BRACKET or LITERALS[sign] or sign == MINUS
    or (sign >= ZERO and sign <= NINE)
  if node.path == "" and (begins or depth == 0) then fail("The body has to be a JSON object.") end
  if begins then fail(format("`%s` has to be %s.", node.path, node.kind.words), node.path) end
  fail_at(at, "a value is expected")
end

-- The node of a key of the object at `owner` with this number.
local function enter(state, owner, key, number)
  local node = owner.children[key] or new_member(state, owner, key)
  local marks = node.marks
  if marks.seen == number then fail_twice(marks.path) end
  marks.seen = number
  if marks.listed ~= state.document then
    marks.listed, marks.path = state.document, node.path
    list(state, node.path)
  end
  return node
end

-- Where the literal or number at `at` ends.
local function scalar_end(state, node, at, sign, from, depth)
  local text, bytes = state.text, state.bytes_of
  local literal = LITERALS[sign]
  if literal and sub(text, at + 1, at + #literal) == literal then return at + #literal end
  local stop, whole = number_end(bytes, at)
  local exact = node.exact or (node.inside and node.inside.exact)
  if whole and exact and stop - at >= EXACT_DIGITS and not is_exact(text, at, stop) then
    local path = path_below(node, from, depth)
    fail(format("`%s` is a whole number beyond 2^53, which JSON readers round: send it as text.", path), path)
  end
  return stop
end

-- What may come next: a key, a key or the end of the object, the colon, a value, a value or the end of the array, what stands
-- behind a value.
local KEY, FIRST_KEY, BEFORE_VALUE, VALUE, FIRST_ITEM, AFTER = 1, 2, 3, 4, 5, 6
local EXPECTED = {
  "a key is expected", "a key is expected", "a colon is expected", "a value is expected", "a value is expected",
  "a comma or the end of the object or list is expected",
}
local objects = 0
local function read(state, shape)
  local text, bytes = state.text, state.bytes_of
  local depth, at, free_from, wants = 0, 0, 0, VALUE
  -- By depth: the keys that an object below a free-form field has had.
  local seen = state.seen
  local node = root_of(shape)
  state.document = objects
  while true do
    local sign = bytes[at]
    if sign == 32 or sign == 10 or sign == 13 or sign == 9 then
      at = at + 1
    elseif sign == QUOTE and wants ~= BEFORE_VALUE and wants ~= AFTER then
      local is_key = wants == KEY or wants == FIRST_KEY
      if not is_key and node.kind and not node.kind[QUOTE] then fail_kind(node, sign, depth, at) end
      local stop, escaped = at + 1, false
      while true do
        while PLAIN[bytes[stop]] == 1 do stop = stop + 1 end
        if bytes[stop] == QUOTE then break end
        escaped = escaped or bytes[stop] == BACKSLASH
        stop = special_end(bytes, stop)
      end
      if is_key then
        local key, owner = sub(text, at + 2, stop), nodes[depth]
        if escaped then key = unescape(key) end
        keys_at[depth] = key
        if owner.silent then
          if seen[depth][key] then fail_twice(path_below(owner, free_from, depth)) end
          seen[depth][key] = true
          node = owner
        else
          -- Free-form JSON may have an empty key; no field of a message has an empty name.
          if key == "" then fail_at(stop + 1, "a key is empty") end
          node, free_from = enter(state, owner, key, numbers[depth]), depth + 1
        end
        wants = BEFORE_VALUE
      else
        wants = AFTER
      end
      at = stop + 1
    elseif wants == BEFORE_VALUE then
      if sign ~= COLON then fail_at(at, EXPECTED[wants]) end
      at, wants = at + 1, VALUE
    elseif wants == AFTER and depth == 0 then
      if at < #text then fail_at(at, "something follows the end of the object") end
      return
    elseif wants == AFTER and sign == COMMA then
      at = at + 1
      if closers[depth] == CLOSE_BRACE then
        wants = KEY
      else
        node, wants = element(nodes[depth]), VALUE
      end
    elseif (wants == AFTER or wants == FIRST_KEY or wants == FIRST_ITEM) and sign == closers[depth] then
      at, depth, wants = at + 1, depth - 1, AFTER
    elseif wants ~= VALUE and wants ~= FIRST_ITEM then
      fail_at(at, EXPECTED[wants])
    else
      if node.kind and not node.kind[sign] and (sign ~= NULL or node.no_null) then fail_kind(node, sign, depth, at) end
      if sign == OPEN_BRACE or sign == OPEN_BRACKET then
        if depth == MAX_DEPTH then fail_at(at, "nested too deeply") end
        at, depth = at + 1, depth + 1
        nodes[depth], keys_at[depth] = node.inside or node, false
        if sign == OPEN_BRACE then
          objects = objects + 1
          closers[depth], numbers[depth], wants = CLOSE_BRACE, objects, FIRST_KEY
          if nodes[depth].silent then seen[depth] = {} end
        else
          node = element(nodes[depth])
          closers[depth], wants = CLOSE_BRACKET, FIRST_ITEM
        end
      else
        at, wants = scalar_end(state, node, at, sign, free_from, depth), AFTER
      end
    end
  end
end

-- The paths of the keys of `text`, comma separated. `shape` maps the names of fields, in both spellings, to what they are:
-- `{name, kind, list, below}`, where `below` names the shape of a message in `shapes` or is FREE or OPAQUE. In case of a
-- fault: nil, what it is, and the path of the key in question if it has one.
local function keys(text, shape, shapes)
  local state = {
    text = text, bytes_of = ffi.cast(BYTES, text), shapes = shapes, paths = {}, bytes = 0, unknown = {}, seen = {}, document = 0,
  }
  local ok, fault = pcall(read, state, shape)
  if ok then return table.concat(state.paths, ",") end
  if type(fault) ~= "table" then error(fault, 0) end
  return nil, fault.message, fault.field
end

return {keys = keys, FREE = FREE, OPAQUE = OPAQUE}
