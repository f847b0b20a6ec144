// Package owned keeps a process from using files that another user has put into its directories: a
// link that leads elsewhere, or a file that other users can still read.
//
// The rule is that of the kernel for links (proc_sys_fs(5), protected_symlinks). A file or a link
// is trusted if it belongs to root, to the user of this process, or to the owner of its directory.
// The owner of a directory can replace everything in it, so that refusing that user's files would
// gain nothing. Root can maintain another user's directory. An operator who links a file to another
// disk owns the link.
package owned

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is how many links may follow each other. The kernel has the same limit.
const maxLinks = 40

// Follow returns the path that name leads to, through any links. The file at the end may be
// missing. The error names the link or file on the way that is not trusted.
func Follow(name string) (string, error) {
	for range maxLinks {
		info, err := os.Lstat(name)
		if err != nil {
			return name, nil // opening the file returns the error
		}
		if err := Check(name, info); err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return name, nil
		}
		target, err := os.Readlink(name)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Dir(name) + string(filepath.Separator) + target
		}
		dir, base := filepath.Split(strings.TrimRight(target, string(filepath.Separator)))
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", fmt.Errorf("the link %s leads nowhere: %w", name, err)
		}
		name = filepath.Join(dir, base)
	}
	return "", fmt.Errorf("%s: %w", name, syscall.ELOOP)
}

// Check returns an error if the file that info describes is not trusted.
func Check(name string, info fs.FileInfo) error {
	dir, err := os.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	switch owner := ownerOf(info); owner {
	case 0, os.Geteuid(), ownerOf(dir):
		return nil
	default:
		return fmt.Errorf("%s was put there by somebody else (user id %d): remove it, or chown it to the user that "+
			"runs notesd", name, owner)
	}
}

func ownerOf(info fs.FileInfo) int {
	if stat, known := info.Sys().(*syscall.Stat_t); known {
		return int(stat.Uid)
	}
	return os.Geteuid()
}
