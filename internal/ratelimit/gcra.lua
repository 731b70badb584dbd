-- The function gcra of gcra.go. KEYS[1] holds "full"; ARGV is interval, burst, cost. Times are microseconds, which
-- doubles hold exactly until the year 2255. Returns wait and remaining.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window = interval * burst

local full = tonumber(redis.call('GET', KEYS[1]) or now)
full = math.min(math.max(full, now), now + window)
local wait = math.max(full + interval - now - window, 0)

if cost < 0 or (cost > 0 and wait == 0) then
  full = math.max(full + cost * interval, now)
  if full > now then
    -- %.0f: tostring would round to 14 digits
    redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
  else
    redis.call('DEL', KEYS[1])
  end
end
return {wait, math.floor((now + window - full) / interval)}
