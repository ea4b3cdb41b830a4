-- Errors as Connect has them (connectrpc.com/docs/protocol#error-end-stream): a code by name, and details as protobuf in base64.

local NAMES = {
  "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists", "permission_denied",
  "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented", "internal", "unavailable",
  "data_loss", "unauthenticated",
}
local STATUSES = {499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}
local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t"}
local char, floor = string.char, math.floor

local function quote(text)
  -- What a client sent may have been cut inside a character.
  if not utf8.is_valid(text) then text = text:gsub("[\128-\255]", "?") end
  return '"' .. text:gsub('[%c"\\]', function(sign) return ESCAPES[sign] or ("\\u%04x"):format(sign:byte()) end) .. '"'
end

local function varint(number)
  local bytes = {}
  while number >= 128 do
    bytes[#bytes + 1] = char(number % 128 + 128)
    number = floor(number / 128)
  end
  return table.concat(bytes) .. char(number)
end

-- A field of type string or message.
local function field(number, value)
  return char(number * 8 + 2) .. varint(#value) .. value
end

-- A google.rpc.ErrorInfo.
local function error_info(reason, metadata)
  local entries = {}
  for name, value in pairs(metadata or {}) do entries[#entries + 1] = field(3, field(1, name) .. field(2, value)) end
  table.sort(entries)
  return {type = "google.rpc.ErrorInfo", value = field(1, reason) .. field(2, "plinth") .. table.concat(entries)}
end

-- A google.rpc.RetryInfo of whole seconds.
local function retry_info(seconds)
  return {type = "google.rpc.RetryInfo", value = field(1, char(8) .. varint(seconds))}
end

-- A google.rpc.RequestInfo.
local function request_info(id)
  return {type = "google.rpc.RequestInfo", value = field(1, id)}
end

-- The body of an error with a code of gRPC. Each detail has a type and a value, which is bytes.
local function json(handle, code, message, details)
  local parts = {}
  for place, detail in ipairs(details) do
    -- Without padding, as Connect writes it.
    local value = handle:base64Escape(detail.value):gsub("=+$", "")
    parts[place] = ('{"type":%s,"value":"%s"}'):format(quote(detail.type), value)
  end
  return ('{"code":"%s","message":%s,"details":[%s]}'):format(NAMES[code] or "unknown", quote(message), table.concat(parts, ","))
end

-- The body of an error that the gateway makes itself; `wait` are the seconds after which a caller may try again.
local function own_json(handle, code, reason, message, metadata, request_id, wait)
  local details = {error_info(reason, metadata), request_info(request_id)}
  if wait then details[3] = retry_info(wait) end
  return json(handle, code, message, details)
end

return {json = json, own_json = own_json, status = function(code) return STATUSES[code] or 500 end}
