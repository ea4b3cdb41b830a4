-- Calls of Connect (connectrpc.com/docs/protocol): unary ones with JSON or protobuf, POSTed to the path of gRPC.

local PATHS, CALL = "/plinth.", "x-plinth-connect"
local VERSION, TIMEOUT = "connect-protocol-version", "connect-timeout-ms"
-- What grpc-timeout can say in milliseconds.
local MOST_MILLISECONDS = 99999999
local INVALID_ARGUMENT, UNIMPLEMENTED = 3, 12
local sub = string.sub

local function is_call(method, path)
  return method == "POST" and sub(path, 1, #PATHS) == PATHS
end

-- Whether a body is protobuf or JSON; nil for others. The routes that enable the filters ask the same (connect.py).
local function encoding_of(content_type)
  if content_type == "application/proto" then return "proto" end
  return sub(content_type or "", 1, 16) == "application/json" and "json" or nil
end

-- From here on, whatever is refused is refused as Connect has it.
local function mark(handle, headers, encoding)
  headers:replace(CALL, encoding)
  responses.note_connect(handle, encoding)
end

-- Passes the deadline on as gRPC has it. Whether it is one.
local function take_timeout(headers)
  local timeout = headers:get(TIMEOUT)
  if not timeout then return true end
  if #timeout > 10 or not timeout:find("^%d+$") then return false end
  local milliseconds = tonumber(timeout)
  local is_long = milliseconds > MOST_MILLISECONDS
  headers:replace("grpc-timeout", ("%d%s"):format(is_long and milliseconds / 1000 or milliseconds, is_long and "S" or "m"))
  headers:remove(TIMEOUT)
  return true
end

-- The status is one that clients of Connect take for the same code when they do not read the body, as those of streams do not.
local function refuse(handle, status, code, reason, message)
  local request_id = handle:headers():get("x-request-id") or ""
  local body = connect_errors.own_json(handle, code, reason, message, nil, request_id)
  handle:respond({[":status"] = status, ["content-type"] = "application/json"}, body)
end

-- The binding that a call asks for and the encoding of its body; nil if it was refused.
local function take(handle, headers, path, content_type)
  local encoding = encoding_of(content_type)
  mark(handle, headers, encoding or "json")
  local binding = not path:find("[^%w/_.]") and bindings:find("POST", path)
  if not binding then
    refuse(handle, "404", UNIMPLEMENTED, "ROUTE_NOT_FOUND",
      "There is no such RPC that Connect can call: it calls unary RPCs, by their path in gRPC.")
  elseif not encoding then
    refuse(handle, "415", INVALID_ARGUMENT, "CONTENT_TYPE_UNSUPPORTED",
      "A unary call of Connect has to be application/proto or application/json.")
  elseif headers:get("content-encoding") and headers:get("content-encoding") ~= "identity" then
    refuse(handle, "415", UNIMPLEMENTED, "CONTENT_TYPE_UNSUPPORTED",
      "Bodies of calls are not taken compressed: send no Content-Encoding.")
  elseif (headers:get(VERSION) or "1") ~= "1" then
    refuse(handle, "400", INVALID_ARGUMENT, "MALFORMED", "connect-protocol-version has to be 1.")
  elseif not take_timeout(headers) then
    refuse(handle, "400", INVALID_ARGUMENT, "MALFORMED", "connect-timeout-ms is no deadline: up to ten digits.")
  else
    -- The bridge asks for the version, which a client may leave out. A body that is not compressed has no encoding.
    headers:replace(VERSION, "1")
    headers:remove("content-encoding")
    return binding, encoding
  end
  return nil
end

return {is_call = is_call, mark = mark, take = take}
