package main

// A proof measures one promise. One of bench, test and module says how.
type proof struct {
	name     string
	about    string
	bench    string   // the arguments of notesd bench
	test     string   // a test in e2e
	module   string   // a module with a program of its own
	settings []string // of the test, where the environment sets nothing else
	page     string   // where the figures go; "": docs/results/NAME.md
	apart    bool     // it runs only when it is named
}

const benchmarks = "docs/BENCHMARKS.md"

// proofs are all there are, in the order in which they run.
var proofs = []proof{
	{name: "pool", about: "a turn of the pool beside semaphores and goroutine pools", module: "bench/pools"},
	{name: "cost", about: "CPU of whole requests, with the pool and without", bench: "cost"},
	{name: "overload", about: "half to ten times the capacity, with admission and without",
		bench: "overload -arms sharded,single,unbounded"},
	{name: "storm", about: "2000 clients that retry at once", bench: "storm"},
	{name: "fairness", about: "one user who asks for ten times a share", bench: "fairness"},
	{name: "panics", about: "10 000 panics beside other users' work; a quarantine", bench: "panics"},
	{name: "drain", about: "SIGTERM under load, 50 times", bench: "drain"},
	{name: "memory", about: "ten times capacity in a container of 64 MiB", test: "TestMemoryContainer"},
	{name: "outage", about: "PostgreSQL and Redis stopped under load", test: "TestTenSecondsAway"},
	{name: "kill", about: "kill -9 under write load, KILLS=100 times on each engine", test: "TestKills",
		settings: []string{"KILLS=100"}},
	{name: "replicas", about: "three replicas behind Caddy, one killed every 5 s for KILLED=60s",
		test:     "TestReplicasKilled",
		settings: []string{"KILLED=60s"}},
	{name: "upgrade", about: "SIGUSR2 under load, UPGRADES=50 times on each engine", test: "TestUpgrades",
		settings: []string{"UPGRADES=50"}},
	{name: "rolling", about: "two replicas behind Caddy replaced in turn, ROLLS=25 times each, in containers",
		test: "TestRolling", settings: []string{"ROLLS=25"}},
	{name: "compare", about: "one shard against all cores", bench: "compare", page: benchmarks},
	{name: "scale", about: "throughput against cores", bench: "scale", page: benchmarks},

	{name: "soak", about: "every known attack at once beside 50 users, SOAK=10m on each of three servers; 50 minutes",
		test: "TestSoak", settings: []string{"SOAK=10m"}, apart: true},
	{name: "loss",
		about: "three devices edit the same notes for LOSS=10m each on SQLite and on two replicas, one killed; " +
			"20 minutes",
		test: "TestLoss", settings: []string{"LOSS=10m"}, apart: true},
	{name: "robot",
		about: "two browsers that type into the web app, and are killed, for ROBOT=50 rounds; 20 minutes",
		test:  "TestWebAppLoss", settings: []string{"ROBOT=50"}, apart: true},
	{name: "webspeed",
		about: "the web app with NOTES=50000 on a CPU that is slowed four times: start, searches, typing, memory; " +
			"5 minutes",
		test: "TestWebAppSpeed", settings: []string{"NOTES=50000"}, apart: true},
	{name: "streams", about: "STREAMS=10000 streams of events on two replicas, and one writer; 10 minutes",
		test: "TestStreams", settings: []string{"STREAMS=10000"}, apart: true},
	{name: "webload",
		about: "requests and bytes of the web app, idle for WATCHED=5m; APPS=10000 idle apps; 10 minutes",
		test:  "TestWebAppLoad", settings: []string{"WATCHED=5m", "APPS=10000"}, apart: true},
	{name: "webapp", about: "Lighthouse, LOOKS=3 times at each page, and axe on every view, in containers; 10 minutes",
		test: "TestWebAppProduction", settings: []string{"LOOKS=3"}, apart: true},
	{name: "plain", about: "notesd and bench/plain in turns on the same work, ROUNDS=5 times MEASURED=3s each",
		test: "TestPlain", settings: []string{"ROUNDS=5", "MEASURED=3s"}, apart: true},
	{name: "variants", about: "notesd beside itself with one setting changed, ROUNDS=3 times MEASURED=2s each",
		test: "TestVariants", settings: []string{"ROUNDS=3", "MEASURED=2s"}, apart: true},
	{name: "search",
		about: "q= of 50 000 of NOTES=1000000 notes beside FTS5 and tsvector; 20 minutes, 8 GB of disk",
		test:  "TestSearches", settings: []string{"NOTES=1000000", "ROUNDS=5", "MEASURED=3s"}, apart: true},
	{name: "growth",
		about: "NOTES=1000000 beside a hundredth of them, IDLE=10000 connections; 20 minutes, 8 GB of disk",
		test:  "TestGrowth", settings: []string{"NOTES=1000000", "IDLE=10000", "ROUNDS=3", "MEASURED=3s"}, apart: true},
}
