package server

import "sync/atomic"

// clientCounts counts what clients did that was given up on, since the start.
type clientCounts struct {
	refused  atomic.Uint64 // connections: one address had too many without a request
	crowded  atomic.Uint64 // connections: all together were too many, and none of them idle
	evicted  atomic.Uint64 // connections closed to make room for others
	headers  atomic.Uint64 // connections whose first header did not come in time
	oversize atomic.Uint64 // bodies above BODY_PARSER_LIMIT
	bodies   atomic.Uint64 // that came too slowly
	readers  atomic.Uint64 // that took their answer too slowly
	gone     atomic.Uint64 // before their answer
}

// clientsJSON is clientCounts as /api/runtime shows them.
type clientsJSON struct {
	ConnectionsRefused uint64 `json:"connectionsRefused"`
	ConnectionsCrowded uint64 `json:"connectionsCrowded"`
	ConnectionsEvicted uint64 `json:"connectionsEvicted"`
	SlowHeaders        uint64 `json:"slowHeaders"`
	OversizeBodies     uint64 `json:"oversizeBodies"`
	SlowBodies         uint64 `json:"slowBodies"`
	SlowReaders        uint64 `json:"slowReaders"`
	HungUp             uint64 `json:"hungUp"`
}

func (c *clientCounts) output() clientsJSON {
	return clientsJSON{c.refused.Load(), c.crowded.Load(), c.evicted.Load(),
		c.headers.Load(), c.oversize.Load(), c.bodies.Load(), c.readers.Load(), c.gone.Load()}
}

// each calls f for every count, by what Prometheus calls it.
func (c *clientCounts) each(f func(what string, n uint64)) {
	f("connection_refused", c.refused.Load())
	f("connection_crowded", c.crowded.Load())
	f("connection_evicted", c.evicted.Load())
	f("slow_header", c.headers.Load())
	f("oversize_body", c.oversize.Load())
	f("slow_body", c.bodies.Load())
	f("slow_reader", c.readers.Load())
	f("hung_up", c.gone.Load())
}
