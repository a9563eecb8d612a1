-- POSTs to $BENCH_PATH: bodies from $BENCH_BODIES, one a line, over and over.
local requests = {}
local n = 0

function init()
	for line in io.lines(os.getenv("BENCH_BODIES")) do
		requests[#requests + 1] = wrk.format("POST", os.getenv("BENCH_PATH"), {["Content-Type"] = "application/json"}, line)
	end
end

function request()
	n = n + 1
	return requests[n % #requests + 1]
end
