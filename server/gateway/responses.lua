-- Responses, after they were transcoded: the server's status and headers, the transcoder's own words, and HEAD.
--
-- Handles of headers die when body() yields: take them again after it.

local STATUS, LOCAL, LIMIT = "x-http-status", "x-plinth-local-reply", "x-plinth-limit"
-- The length of a file that is sent in pieces, of which the transcoder knows none.
local LENGTH = "x-plinth-content-length"
local METADATA = "plinth.edge"
local NOT_REST = {"grpc-status", "grpc-message", "grpc-accept-encoding", "grpc-encoding", "grpc-status-details-bin", STATUS, LIMIT, LENGTH}
local OF_CONTENT = {"content-type", "content-length", "content-encoding"}

-- What a request tells its response. Few do, so that it is counted how many still have to be looked for; one that ends without
-- a response is looked for in vain.
local waiting, NOTHING = 0, {}
local function note(handle, name, value)
  waiting = waiting + 1
  handle:streamInfo():dynamicMetadata():set(METADATA, name, value)
end

local function note_head(handle)
  note(handle, "head", true)
end

-- The credential of this name (see strangers.lua) came with a large body.
local function note_large(handle, name)
  note(handle, "large", name)
end

-- The call is one of Connect, with this encoding.
local function note_connect(handle, encoding)
  note(handle, "connect", encoding)
end

local function notes_of(handle)
  if waiting == 0 then return NOTHING end
  local notes = handle:streamInfo():dynamicMetadata():get(METADATA)
  if notes then waiting = waiting - 1 end
  return notes or NOTHING
end

local function set_cache_control(headers, content_type)
  if content_type:sub(1, 17) == "text/event-stream" then
    headers:replace("cache-control", "no-cache")
    headers:replace("x-accel-buffering", "no")
  elseif headers:get("etag") and not headers:get("cache-control") then
    headers:replace("cache-control", "private, no-cache")
  end
end

local TYPES = {
  TYPE_STRING = "text", TYPE_BYTES = "base64", TYPE_BOOL = "true or false", TYPE_DOUBLE = "a number", TYPE_FLOAT = "a number",
  TYPE_INT32 = "a whole number of 32 bits", TYPE_SINT32 = "a whole number of 32 bits",
  TYPE_UINT32 = "a whole number of 32 bits, not negative", TYPE_INT64 = "a whole number of 64 bits",
  TYPE_SINT64 = "a whole number of 64 bits", TYPE_UINT64 = "a whole number of 64 bits, not negative",
  ["type.googleapis.com/google.protobuf.Timestamp"] = "a time, as RFC 3339 has it",
  ["type.googleapis.com/google.protobuf.Duration"] = "a duration in seconds, such as `3.5s`",
}

-- What a field that holds an enum has to be; nil for other fields.
local function enum_words(shape, path)
  local field
  for part in path:gmatch("[^.]+") do
    field = SHAPES[shape] and SHAPES[shape][part:match("^[^%[]*")]
    if not field then return nil end
    shape = field.below
  end
  return field and field.enum and "one of " .. ENUMS[field.enum].told
end

-- What the transcoder says of a value, in our words: the field as the caller wrote it, and what it has to be.
local function describe(text, binding)
  local path, rest = text:match("^([%w_.%[%]]+): (.*)$")
  if not path then return text, nil end
  local below = binding and binding.inner and path:match("^" .. binding.inner .. "%.(.*)$")
  local field = names.camel(below or path)
  local value, kind = rest:match("^invalid value (.*) for type ([%w_./]+)$")
  if not value then return ("`%s`: %s"):format(field, rest), field end
  local words = TYPES[kind] or (binding and enum_words(binding.shape, below or path)) or "the name of one of its values"
  -- Of times it tells in its own words what is wrong, and not what was sent.
  local sent = value:find("^Field ") and "" or ", not " .. value:sub(1, 100)
  return ("`%s` has to be %s%s."):format(field, words, sent), field
end

-- Words an answer that the gateway's own filters gave to a call of Connect: the transcoder's are about the body, and a status
-- says all of the others.
local function answer_connect(handle, headers, refused)
  local request_id, method, path = refused:match("^(%S*) (%S*) (.*)$")
  local status = tonumber(headers:get(":status"))
  local reply = LOCAL_REPLIES[status] or (status >= 500 and LOCAL_REPLIES[500]) or LOCAL_REPLIES[400]
  local message, metadata = reply.message, reply.metadata
  if status == 400 then
    local body = handle:body()
    local field
    message, field = describe(body and body:getBytes(0, body:length()) or "", bindings:find(method, path))
    metadata = {field = field}
  end
  headers = handle:headers()
  headers:replace("content-type", "application/json")
  local text = connect_errors.own_json(handle, reply.code, reply.reason, message, metadata, request_id, reply.wait)
  handle:body(true):setBytes(text)
end

-- The trailers of a transcoded answer as Connect has them. The bridge does this for protobuf.
local function show_trailers(handle)
  handle:body()
  local trailers, headers = handle:trailers(), handle:headers()
  local names = {}
  for name, value in pairs(trailers or {}) do
    names[#names + 1] = name
    if name:sub(1, 5) ~= "grpc-" then headers:add("trailer-" .. name, value) end
  end
  for _, name in ipairs(names) do trailers:remove(name) end
end

local function on_connect(handle, headers, notes)
  local refused = headers:get(LOCAL)
  if headers:get(":status") == "401" and notes["large"] then strangers.note(notes["large"]) end
  for _, name in ipairs(NOT_REST) do headers:remove(name) end
  if refused then
    headers:remove(LOCAL)
    answer_connect(handle, headers, refused)
  elseif notes["connect"] == "json" then
    show_trailers(handle)
  end
end

-- The transcoder refuses in words; say it as the server would.
local function answer_for_transcoder(handle, request_id, method, path)
  local body = handle:body()
  local text = body and body:getBytes(0, body:length()) or ""
  local message, field = describe(text, bindings:find(method, path))
  body:setBytes(problems.json(request_id, 400, "MALFORMED", message, {field = field}))
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

-- Calls that run on asyncio send their headers as trailers: sending them ahead of the answer would cost a second operation
-- per call, and unary answers have been collected whole by the transcoder anyway, which is when they have a length; the
-- compressor takes it away. Gives the headers, and the status and the limit that the server told. Waiting for the trailers
-- costs as much again as all else here, so it is done only where the headers tell neither.
local function take_trailers(handle, headers)
  if not (headers:get("content-length") or headers:get("content-encoding")) or headers:get(LOCAL) then return headers end
  handle:body()
  local trailers = handle:trailers()
  headers = handle:headers()
  if not trailers then return headers end
  local taken, status, limit = {}, nil, nil
  for name, value in pairs(trailers) do
    taken[#taken + 1] = name
    if name == STATUS then
      status = value
    elseif name == LIMIT then
      limit = value
    elseif name:sub(1, 5) ~= "grpc-" then
      headers:replace(name, value)
    end
  end
  for _, name in ipairs(taken) do trailers:remove(name) end
  return headers, status, limit
end

-- The rate limit that the server tells in one trailer, as the headers that clients know (draft-ietf-httpapi-ratelimit-headers,
-- and the older ones).
local function show_limit(headers, told)
  local class, calls, period, remaining, reset = told:match("^([%w_]+);(%d+);(%d+);(%d+);(%d+)$")
  if not class then return end
  headers:replace("x-ratelimit-limit", calls)
  headers:replace("x-ratelimit-remaining", remaining)
  headers:replace("x-ratelimit-reset", reset)
  headers:replace("ratelimit-policy", '"' .. class .. '";q=' .. calls .. ";w=" .. period)
  headers:replace("ratelimit", '"' .. class .. '";r=' .. remaining .. ";t=" .. reset)
end

-- A response with a limit and no status of the server, as most have.
local function show_plain(headers, content_type, limit)
  for _, name in ipairs(NOT_REST) do headers:remove(name) end
  show_limit(headers, limit)
  set_cache_control(headers, content_type)
end

local function on_response(handle)
  local headers = handle:headers()
  local content_type = headers:get("content-type") or ""
  if is_grpc(content_type) then return end
  local status, limit, notes = headers:get(STATUS), headers:get(LIMIT), notes_of(handle)
  if limit and not status and notes == NOTHING then
    return show_plain(headers, content_type, limit)
  end
  if notes["connect"] then return on_connect(handle, headers, notes) end
  if not status and not limit then headers, status, limit = take_trailers(handle, headers) end
  if status and status:find("^[2-5]%d%d$") then headers:replace(":status", status) end
  local length = status and headers:get(LENGTH)
  if length then headers:replace("content-length", length) end
  for _, name in ipairs(NOT_REST) do headers:remove(name) end
  if limit then show_limit(headers, limit) end
  set_cache_control(headers, content_type)
  status = headers:get(":status")
  local refused = headers:get(LOCAL)
  if status == "401" and notes["large"] then strangers.note(notes["large"]) end
  if refused then
    headers:remove(LOCAL)
    local request_id, method, path = refused:match("^(%S*) (%S*) (.*)$")
    answer_for_transcoder(handle, request_id, method, path)
  elseif status == "204" or status == "304" then
    empty(handle)
  elseif notes["head"] then
    empty_head(handle, headers:get("content-length"))
  end
end

return {on_response = on_response, note_head = note_head, note_large = note_large, note_connect = note_connect}
