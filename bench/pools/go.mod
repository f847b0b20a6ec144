// The pool beside others that people use. These are no requirement of notesd,
// and so have a module of their own.
module notesd/bench/pools

go 1.26.0

require (
	github.com/alitto/pond/v2 v2.7.1
	github.com/panjf2000/ants/v2 v2.12.1
	notesd v0.0.0
)

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
)

replace notesd => ../..
