// Package owned keeps a process from using what somebody else has put into its
// directories: a link that leads elsewhere, or a file that others can go on reading.
//
// The rule is the kernel's for links (proc_sys_fs(5), protected_symlinks): a file or a
// link is trusted if it belongs to root, to the user of this process, or to the owner
// of the directory that it is in. The owner of a directory can replace everything in
// it, so nothing is won by refusing that user's files, and root can maintain another
// user's directory. An operator who links a file to another disk owns the link.
package owned

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is how many links may follow each other, as in the kernel.
const maxLinks = 40

// Follow returns where the links that name may be lead to. What is there in the end
// may be missing. The error says which link or file on the way is not trusted.
func Follow(name string) (string, error) {
	for range maxLinks {
		info, err := os.Lstat(name)
		if err != nil {
			return name, nil // whoever opens it says what is wrong
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

// Check returns an error if the file, of which info tells, is not trusted.
func Check(name string, info fs.FileInfo) error {
	dir, err := os.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	switch owner := ownerOf(info); owner {
	case 0, os.Geteuid(), ownerOf(dir):
		return nil
	default:
		return fmt.Errorf("%s was put there by somebody else (user id %d): remove it, or chown it to the user that runs notesd", name, owner)
	}
}

func ownerOf(info fs.FileInfo) int {
	if stat, known := info.Sys().(*syscall.Stat_t); known {
		return int(stat.Uid)
	}
	return os.Geteuid()
}
