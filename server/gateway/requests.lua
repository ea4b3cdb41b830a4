-- Requests, before they are transcoded: what the transcoder would take, drop or bend without a word is refused in words.
--
-- Handles of headers die when body() yields: take them again after it.

local CALLERS_ID, REQUEST_ID = "x-plinth-callers-request-id", "x-request-id"
local CALLERS_TIMEOUT, CALLERS_ENCODING = "x-plinth-callers-timeout", "x-plinth-callers-encoding"
-- The server sends no file for it.
local HEAD = "x-plinth-head"
local KEYS, HEADER_BYTES = "x-plinth-json-keys", "x-plinth-header-bytes"
-- What gRPC's core can decompress.
local ENCODINGS = {identity = true, gzip = true, deflate = true}
-- What the server can inflate where a call takes it, by what Content-Encoding says.
local CONTENT_ENCODING = "x-plinth-content-encoding"
local INFLATED = {gzip = "gzip", ["x-gzip"] = "gzip", deflate = "deflate", br = "br", zstd = "zstd"}
local BYTE_ORDER_MARK = "\239\187\191"
-- How much of a path that nobody answers is told.
local LONGEST_PATH = 200
-- Origins that have been told of in the log.
local MOST_ORIGINS, LONGEST_ORIGIN = 100, 200
local refused_origins, count_of_origins = {}, 0
-- What a site has beside its pages.
local SITE_FILES = {["/sitemap.xml"] = "/sitemap.xml", ["/robots.txt"] = "/robots.txt"}
local NO_PARAMETER = "There is no such parameter."
local refuse = problems.refuse
local byte, find = string.byte, string.find
local SLASH = 47

-- The caller's request id if it is sane, which the listener has put aside; otherwise Envoy's own stays.
local function take_request_id(headers)
  local id = headers:get(CALLERS_ID)
  if id and #id <= 128 and id:find("^[%w._-]+$") then headers:replace(REQUEST_ID, id) end
end

-- What gRPC's core reads of a caller's headers is read here first: the core keeps a value that it cannot parse with the
-- connection, which all callers share, and answers 500 to whoever comes next. The listener has put both aside.
local function take_timeout(headers)
  local timeout = headers:get(CALLERS_TIMEOUT)
  if not timeout then return true end
  local is_sane = #timeout <= 9 and timeout:find("^%d+[HMSmun]$") ~= nil
  if is_sane then headers:replace("grpc-timeout", timeout) end
  return is_sane
end

local function take_encoding(headers)
  local encoding = headers:get(CALLERS_ENCODING)
  if not encoding then return true end
  if ENCODINGS[encoding] then headers:replace("grpc-encoding", encoding) end
  return ENCODINGS[encoding] ~= nil
end

local function are_too_large(headers)
  local bytes = headers:get(HEADER_BYTES)
  return bytes and tonumber(bytes) > MAX_HEADER_BYTES
end

local function refuse_headers(handle, headers, content_type)
  local message = ("The headers are larger than %d bytes, the most that is taken."):format(MAX_HEADER_BYTES)
  if is_grpc(content_type) then return problems.refuse_grpc(handle, 8, message) end
  if connect_calls.is_call(headers:get(":method"), headers:get(":path") or "/") then connect_calls.mark(handle, headers, "json") end
  refuse(handle, 431, "TOO_LARGE", message, {limit_bytes = ("%d"):format(MAX_HEADER_BYTES)})
end

local function on_grpc(handle, headers)
  if not take_timeout(headers) then
    problems.refuse_grpc(handle, 3, "grpc-timeout is no deadline: up to eight digits and one of H, M, S, m, u, n.")
  elseif not take_encoding(headers) then
    problems.refuse_grpc(handle, 12, "This grpc-encoding is not supported: send identity, gzip or deflate.")
  end
end

-- Says in the log, once, which setting would let an origin call whose preflight the cors filter has passed on.
local function tell_origin(handle, headers)
  local origin = headers:get("origin")
  if not origin or not headers:get("access-control-request-method") or #origin > LONGEST_ORIGIN then return end
  if refused_origins[origin] or count_of_origins == MOST_ORIGINS then return end
  refused_origins[origin], count_of_origins = true, count_of_origins + 1
  handle:logWarn("PLINTH_CORS_ORIGINS does not name " .. problems.quote(origin) .. ", so its pages may not call")
end

-- A path as an error names it: cut, and without its query, which may hold credentials.
local function told(path)
  local plain = path:match("^[^?#]*")
  return #plain > LONGEST_PATH and plain:sub(1, LONGEST_PATH) .. "..." or plain
end

local function refuse_path(handle, method, path)
  local place = told(path)
  local allow = bindings:allow(path) or STATIC[place] and "GET, HEAD, OPTIONS"
  if not allow then
    local hint = find(path, "/api/", 1, true) == 1 and "" or " The reference is at /docs."
    refuse(handle, 404, "ROUTE_NOT_FOUND", ("Nothing answers at `%s`.%s"):format(place, hint), {path = place})
  elseif method == "OPTIONS" then
    tell_origin(handle, handle:headers())
    handle:respond({[":status"] = "204", allow = allow}, "")
  else
    refuse(handle, 405, "ROUTE_NOT_FOUND", "This path does not answer " .. method .. ".", nil, allow)
  end
end

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- Whether a path has no query and nothing that has to be looked at twice, as most have. This is one pass, and what other paths
-- are looked at for takes six.
local function is_plain(path)
  return not find(path, "[^%w/_-]") and not find(path, "//", 1, true) and byte(path, -1) ~= SLASH
end

-- Whether a path has an empty segment or one of dots, which others would resolve to a path that nobody wrote. A custom verb
-- (`pages:batchGet`) may follow a segment.
local function is_bent(path)
  return path:find("//", 1, true) ~= nil or path:find("/%.%.?%f[%z/:]") ~= nil or (#path > 1 and path:sub(-1) == "/")
    or path:find("/:", 1, true) ~= nil
end

-- Drops the slash at the end of a path whose binding takes a raw body: the form of such an address is its caller's choice.
local function drop_slash(headers, method, path)
  if path:sub(-1) ~= "/" and not path:find("/?", 1, true) then return path end
  local plain, query = path:match("^([^?]*[^/?])/(%?.*)$")
  if not plain then plain, query = path:match("^([^?]*[^/?])/$"), "" end
  local binding = plain and bindings:find(method, plain)
  if not binding or binding.body ~= "raw" then return path end
  headers:replace(":path", plain .. query)
  return plain .. query
end

-- Whether the path is one that no binding may be looked up for; answers those that are not.
local function refuses_form(handle, path)
  local plain, query = path:match("^([^?]*)(.*)$")
  if is_bent(plain) then
    refuse(handle, 404, "ROUTE_NOT_FOUND", "Nothing answers at a path with an empty segment, `.` or `..`.")
    return true
  end
  if not path:find("[%%\128-\255]") then return false end
  local decoded = unescape(plain)
  if is_bent(decoded) then
    refuse(handle, 404, "ROUTE_NOT_FOUND", "Nothing answers at a path with an empty segment, `.` or `..`.")
  elseif plain:lower():find("%%2f") or plain:lower():find("%%5c") then
    refuse(handle, 400, "MALFORMED", "A path holds no encoded slash.")
  elseif not utf8.is_valid(decoded) or not utf8.is_valid(unescape(query)) then
    -- It would fail in the server's parser, which answers 500.
    refuse(handle, 400, "MALFORMED", "The path or query is not UTF-8.")
  else
    return false
  end
  return true
end

-- What the value of a parameter has to be if it holds an enum and has no value of it. The transcoder would leave the field
-- unset (envoy#22966).
local function wrong_enum(request, field, parameter)
  local enum = ENUM_PARAMETERS[request] and ENUMS[ENUM_PARAMETERS[request][field]]
  local value = enum and unescape(parameter:match("=(.*)$") or "")
  if not enum or value == "" or enum[value:upper():gsub("-", "_")] then return nil end
  return enum.told
end

-- What is wrong with the parameters of a query: the reason, the message, the parameter, and a name that is near. Fields that
-- the path or the body holds are no parameters (google/api/http.proto), but the transcoder would let them override the
-- path; of a field that comes twice it keeps one.
local function parameter_fault(binding, path)
  local query = path:match("%?(.*)$")
  if not query then return nil end
  local parameters, seen = PARAMETERS[binding.request], {}
  for parameter in query:gmatch("[^&]+") do
    local name = unescape(parameter:match("^[^=]*")):gsub("+", " ")
    local field = names.camel(name)
    local first = field:match("^[^.]*")
    if binding.whole or (binding.taken and binding.taken[first]) then return "UNKNOWN_FIELD", NO_PARAMETER, name end
    if parameters[first] == nil then
      local near = names.nearest(first, parameters, binding.taken)
      return "UNKNOWN_FIELD", NO_PARAMETER .. (near and (" Did you mean `%s`?"):format(near) or ""), name, near
    end
    if seen[field] and not parameters[first] then return "MALFORMED", "A parameter appears twice.", name end
    local told = wrong_enum(binding.request, field, parameter)
    if told then return "MALFORMED", ("`%s` has to be one of %s."):format(name, told), name end
    seen[field] = true
  end
  return nil
end

-- Drops the parameters that the call does not have, where its policy says so.
local function drop_unknown(headers, binding, path)
  local plain, query = path:match("^([^?]*)%?(.*)$")
  if not query then return path end
  local kept = {}
  for parameter in query:gmatch("[^&]+") do
    if binding.known[names.camel((unescape(parameter:match("^[^=]*")):gsub("+", " ")))] then kept[#kept + 1] = parameter end
  end
  path = #kept > 0 and plain .. "?" .. table.concat(kept, "&") or plain
  headers:replace(":path", path)
  return path
end

local function refuses_parameters(handle, binding, path)
  local reason, fault, name, near = parameter_fault(binding, path)
  if not reason then return false end
  refuse(handle, 400, reason, fault, {field = name, nearest = near})
  return true
end

-- The same for the body: what the path holds is no part of it.
local function misplaced_key(binding, keys)
  if not (binding.whole and binding.taken) then return nil end
  for key in keys:gmatch("[^,]+") do
    if binding.taken[names.camel(key)] then return key end
  end
  return nil
end

-- Why a body of this type is not read, or nil. Other types that end in +json say what JSON means; a merge patch would have
-- to merge what is inside free-form fields, which here are replaced whole.
local function type_fault(content_type, encoding)
  local media_type, rest = (content_type or ""):lower():match("^%s*([^;,%s]*)%s*(;?[^,]*)$")
  local is_json = media_type == "application/json" or (media_type or ""):match("^application/[%w.-]+%+json$") ~= nil
  if encoding or not is_json then return "The body has to be application/json." end
  if media_type:match("patch%+json$") then
    return "Patch documents are not taken. Send application/json: its keys are what is set, and null clears."
  end
  local charset = rest:match("charset%s*=%s*\"?([%w_-]+)")
  if charset and charset ~= "utf-8" and charset ~= "utf8" then return "The body has to be UTF-8." end
  return nil
end

local function refuse_size(handle, bytes)
  refuse(handle, 413, "TOO_LARGE", ("The body is larger than %d bytes, the most that this call takes."):format(bytes),
    {limit_bytes = ("%d"):format(bytes)})
end

local function content_length(headers)
  local length = headers:get("content-length")
  return length and tonumber(length)
end

-- Refuses a body by its length. No bytes are parsed before it is known that they are no more than the contract asks for.
local function refuses_size(handle, headers, binding, length)
  if not length then return false end
  if length > binding.limit then
    refuse_size(handle, binding.limit)
    return true
  end
  if binding.guarded and length > UNPROVEN_BYTES and not headers:get("authorization") and not headers:get("x-api-key") then
    refuse(handle, 401, "CREDENTIALS_MISSING",
      "This call needs credentials: send `Authorization: Bearer <access token or API key>`.")
    return true
  end
  return false
end

-- Refuses a large body from where one was just sent in vain; otherwise has the response tell whether this one was.
local function refuses_stranger(handle, headers, binding, length)
  if not binding.guarded or length <= UNPROVEN_BYTES then return false end
  local address = headers:get("x-envoy-external-address")
  if not address then return false end
  local name = strangers.name_of(address, headers:get("authorization") or headers:get("x-api-key") or "")
  local wait = strangers.wait(name)
  if wait then
    refuse(handle, 429, "RATE_LIMITED", ("Large bodies came from here with credentials that are not valid: the " ..
      "next one may come in %d s."):format(wait), nil, nil, wait)
    return true
  end
  responses.note_large(handle, name)
  return false
end

-- Waits for the whole body. Gives it and its length, or nil if it was refused by its size.
local function read_body(handle, headers, binding)
  local told = content_length(headers)
  if told and told > READ_BYTES and refuses_size(handle, headers, binding, told) then return nil end
  local body = handle:body(true)
  local length = body:length()
  headers = handle:headers()
  if refuses_size(handle, headers, binding, length) or refuses_stranger(handle, headers, binding, length) then return nil end
  return body, length
end

-- Why a raw body in this form is not taken, or nil.
local function raw_fault(headers, binding, content_type)
  local encoding = headers:get("content-encoding")
  if encoding and not (binding.inflates and INFLATED[encoding:lower()] and headers:getNumValues("content-encoding") == 1) then
    return "This call does not take such a Content-Encoding."
  end
  if not binding.types then return nil end
  local media_type = (content_type or ""):lower():match("^%s*([^;,%s]*)") or ""
  if binding.types[media_type] or binding.types[media_type:gsub("/.*$", "/*")] then return nil end
  return "This call takes " .. binding.told .. "."
end

-- Reads a raw body, which the server gets as it is, and tells the server how it is encoded.
local function read_raw(handle, headers, binding, content_type)
  if not read_body(handle, headers, binding) then return end
  headers = handle:headers()
  local fault = raw_fault(headers, binding, content_type)
  if fault then return refuse(handle, 415, "CONTENT_TYPE_UNSUPPORTED", fault) end
  local encoding = headers:get("content-encoding")
  if not encoding then return end
  headers:replace(CONTENT_ENCODING, INFLATED[encoding:lower()])
  headers:remove("content-encoding")
end

-- Refuses an upload before its first byte, as far as its headers tell. The server counts what arrives.
local function refuse_upload(handle, headers, binding)
  if refuses_size(handle, headers, binding, content_length(headers)) then return end
  if headers:get("content-encoding") then
    refuse(handle, 415, "CONTENT_TYPE_UNSUPPORTED", "This call does not take such a Content-Encoding.")
  end
end

-- Reads a JSON body and tells the server its keys. An empty body counts as `{}`.
local function read_json(handle, headers, binding, content_type)
  local encoding = headers:get("content-encoding")
  local body, length = read_body(handle, headers, binding)
  if not body then return end
  local text = length > 0 and body:getBytes(0, length) or nil
  local fault = text and type_fault(content_type, encoding)
  if fault then return refuse(handle, 415, "CONTENT_TYPE_UNSUPPORTED", fault) end
  if text and text:sub(1, 3) == BYTE_ORDER_MARK then
    text = text:sub(4)
    body:setBytes(text)
  end
  if not text then body:setBytes("{}") end
  local keys, wrong, field = json_keys.keys(text or "{}", SHAPES[binding.shape], SHAPES)
  if not keys then return refuse(handle, 400, "MALFORMED", wrong, {field = field}) end
  local key = misplaced_key(binding, keys)
  if key then return refuse(handle, 400, "UNKNOWN_FIELD", "The path says this already.", {field = key}) end
  handle:headers():replace(KEYS, keys)
end

-- A binding without a body: the transcoder would read one nevertheless.
local function refuse_body(handle, headers)
  local length = content_length(headers)
  if length == 0 then return end
  local body = not length and handle:body()
  if length or (body and body:length() > 0) then refuse(handle, 400, "MALFORMED", "This call takes no body.") end
end

-- A call of Connect. The bridge makes gRPC of protobuf, after which another route may be the call's.
local function on_connect(handle, headers, path, content_type)
  local binding, encoding = connect_calls.take(handle, headers, path, content_type)
  if not binding then return end
  if encoding == "json" then
    read_json(handle, headers, binding, content_type)
  elseif read_body(handle, headers, binding) then
    handle:clearRouteCache()
  end
end

-- The path by which a page of a tenant's site is asked for, if this is the host of one; otherwise the path as it is. Calls are
-- answered at every host.
local function at_site(headers, method, path)
  local host = (headers:get(":authority") or ""):lower():match("^([%w.-]+):?%d*$") or ""
  local is_below = #host > #SITES_SUFFIX and host:sub(-#SITES_SUFFIX) == SITES_SUFFIX
  -- An address has no letter after its last dot.
  if host == OWN_HOST or not (is_below or (HAS_CUSTOM_DOMAINS and find(host, "%.%a[%w-]*$"))) then return path end
  if (method ~= "GET" and method ~= "HEAD") or find(path, "/api/", 1, true) == 1 or find(path, "/plinth.", 1, true) == 1 then
    return path
  end
  local page = path:match("^[^?#]*"):gsub("[^%w/_.~%%-]", function(char) return ("%%%02X"):format(byte(char)) end)
  local what = SITE_FILES[page] or "/page?path=" .. page
  path = "/api/v1/published-sites/" .. host .. what
  headers:replace(":path", path)
  return path
end

local function on_request(handle)
  local headers = handle:headers()
  take_request_id(headers)
  local content_type = headers:get("content-type")
  if are_too_large(headers) then return refuse_headers(handle, headers, content_type) end
  if is_grpc(content_type) then return on_grpc(handle, headers) end
  -- CONNECT has no path.
  local method, path = headers:get(":method"), headers:get(":path") or "/"
  path = at_site(headers, method, path)
  local plain = is_plain(path)
  if not plain then
    if connect_calls.is_call(method, path) then return on_connect(handle, headers, path, content_type) end
    path = drop_slash(headers, method, path)
    if refuses_form(handle, path) then return end
  end
  local binding = bindings:find(method, path, plain)
  if not binding then return refuse_path(handle, method, path) end
  if not plain then
    if binding.known then path = drop_unknown(headers, binding, path) end
    if refuses_parameters(handle, binding, path) then return end
  end
  if method == "HEAD" then
    responses.note_head(handle)
    -- The length that is told is that of the answer as it is.
    headers:remove("accept-encoding")
    headers:replace(HEAD, "true")
  end
  take_timeout(headers)
  if binding.body == "json" then
    read_json(handle, headers, binding, content_type)
  elseif binding.body == "raw" then
    read_raw(handle, headers, binding, content_type)
  elseif binding.body == "stream" then
    refuse_upload(handle, headers, binding)
  elseif not binding.body then
    refuse_body(handle, headers)
  end
end

return on_request
