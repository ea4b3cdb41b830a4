-- Whether a call is gRPC's own, by its content type: exactly what the transcoder lets pass; anything else it takes for JSON.
return function(content_type)
  return content_type == "application/grpc" or (content_type or ""):sub(1, 17) == "application/grpc+"
end
