-- One request over and over, and the result as one line of JSON.
-- Arguments: method, path, Content-Type or "-", Accept, file of the body or "-",
-- Inference-Header-Content-Length or "-".
local data

function init(args)
  local headers = { ["Accept"] = args[4] }
  local body = nil
  if args[3] ~= "-" then headers["Content-Type"] = args[3] end
  if args[6] ~= "-" then headers["Inference-Header-Content-Length"] = args[6] end
  if args[5] ~= "-" then
    local file = assert(io.open(args[5], "rb"))
    body = file:read("*a")
    file:close()
  end
  data = wrk.format(args[1], args[2], headers, body)
end

function request()
  return data
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "took_us": %d, "p50_us": %d, "p99_us": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
