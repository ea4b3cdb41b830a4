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
local function take_verb(segments, verbs)
  local last = segments[#segments]
  local name, verb = (last or ""):match("^(.*):([^:]*)$")
  if not verb or (verbs and not verbs[verb]) then return "" end
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

-- Calls `visit` with the bindings of each pattern that fits, best one first, until it returns something.
local function walk(at, segments, index, verb, visit)
  if index > #segments then
    local found = at.bound[verb] and visit(at.bound[verb])
    if found then return found end
  else
    local literal = at.literals[segments[index]]
    local found = literal and walk(literal, segments, index + 1, verb, visit)
    found = found or at.any and walk(at.any, segments, index + 1, verb, visit)
    if found then return found end
  end
  return at.rest and at.rest.bound[verb] and visit(at.rest.bound[verb])
end

local Matcher = {}
Matcher.__index = Matcher

function Matcher:walk(path, visit)
  local segments = split(path:match("^[^?#]*"))
  local verb = take_verb(segments, self.verbs)
  return walk(self.root, segments, 1, verb, visit)
end

-- The binding that answers, or nil.
function Matcher:find(method, path)
  return self:walk(path, function(bound) return bound[method] end)
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
