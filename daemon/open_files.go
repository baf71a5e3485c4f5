package daemon

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxOpenFiles bounds the open files of other processes that are looked at
	// in one pass; what lies beyond is not known.
	maxOpenFiles = 100_000
	// openFilesShare is the part of the time that may go into such passes: one
	// that took 10 ms is followed by 200 ms without any.
	openFilesShare = 20
)

// writers tells which files other processes have open for writing, as far as
// /proc tells: processes of other users and other namespaces it may not.
type writers struct {
	proc string // /proc
	now  func() time.Time
	next time.Time // before this no pass is made
}

func newWriters() *writers { return &writers{proc: "/proc", now: time.Now} }

// due tells whether a pass may be made now.
func (w *writers) due() bool { return !w.now().Before(w.next) }

// of tells for each of the files, named as the system does (absolute, without
// links), whether some process may still write to it. It is one pass over all
// processes, whatever the number of files.
func (w *writers) of(paths []string) map[string]bool {
	began := w.now()
	defer func() {
		end := w.now()
		w.next = end.Add(openFilesShare * end.Sub(began))
	}()
	written := make(map[string]bool, len(paths)) // false = not seen to be
	for _, path := range paths {
		written[path] = false
	}
	processes, err := os.Open(w.proc)
	if err != nil {
		return written
	}
	defer processes.Close()
	left := maxOpenFiles
	self := strconv.Itoa(os.Getpid())
	for left > 0 {
		names, err := processes.Readdirnames(readChunk)
		for _, pid := range names {
			if pid == self || pid[0] < '0' || pid[0] > '9' {
				continue
			}
			left = w.process(filepath.Join(w.proc, pid), written, left)
		}
		if err != nil || len(names) == 0 {
			break
		}
	}
	return written
}

// process looks at the open files of one process and returns how many more may
// be looked at. Links are read and not followed: what they point to may hang.
func (w *writers) process(dir string, written map[string]bool, left int) int {
	fds, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		return left // another user's, or gone
	}
	defer fds.Close()
	for left > 0 {
		names, err := fds.Readdirnames(readChunk)
		for _, fd := range names {
			left--
			target, err := os.Readlink(filepath.Join(dir, "fd", fd))
			if err != nil || target == "" || target[0] != '/' {
				continue
			}
			if seen, asked := written[target]; asked && !seen {
				written[target] = forWriting(filepath.Join(dir, "fdinfo", fd))
			}
		}
		if err != nil || len(names) == 0 {
			break
		}
	}
	return left
}

// forWriting reads the mode in which a file is open.
func forWriting(info string) bool {
	data, err := os.ReadFile(info)
	if err != nil {
		return false
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		flags, ok := strings.CutPrefix(lines.Text(), "flags:")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(flags), 8, 64)
		return err == nil && n&unix.O_ACCMODE != unix.O_RDONLY
	}
	return false
}
