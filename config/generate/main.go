// Command generate writes the templates in env/ and the table of docs/CONFIGURATION.md: go generate ./config.
package main

import (
	"fmt"
	"os"

	"notesd/config"
)

func main() {
	if err := config.Generate(".."); err != nil { // go generate runs it in config/
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
