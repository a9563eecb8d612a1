-- GETs of the documents named in $BENCH_IDS, in random order; $BENCH_AUTH is sent as Authorization if it is set.
local requests = {}

function init()
	local headers = {}
	local auth = os.getenv("BENCH_AUTH")
	if auth and auth ~= "" then headers["Authorization"] = auth end
	for id in io.lines(os.getenv("BENCH_IDS")) do
		requests[#requests + 1] = wrk.format("GET", os.getenv("BENCH_PATH") .. id, headers)
	end
	math.randomseed(7)
end

function request()
	return requests[math.random(#requests)]
end
