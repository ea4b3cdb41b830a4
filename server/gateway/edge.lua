-- What the transcoder cannot do: HTTP statuses of the server's choice, strict JSON bodies, 405, OPTIONS, HEAD.
--
-- Above this stand the other files of this folder, and what is rendered from the contract: BINDINGS, SHAPES, PARAMETERS and STATIC.

-- LuaJIT forgets all that it compiled when this is used up: with its defaults, reading the keys of 2 KB took half as long again.
jit.opt.start("maxtrace=8000", "maxmcode=8192", "sizemcode=256")
-- A collection walks all that lives, which is mostly what was rendered: not before ten times as much has been made since.
-- With the default of twice as much it took a quarter of the script's time.
collectgarbage("setpause", 1000)

-- Envoy lets a request pass when its script fails; nothing may pass unread.
function envoy_on_request(handle)
  local ok, fault = pcall(on_request, handle)
  if ok then return end
  handle:logErr("plinth requests.lua: " .. tostring(fault))
  problems.refuse(handle, 500, "INTERNAL", "Something went wrong on our side.")
end

function envoy_on_response(handle)
  responses.on_response(handle)
end
