package engine

import (
	"fmt"
	"os"
	"syscall"
)

// Identity returns a name for the database at url, without its password: two processes of one
// machine that get the same name have the same database. It returns "" if there is no database, or
// if it is not known.
func Identity(url string) string {
	if IsPostgres(url) {
		server, err := ParsePostgresURL(url)
		if err != nil {
			return ""
		}
		return fmt.Sprintf("postgres %+q:%d %+q", server.Host, server.Port, server.Database)
	}
	info, err := os.Stat(FilePath(url))
	if err != nil {
		return ""
	}
	file, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("file %d:%d", file.Dev, file.Ino)
}
