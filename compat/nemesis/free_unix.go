//go:build unix

package nemesis

import "golang.org/x/sys/unix"

// freeBytes is what is left of the file system that a directory is on.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
