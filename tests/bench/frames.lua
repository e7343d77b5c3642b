-- Copyright (c) 2026, the lightbox.pacs maintainers
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
--
-- For wrk: fetch the frames of a series in turn. BENCH_PATHS names a file with a path per line, BENCH_AUTHORIZATION a
-- file (0600) with the Authorization header, so that no password stands on a command line.

local requests = {}
local turn = 0

local function lines(name)
  local result = {}
  for line in io.lines(os.getenv(name)) do
    result[#result + 1] = line
  end
  return result
end

function init(args)
  local headers = {
    ["Authorization"] = lines("BENCH_AUTHORIZATION")[1],
    ["Accept"] = 'multipart/related; type="application/octet-stream"; transfer-syntax=*',
  }
  for _, path in ipairs(lines("BENCH_PATHS")) do
    requests[#requests + 1] = wrk.format("GET", path, headers)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "bytes": %d, "bad_status": %d, "socket_errors": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
