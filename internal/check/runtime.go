package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Runtime is the part of /api/runtime that is judged.
type Runtime struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Now     time.Time `json:"timestamp"`
	Pool    struct {
		Workers  int    `json:"workers"`
		Busy     int    `json:"busy"`
		Queued   int    `json:"queued"`
		Done     uint64 `json:"done"`
		Panics   uint64 `json:"panics"`
		Restarts uint64 `json:"restarts"`
		Sheds    struct {
			Minutes []struct {
				Shed map[string]uint64 `json:"shed"`
			} `json:"minutes"`
		} `json:"sheds"`
		Quarantine []struct {
			Route       string `json:"route"`
			Quarantined bool   `json:"quarantined"`
		} `json:"quarantine"`
		Stuck struct {
			Replaced int `json:"replaced"`
			Bound    int `json:"bound"`
		} `json:"stuck"`
		Shards []struct {
			Wait struct {
				Count uint64  `json:"count"`
				P99Ms float64 `json:"p99Ms"`
			} `json:"wait"`
		} `json:"shards"`
	} `json:"pool"`
	Memory struct {
		RSS     int64   `json:"rss"`
		GCShare float64 `json:"gcShare"`
	} `json:"memory"`
	Stages *struct {
		Stage  string `json:"stage"`
		Needed int64  `json:"needed"`
		Limit  int64  `json:"limit"`
	} `json:"memoryStages"`
	Database map[string]struct {
		Most      int   `json:"most"`
		WaitCount int64 `json:"waitCount"`
	} `json:"database"`
	Cache struct {
		Limit   int64  `json:"limit"`
		Evicted uint64 `json:"evicted"`
		Kinds   map[string]struct {
			Hits   uint64 `json:"hits"`
			Misses uint64 `json:"misses"`
		} `json:"kinds"`
	} `json:"cache"`
	Limits struct {
		GOMAXPROCS int               `json:"gomaxprocs"`
		Cores      int               `json:"cores"`
		Settings   map[string]string `json:"settings"`
	} `json:"limits"`
}

// parseRuntime reads the body of GET /api/runtime.
func parseRuntime(text []byte) (*Runtime, error) {
	var r Runtime
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("not the answer of /api/runtime: %w", err)
	}
	if r.Started.IsZero() || r.Now.Before(r.Started) {
		return nil, errors.New("not the answer of /api/runtime: it has no times")
	}
	return &r, nil
}

// uptime returns how long the server has been running.
func (r *Runtime) uptime() time.Duration { return r.Now.Sub(r.Started) }

// shed returns the number of requests that were rejected in the last quarter of an hour because
// there was no room.
func (r *Runtime) shed() (n uint64) {
	for _, minute := range r.Pool.Sheds.Minutes {
		for _, reason := range []string{"queue_full", "queue_timeout", "overload", "memory"} {
			n += minute.Shed[reason]
		}
	}
	return n
}

// wait returns the longest 99th percentile of the waiting times of the shards.
func (r *Runtime) wait() time.Duration {
	most := 0.0
	for _, shard := range r.Pool.Shards {
		if shard.Wait.Count > 0 {
			most = max(most, shard.Wait.P99Ms)
		}
	}
	return time.Duration(most * float64(time.Millisecond))
}

// waits returns the number of queries that found no free connection.
func (r *Runtime) waits() (n int64) {
	for _, pool := range r.Database {
		n += pool.WaitCount
	}
	return n
}

// cached returns the number of lookups in the cache, and the number of hits.
func (r *Runtime) cached() (asked, had uint64) {
	for _, kind := range r.Cache.Kinds {
		asked += kind.Hits + kind.Misses
		had += kind.Hits
	}
	return asked, had
}
