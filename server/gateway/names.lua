-- Names of fields: their two spellings, and which one somebody may have meant.

local min = math.min

-- `page_size` as `pageSize`, in each part of a path; names in camelCase stay.
local function camel(name)
  return (name:gsub("_(%l)", string.upper))
end

-- How many letters have to be put in, left out or replaced to make one text the other (Levenshtein).
local function distance(one, other)
  local row = {}
  for column = 0, #other do row[column] = column end
  for line = 1, #one do
    local diagonal = row[0]
    row[0] = line
    for column = 1, #other do
      local cost = one:byte(line) == other:byte(column) and diagonal or diagonal + 1
      diagonal = row[column]
      row[column] = min(cost, diagonal + 1, row[column - 1] + 1)
    end
  end
  return row[#other]
end

-- The nearest of the names that are keys of `known` and not of `taken`; nil when none is near.
local LONGEST = 64
local function nearest(name, known, taken)
  local best, least = nil, math.floor(#name / 3) + 1
  if #name > LONGEST then return nil end
  for candidate in pairs(known) do
    local apart = taken and taken[candidate] and least or distance(name:lower(), candidate:lower())
    if apart < least or (apart == least and best and candidate < best) then best, least = candidate, apart end
  end
  return best
end

return {camel = camel, nearest = nearest}
