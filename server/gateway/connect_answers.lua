-- Answers to calls of Connect, before anything else reads them: an error of the server, with its details, becomes Connect's.
-- Neither the transcoder nor the bridge would pass the details on. They leave alone what is not gRPC.

local STATUS, MESSAGE, DETAILS = "grpc-status", "grpc-message", "grpc-status-details-bin"
local ORIGINAL = "x-envoy-original-path"
local DIGITS = {}
for place, digit in ipairs({("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):byte(1, -1)}) do
  DIGITS[digit] = place - 1
end

local function decode_base64(text)
  local bytes, value, bits = {}, 0, 0
  for place = 1, #text do
    local digit = DIGITS[text:byte(place)]
    if digit then
      value, bits = value % 64 * 64 + digit, bits + 6
      if bits >= 8 then
        bits = bits - 8
        bytes[#bytes + 1] = string.char(math.floor(value / 2 ^ bits) % 256)
      end
    end
  end
  return table.concat(bytes)
end

local function read_varint(bytes, at)
  local value, factor = 0, 1
  while at <= #bytes do
    local byte = bytes:byte(at)
    at, value, factor = at + 1, value + byte % 128 * factor, factor * 128
    if byte < 128 then break end
  end
  return value, at
end

-- The fields of a message that has numbers, strings and messages: for each number, the list of its values.
local function fields_of(bytes)
  local fields, at = {}, 1
  while at <= #bytes do
    local key, value
    key, at = read_varint(bytes, at)
    value, at = read_varint(bytes, at)
    if key % 8 == 2 then
      value, at = bytes:sub(at, at + value - 1), at + value
    end
    local number = math.floor(key / 8)
    fields[number] = fields[number] or {}
    table.insert(fields[number], value)
  end
  return fields
end

-- The message and the details of a google.rpc.Status; without one, the message that gRPC itself carries.
local function read_status(told)
  local status = told:get(DETAILS)
  if not status then
    local message = (told:get(MESSAGE) or ""):gsub("%%(%x%x)", function(pair) return string.char(tonumber(pair, 16)) end)
    return message, {}
  end
  local fields, details = fields_of(decode_base64(status)), {}
  for place, packed in ipairs(fields[3] or {}) do
    local any = fields_of(packed)
    details[place] = {type = any[1][1]:match("[^/]*$"), value = any[2] and any[2][1] or ""}
  end
  return fields[2] and fields[2][1] or "", details
end

local function remove_all(headers)
  local names = {}
  for name in pairs(headers) do names[#names + 1] = name end
  for _, name in ipairs(names) do headers:remove(name) end
end

-- With it, the server would take a call for one over REST.
function envoy_on_request(handle)
  handle:headers():remove(ORIGINAL)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if not is_grpc(headers:get("content-type")) then return end
  local told = headers
  if not headers:get(STATUS) then
    -- Waits for the trailers.
    handle:body()
    headers, told = handle:headers(), handle:trailers()
  end
  local code = told and tonumber(told:get(STATUS))
  if not code or code == 0 then return end
  local message, details = read_status(told)
  if told ~= headers then remove_all(told) end
  for _, name in ipairs({STATUS, MESSAGE, DETAILS}) do headers:remove(name) end
  headers:replace(":status", tostring(connect_errors.status(code)))
  headers:replace("content-type", "application/json")
  handle:body(true):setBytes(connect_errors.json(handle, code, message, details))
end
