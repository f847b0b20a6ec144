package server

import (
	"sync/atomic"

	"notesd/server/listener"
)

// clientCounts counts clients' requests and connections that were given up, since the start.
type clientCounts struct {
	conns    listener.Counts
	oversize atomic.Uint64 // bodies above BODY_PARSER_LIMIT
	bodies   atomic.Uint64 // bodies that came too slowly
	readers  atomic.Uint64 // responses that the client read too slowly
	gone     atomic.Uint64 // clients that left before their response
}

// clientsJSON is clientCounts as /api/runtime shows it.
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
	return clientsJSON{c.conns.RejectedPending.Load(), c.conns.RejectedFull.Load(), c.conns.Evicted.Load(),
		c.conns.SlowHeaders.Load(), c.oversize.Load(), c.bodies.Load(), c.readers.Load(), c.gone.Load()}
}

// each calls f for every count, with its name in Prometheus.
func (c *clientCounts) each(f func(what string, n uint64)) {
	f("connection_refused", c.conns.RejectedPending.Load())
	f("connection_crowded", c.conns.RejectedFull.Load())
	f("connection_evicted", c.conns.Evicted.Load())
	f("slow_header", c.conns.SlowHeaders.Load())
	f("oversize_body", c.oversize.Load())
	f("slow_body", c.bodies.Load())
	f("slow_reader", c.readers.Load())
	f("hung_up", c.gone.Load())
}
