package admin

// Clients has how many requests and connections of clients were given up,
// since the start.
type Clients struct {
	ConnectionsRefused uint64 `json:"connectionsRefused"`
	ConnectionsCrowded uint64 `json:"connectionsCrowded"`
	ConnectionsEvicted uint64 `json:"connectionsEvicted"`
	SlowHeaders        uint64 `json:"slowHeaders"`
	OversizeBodies     uint64 `json:"oversizeBodies"`
	SlowBodies         uint64 `json:"slowBodies"`
	SlowReaders        uint64 `json:"slowReaders"`
	HungUp             uint64 `json:"hungUp"`
}

func (a *Admin) clients() Clients {
	conns, requests := a.cfg.Conns, a.router.Counts()
	return Clients{conns.RejectedPending.Load(), conns.RejectedFull.Load(), conns.Evicted.Load(),
		conns.SlowHeaders.Load(), requests.OversizeBodies.Load(), requests.SlowBodies.Load(),
		requests.SlowReaders.Load(), requests.Gone.Load()}
}

// each calls f for every count, with its name in Prometheus.
func (c Clients) each(f func(what string, n uint64)) {
	f("connection_refused", c.ConnectionsRefused)
	f("connection_crowded", c.ConnectionsCrowded)
	f("connection_evicted", c.ConnectionsEvicted)
	f("slow_header", c.SlowHeaders)
	f("oversize_body", c.OversizeBodies)
	f("slow_body", c.SlowBodies)
	f("slow_reader", c.SlowReaders)
	f("hung_up", c.HungUp)
}
