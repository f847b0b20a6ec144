package check

import "fmt"

const mib = 1 << 20

func heap(f Facts) opinion {
	s, m := f.Settings, f.Machine
	if o, found := f.mistakes("unset GOMEMLIMIT and MAX_OLD_SPACE_SIZE", heapSettings...); found {
		return o
	}
	bound, owner := s.CgroupMemory, "the container's limit"
	if bound == 0 || m.Memory > 0 && m.Memory < bound {
		bound, owner = m.Memory, "the machine's memory"
	}
	best := fmt.Sprintf("GOMEMLIMIT=%dMiB", bound/10*9/mib)
	if s.CgroupMemory > 0 {
		best += ", or unset it and MAX_OLD_SPACE_SIZE"
	}
	switch {
	case bound == 0:
		return notApplicable("the system does not tell its memory")
	case s.HeapLimit == 0 && s.CgroupMemory == 0 && s.Production:
		return warn(fmt.Sprintf("GOMEMLIMIT=%dMiB", bound/4*3/mib),
			"the heap has no limit on %s of memory", size(bound))
	case s.HeapLimit == 0 && s.CgroupMemory > 0:
		return warn(best, "GOMEMLIMIT is off, and %s is %s", owner, size(bound))
	case s.HeapLimit == 0:
		return notApplicable("no limit, as in development")
	case s.HeapLimit > bound:
		return fail(best, "the heap's limit of %s is above %s, %s", size(s.HeapLimit), owner, size(bound))
	case s.HeapLimit > bound/100*95:
		return warn(best, "the heap's limit of %s leaves less than 5 %% of %s for what is not Go's",
			size(s.HeapLimit), size(bound))
	case s.CgroupMemory > 0 && s.HeapLimit < bound/2:
		return warn(best+", or lower NOTESD_MEMORY",
			"the heap's limit of %s is less than half of %s, %s: the rest is wasted",
			size(s.HeapLimit), owner, size(bound))
	}
	return ok("the heap's limit is %s of %s", size(s.HeapLimit), size(bound))
}

func containerMemory(f Facts) opinion {
	const least = 64 * mib // nothing was proven with less memory
	limit := f.Settings.CgroupMemory
	switch {
	case limit == 0:
		return notApplicable("no container's limit")
	case limit < least:
		return fail("NOTESD_MEMORY=128M", "the container has %s, less than %s", size(limit), size(least))
	case f.Machine.Memory > 0 && limit > f.Machine.Memory:
		return warn(fmt.Sprintf("NOTESD_MEMORY=%dM", f.Machine.Memory/4*3/mib),
			"the container may use %s, and the machine has %s",
			size(limit), size(f.Machine.Memory))
	}
	return ok("the container may use %s", size(limit))
}

// bound returns the limit by which memory is judged: that of the container, or that of the heap. It
// returns 0 if there is none.
func (s Settings) bound() int64 {
	if s.CgroupMemory == 0 || s.HeapLimit > 0 && s.HeapLimit < s.CgroupMemory {
		return s.HeapLimit
	}
	return s.CgroupMemory
}

func cacheSize(f Facts) opinion {
	switch bound := f.Settings.bound(); {
	case f.Settings.CacheSize == 0:
		return warn("unset CACHE_SIZE_MB", "CACHE_SIZE_MB=0: every request asks the database")
	case bound > 0 && f.Settings.CacheSize > bound/4:
		return warn(fmt.Sprintf("CACHE_SIZE_MB=%d", max(1, bound/16/mib)), "the cache may take %s of %s",
			size(f.Settings.CacheSize), size(bound))
	}
	return ok("%s for copies of what was read", size(f.Settings.CacheSize))
}

func bodySize(f Facts) opinion {
	if bound := f.Settings.bound(); bound > 0 && f.Settings.BodyLimit > bound/4 {
		return warn(fmt.Sprintf("BODY_PARSER_LIMIT=%dmb, or more NOTESD_MEMORY", max(1, bound/8/mib)),
			"one body may take %s of %s",
			size(f.Settings.BodyLimit), size(bound))
	}
	return ok("a body is at most %s", size(f.Settings.BodyLimit))
}

func memoryMonitor(f Facts) opinion {
	if !f.Settings.MemoryMonitoring {
		return warn("ENABLE_MEMORY_MONITORING=true", "memory is not monitored")
	}
	return ok("logged every %s, an alert above %s MB", f.Settings.Shown["MEMORY_MONITOR_INTERVAL"],
		f.Settings.Shown["MEMORY_THRESHOLD_MB"])
}

func kernelMemory(f Facts) opinion {
	switch m := f.Machine; {
	case m.Overcommit == 2:
		return warn("sysctl vm.overcommit_memory=0",
			"vm.overcommit_memory=2: Go reserves more than it uses, and may be refused")
	case m.HugePages == "always" && m.HugeMost > 0:
		return warn("echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
			"transparent huge pages are always on, and made up of as many as %d empty pages: memory grows without use",
			m.HugeMost)
	case m.HugePages == "":
		return notApplicable("no Linux that tells of its memory")
	}
	return ok("vm.overcommit_memory=%d, huge pages: %s", f.Machine.Overcommit, f.Machine.HugePages)
}

func loadMemory(f Facts) opinion {
	if o := f.running(); o != nil {
		return *o
	}
	r := f.Server.Runtime
	more := "NOTESD_MEMORY=256M or more"
	if r.Stages != nil && r.Stages.Limit > 0 {
		more = fmt.Sprintf("NOTESD_MEMORY=%dM", roundUp(r.Stages.Limit*3/2/mib, 64))
	}
	switch {
	case r.Stages != nil && r.Stages.Limit > 0 && r.Stages.Stage != "calm":
		return warn(more, "memory is %s: %s needed of %s", r.Stages.Stage, size(r.Stages.Needed), size(r.Stages.Limit))
	case r.Memory.GCShare > 0.25:
		return warn(more, "collecting garbage takes %.0f %% of the CPU time", r.Memory.GCShare*100)
	case r.Pool.Done < minRequests || r.uptime() < minUptime || r.Stages == nil || r.Stages.Limit == 0:
		return notApplicable("too little load, or no limit, to judge: %s resident", size(r.Memory.RSS))
	case r.Stages.Limit >= 256*mib && r.Stages.Needed < r.Stages.Limit/8:
		return warn(fmt.Sprintf("NOTESD_MEMORY=%dM", max(128, roundUp(r.Stages.Needed*3/mib, 64))),
			"%s needed of %s: the rest is wasted, unless peaks need it", size(r.Stages.Needed), size(r.Stages.Limit))
	}
	return ok("%s needed of %s, %.1f %% of the CPU time for collecting", size(r.Stages.Needed),
		size(r.Stages.Limit), r.Memory.GCShare*100)
}

// roundUp returns the next multiple of unit.
func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

func loadCache(f Facts) opinion {
	if o := f.running(); o != nil {
		return *o
	}
	const least = 1000
	c := f.Server.Runtime.Cache
	asked, had := f.Server.Runtime.cached()
	switch {
	case asked < least:
		return notApplicable("too little load to judge: %s", count(asked, "question"))
	case had*2 < asked && c.Evicted > asked/100:
		return warn(fmt.Sprintf("CACHE_SIZE_MB=%d", max(1, 2*c.Limit/mib)),
			"%d %% of questions answered by it, %d entries put out to make room",
			had*100/asked, c.Evicted)
	}
	return ok("%d %% of questions answered by it", had*100/asked)
}
