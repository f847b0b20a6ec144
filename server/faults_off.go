//go:build !faults

package server

const admissionOff = false

// faultRoutes are routes that fail on purpose. They exist only in a binary
// built with -tags faults, for the proofs.
func faultRoutes() []*route { return nil }
