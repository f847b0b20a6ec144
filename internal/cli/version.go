package cli

import (
	"context"
	"fmt"
	"runtime/debug"
)

// Version prints which build this is.
func Version(_ context.Context, p Process, args []string) error {
	if err := p.noArguments("notesd version\nSays which build this is.", args); err != nil {
		return err
	}
	fmt.Fprintln(p.Out, "notesd", p.version())
	return nil
}

// version returns the version of the build. If there is none, it returns the commit of the build.
func (p Process) version() string {
	if p.Version != "" {
		return p.Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "commit " + s.Value[:min(12, len(s.Value))]
		}
	}
	return "unreleased"
}
