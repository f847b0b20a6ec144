package pool

// runFrame is the frame that a handler runs on.
const runFrame = "notesd/pool.(*Pool).run"
