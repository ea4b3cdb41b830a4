-- Finds the binding of a verb and path as the transcoder does: a literal segment wins over a variable, verb by verb.

local ORDER = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

local function node()
  return {literals = {}, bound = {}}
end

local function split(path)
  local segments = {}
  for segment in path:gmatch("[^/]+") do segments[#segments + 1] = segment end
  return segments
end

-- Takes a custom verb (`pages:batchGet`) off the last segment.
local function take_verb(segments)
  local last = segments[#segments]
  local name, verb = (last or ""):match("^(.*):([^:]*)$")
  if not verb then return "" end
  segments[#segments] = name
  return verb
end

local function descend(at, segment)
  if segment == "*" then
    at.any = at.any or node()
    return at.any
  elseif segment == "**" then
    at.rest = at.rest or node()
    return at.rest
  end
  at.literals[segment] = at.literals[segment] or node()
  return at.literals[segment]
end

local function insert(matcher, method, pattern, binding)
  local segments = split(pattern)
  local verb = take_verb(segments)
  if verb ~= "" then matcher.verbs[verb] = true end
  local at = matcher.root
  for _, segment in ipairs(segments) do at = descend(at, segment) end
  at.bound[verb] = at.bound[verb] or {}
  at.bound[verb][method] = binding
end

local find, sub = string.find, string.sub

-- Calls `visit` with the bindings of each pattern that fits what stands in `path` from `from` to `size`, best one first, until
-- it returns something. No table is made of the segments: this runs for every request.
local function walk(at, path, from, size, verb, visit, wanted)
  if from > size then
    local found = at.bound[verb] and visit(at.bound[verb], wanted)
    if found then return found end
  else
    local stop = find(path, "/", from, true)
    if not stop or stop > size then stop = size + 1 end
    local literal = at.literals[sub(path, from, stop - 1)]
    local found = literal and walk(literal, path, stop + 1, size, verb, visit, wanted)
    found = found or at.any and walk(at.any, path, stop + 1, size, verb, visit, wanted)
    if found then return found end
  end
  return at.rest and at.rest.bound[verb] and visit(at.rest.bound[verb], wanted)
end

local Matcher = {}
Matcher.__index = Matcher

-- A colon is a custom verb's if any binding has that verb. A plain path has no query and no colon.
function Matcher:walk(path, visit, wanted, plain)
  if plain then return walk(self.root, path, 2, #path, "", visit, wanted) end
  local size = (find(path, "[?#]") or #path + 1) - 1
  local colon = find(path, ":", 1, true)
  local name, verb = nil, nil
  if colon and colon <= size then name, verb = sub(path, 1, size):match("^(.*):([^:/]*)$") end
  if not verb or not self.verbs[verb] then return walk(self.root, path, 2, size, "", visit, wanted) end
  return walk(self.root, path, 2, #name, verb, visit, wanted)
end

local function of_method(bound, method)
  return bound[method]
end

-- The binding that answers, or nil.
function Matcher:find(method, path, plain)
  return self:walk(path, of_method, method, plain)
end

-- The verbs that a path answers as the header Allow has them, or nil when it answers none.
function Matcher:allow(path)
  local verbs, allowed = {}, {}
  self:walk(path, function(bound) for method in pairs(bound) do verbs[method] = true end end)
  if not next(verbs) then return nil end
  for _, method in ipairs(ORDER) do
    if verbs[method] then allowed[#allowed + 1] = method end
  end
  allowed[#allowed + 1] = "OPTIONS"
  return table.concat(allowed, ", ")
end

-- A matcher of bindings `{method, pattern, ...}`, with `*` for variables in patterns.
return function(bindings)
  local matcher = setmetatable({root = node(), verbs = {}}, Matcher)
  for _, binding in ipairs(bindings) do insert(matcher, binding.verb, binding.pattern, binding) end
  return matcher
end
