-- What the gateway answers by itself, in the form that the server's problems have.

local REQUEST_ID, CONNECT = "x-request-id", "x-plinth-connect"
local GRPC_CODES = {[400] = 3, [401] = 16, [404] = 5, [405] = 5, [413] = 3, [415] = 3, [429] = 8, [431] = 3, [500] = 13}

local function quote(text)
  return '"' .. text:gsub('[%c"\\\128-\255]', function(sign) return ("\\u%04x"):format(sign:byte()) end) .. '"'
end

local function json(request_id, status, reason, message, metadata)
  local pairs_of = {}
  for name, value in pairs(metadata or {}) do pairs_of[#pairs_of + 1] = quote(name) .. ":" .. quote(value) end
  table.sort(pairs_of)
  return ('{"code":%d,"message":%s,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":%s,' ..
    '"domain":"plinth","metadata":{%s}},{"@type":"type.googleapis.com/google.rpc.RequestInfo","requestId":%s}]}'):format(
    GRPC_CODES[status], quote(message), quote(reason), table.concat(pairs_of, ","), quote(request_id))
end

local function refuse(handle, status, reason, message, metadata, allow, wait)
  local headers = {[":status"] = tostring(status), ["content-type"] = "application/json", allow = allow}
  if wait then headers["retry-after"] = ("%d"):format(wait) end
  if status == 401 then headers["www-authenticate"] = 'Bearer realm="plinth"' end
  local request_id = handle:headers():get(REQUEST_ID) or ""
  if handle:headers():get(CONNECT) then
    local body = connect_errors.own_json(handle, GRPC_CODES[status], reason, message, metadata, request_id, wait)
    return handle:respond(headers, body)
  end
  handle:respond(headers, json(request_id, status, reason, message, metadata))
end

local function refuse_grpc(handle, code, message)
  handle:respond({[":status"] = "200", ["grpc-status"] = tostring(code), ["grpc-accept-encoding"] = "identity,deflate,gzip"},
    message)
end

return {json = json, quote = quote, refuse = refuse, refuse_grpc = refuse_grpc}
