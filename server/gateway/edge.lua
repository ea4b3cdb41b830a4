-- What the transcoder cannot do: HTTP statuses of the server's choice, strict JSON bodies, 405, OPTIONS, HEAD.
--
-- Above this stand `utf8`, `json_keys`, `new_matcher`, and what is rendered from the contract: BINDINGS and SHAPES.
-- Handles of headers die when body() yields: take them again after it.

local CALLERS_ID, REQUEST_ID = "x-plinth-callers-request-id", "x-request-id"
local KEYS, STATUS, LOCAL = "x-plinth-json-keys", "x-http-status", "x-plinth-local-reply"
local LIMIT = "x-plinth-limit"
local METADATA = "plinth.edge"
local GRPC_CODES = {[400] = 3, [404] = 5, [405] = 5, [415] = 3, [500] = 13}
local NOT_REST = {"grpc-status", "grpc-message", "grpc-accept-encoding", "grpc-encoding", "grpc-status-details-bin", STATUS}
local OF_CONTENT = {"content-type", "content-length", "content-encoding"}

local bindings = new_matcher(BINDINGS)

-- Exactly what the transcoder lets pass; anything else it takes for JSON.
local function is_grpc(content_type)
  return content_type == "application/grpc" or (content_type or ""):sub(1, 17) == "application/grpc+"
end

local function is_json(content_type)
  local media_type = (content_type or ""):lower():match("^%s*([^;,%s]*)%s*;?[^,]*$")
  return media_type == "application/json" or (media_type or ""):match("^application/[%w.-]+%+json$") ~= nil
end

local function quote(text)
  return '"' .. text:gsub('[%c"\\\128-\255]', function(sign) return ("\\u%04x"):format(sign:byte()) end) .. '"'
end

local function problem(request_id, status, reason, message, field)
  local metadata = field and ('"field":' .. quote(field)) or ""
  return ('{"code":%d,"message":%s,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":%s,' ..
    '"domain":"plinth","metadata":{%s}},{"@type":"type.googleapis.com/google.rpc.RequestInfo","requestId":%s}]}'):format(
    GRPC_CODES[status], quote(message), quote(reason), metadata, quote(request_id))
end

local function refuse(handle, status, reason, message, field, allow)
  local headers = {[":status"] = tostring(status), ["content-type"] = "application/json", allow = allow}
  local request_id = handle:headers():get(REQUEST_ID) or ""
  handle:respond(headers, problem(request_id, status, reason, message, field))
end

-- The caller's request id if it is sane, which the listener has put aside; otherwise Envoy's own stays.
local function take_request_id(headers)
  local id = headers:get(CALLERS_ID)
  if not id then return end
  headers:remove(CALLERS_ID)
  if #id <= 128 and id:find("^[%w._-]+$") then headers:replace(REQUEST_ID, id) end
end

local function refuse_path(handle, method, path)
  local allow = bindings:allow(path)
  if not allow then
    refuse(handle, 404, "ROUTE_NOT_FOUND", "Nothing answers at this path.")
  elseif method == "OPTIONS" then
    handle:respond({[":status"] = "204", allow = allow}, "")
  else
    refuse(handle, 405, "ROUTE_NOT_FOUND", "This path does not answer " .. method .. ".", nil, allow)
  end
end

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- A parameter that the binding has no place for: fields that the path or the body holds are none (google/api/http.proto),
-- but the transcoder would let them override the path.
local function misplaced_parameter(binding, path)
  local query = path:match("%?(.*)$")
  if not query then return nil end
  for parameter in query:gmatch("[^&]+") do
    local name = unescape(parameter:match("^[^=]*"))
    if binding.whole or (binding.taken and binding.taken[name:match("^[^.]*")]) then return name end
  end
  return nil
end

-- The same for the body: what the path holds is no part of it.
local function misplaced_key(binding, keys)
  if not (binding.whole and binding.taken) then return nil end
  for key in keys:gmatch("[^,]+") do
    if binding.taken[key] then return key end
  end
  return nil
end

-- Reads a JSON body and tells the server its keys. An empty body counts as `{}`.
local function read_json(handle, binding, content_type, encoding)
  local body = handle:body(true)
  local text = body:length() > 0 and body:getBytes(0, body:length()) or nil
  if text and (encoding or not is_json(content_type)) then
    return refuse(handle, 415, "CONTENT_TYPE_UNSUPPORTED", "The body has to be application/json.")
  end
  if not text then body:setBytes("{}") end
  local keys, fault, field = json_keys.keys(text or "{}", SHAPES[binding.shape], SHAPES)
  if not keys then return refuse(handle, 400, "MALFORMED", fault, field) end
  local key = misplaced_key(binding, keys)
  if key then return refuse(handle, 400, "UNKNOWN_FIELD", "The path says this already.", key) end
  handle:headers():replace(KEYS, keys)
end

-- A binding without a body: the transcoder would read one nevertheless.
local function refuse_body(handle)
  local body = handle:body()
  if body and body:length() > 0 then refuse(handle, 400, "MALFORMED", "This call takes no body.") end
end

-- The server would answer 500 to a deadline that it cannot read.
local function drop_bad_timeout(headers)
  local timeout = headers:get("grpc-timeout")
  if timeout and not (#timeout <= 9 and timeout:find("^%d+[HMSmun]$")) then headers:remove("grpc-timeout") end
end

local function on_request(handle)
  local headers = handle:headers()
  take_request_id(headers)
  local content_type = headers:get("content-type")
  if is_grpc(content_type) then return end
  -- CONNECT has no path.
  local method, path = headers:get(":method"), headers:get(":path") or "/"
  -- Text that is not UTF-8 would fail in the server's parser, which answers 500.
  if utf8.fault(unescape(path)) then return refuse(handle, 400, "MALFORMED", "The path or query is not UTF-8.") end
  local binding = bindings:find(method, path)
  if not binding then return refuse_path(handle, method, path) end
  local parameter = misplaced_parameter(binding, path)
  if parameter then return refuse(handle, 400, "UNKNOWN_FIELD", "There is no such parameter.", parameter) end
  if method == "HEAD" then handle:streamInfo():dynamicMetadata():set(METADATA, "head", true) end
  drop_bad_timeout(headers)
  if binding.body == "json" then
    read_json(handle, binding, content_type, headers:get("content-encoding"))
  elseif not binding.body then
    refuse_body(handle)
  end
end

-- Envoy lets a request pass when its script fails; nothing may pass unread.
function envoy_on_request(handle)
  local ok, fault = pcall(on_request, handle)
  if ok then return end
  handle:logErr("plinth edge.lua: " .. tostring(fault))
  refuse(handle, 500, "INTERNAL", "Something went wrong on our side.")
end

local function is_head(handle)
  local metadata = handle:streamInfo():dynamicMetadata():get(METADATA)
  return metadata ~= nil and metadata["head"] == true
end

local function set_cache_control(headers, content_type)
  if content_type:sub(1, 17) == "text/event-stream" then
    headers:replace("cache-control", "no-cache")
    headers:replace("x-accel-buffering", "no")
  elseif headers:get("etag") and not headers:get("cache-control") then
    headers:replace("cache-control", "private, no-cache")
  end
end

-- The transcoder says in words which parameter it does not know; say it as the server would.
local function name_unknown_parameter(handle)
  local body = handle:body()
  local text = body and body:getBytes(0, body:length()) or ""
  local name = text:match('Could not find field \\"(.-)\\" in the type')
  local request_id = text:match('"requestId":"([%w._-]*)"') or ""
  if name then body:setBytes(problem(request_id, 400, "UNKNOWN_FIELD", "There is no such parameter.", name)) end
end

-- HTTP/1.1 would send the body of a HEAD, and the client would take it for the next response. Its length stays.
local function empty_head(handle, length)
  handle:body(true):setBytes("")
  if length then handle:headers():replace("content-length", length) end
end

local function empty(handle)
  handle:body(true):setBytes("")
  local headers = handle:headers()
  for _, name in ipairs(OF_CONTENT) do headers:remove(name) end
end

-- The server sends its headers as trailers: sending them ahead of the answer would cost it a second operation per call,
-- and unary answers have been collected whole by the transcoder anyway, which is when they have a length; the compressor
-- takes it away.
local function take_trailers(handle, headers)
  if not (headers:get("content-length") or headers:get("content-encoding")) or headers:get(LOCAL) then return headers end
  handle:body()
  local trailers = handle:trailers()
  headers = handle:headers()
  if not trailers then return headers end
  local names = {}
  for name, value in pairs(trailers) do
    names[#names + 1] = name
    if name:sub(1, 5) ~= "grpc-" then headers:replace(name, value) end
  end
  for _, name in ipairs(names) do trailers:remove(name) end
  return headers
end

-- The rate limit that the server tells in one trailer, as the headers that clients know (draft-ietf-httpapi-ratelimit-headers,
-- and the older ones).
local function show_limit(headers)
  local told = headers:get(LIMIT)
  if not told then return end
  headers:remove(LIMIT)
  local class, calls, period, remaining, reset = told:match("^([%w_]+);(%d+);(%d+);(%d+);(%d+)$")
  if not class then return end
  headers:replace("x-ratelimit-limit", calls)
  headers:replace("x-ratelimit-remaining", remaining)
  headers:replace("x-ratelimit-reset", reset)
  headers:replace("ratelimit-policy", ('"%s";q=%s;w=%s'):format(class, calls, period))
  headers:replace("ratelimit", ('"%s";r=%s;t=%s'):format(class, remaining, reset))
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local content_type = headers:get("content-type") or ""
  if is_grpc(content_type) then return end
  headers = take_trailers(handle, headers)
  local status = headers:get(STATUS)
  if status and status:find("^[2-5]%d%d$") then headers:replace(":status", status) end
  for _, name in ipairs(NOT_REST) do headers:remove(name) end
  show_limit(headers)
  set_cache_control(headers, content_type)
  status = headers:get(":status")
  if status == "204" or status == "304" then
    empty(handle)
  elseif is_head(handle) then
    empty_head(handle, headers:get("content-length"))
  elseif headers:get(LOCAL) then
    headers:remove(LOCAL)
    name_unknown_parameter(handle)
  end
end
