-- PUTs of new documents: bodies from $BENCH_BODIES, one a line, over and over; ids of 32 digits in no order.
local bodies = {}
local n = 0
local path, salt

function init()
	for line in io.lines(os.getenv("BENCH_BODIES")) do bodies[#bodies + 1] = line end
	path = os.getenv("BENCH_PATH")
	salt = tonumber(os.getenv("BENCH_SALT"))
	math.randomseed(salt)
end

function request()
	n = n + 1
	-- Random digits lead, so that ids come in no order; the count makes them unique.
	local id = string.format("%08x%08x%04x%012x", math.random(0, 0x7fffffff), math.random(0, 0x7fffffff), salt, n)
	return wrk.format("PUT", path .. id, nil, bodies[n % #bodies + 1])
end
