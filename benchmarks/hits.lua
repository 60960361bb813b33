-- wrk -s hits.lua URL -- METHOD PATH NAMES KEYS TAG
--
-- PATH may hold a %d: it goes round 1 to NAMES. KEYS is "sent": each request carries an Idempotency-Key of its own;
-- "unsent": the key is made and left out, so that both cost the client the same; or "none".
-- Where every request is the same, `request` stays undefined and wrk repeats the bytes without asking Lua.

function init(args)
  local method, path, names, keys, tag = args[1], args[2], tonumber(args[3]), args[4], args[5]
  wrk.method, wrk.path = method, path
  if method == "POST" then wrk.body = "" end -- for "content-length: 0", which every real client sends
  if names > 1 then wrk.path = path:format(1) end
  if keys ~= "none" then keyed(tag, keys == "sent") elseif path:find("%%d") then cycle(path, names) end
end

function cycle(path, names)
  local asks, at = {}, 0
  for i = 1, names do asks[i] = wrk.format(nil, path:format(i)) end
  request = function()
    at = at % names + 1
    return asks[at]
  end
end

function keyed(tag, sent)
  local head, tail = wrk.format():match("^(.-\r\n)(.*)$")
  local n = 0
  request = function()
    n = n + 1
    local line = "Idempotency-Key: " .. tag .. "-" .. n .. "\r\n"
    return head .. (sent and line or "") .. tail
  end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\nDONE {"requests": %d, "us": %d, "socket_errors": %d, "refused": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(99)))
end
