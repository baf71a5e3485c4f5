package confine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// Limits are what a child may use. A child sets them on itself before it works,
// except that the parent watches Memory: the address space that CUDA reserves,
// and Go and ONNX Runtime in a smaller way, is no measure of what they use, so
// that neither RLIMIT_AS nor RLIMIT_DATA could be set near it.
type Limits struct {
	// Memory is how many bytes of memory a child may hold (its resident set)
	// before it is killed; 0 = any number. Every 50 ms it is looked at.
	Memory int64 `json:"memory"`
	// Output is how large a file may grow that the child writes, in bytes; 0 =
	// any size. More is the error EFBIG.
	Output int64 `json:"output"`
	// Files is how many files may be open at a time; 0 = as in the parent.
	Files int `json:"files"`
}

// oomScore makes the kernel, when memory is short, choose a child before its
// parent and most others.
const oomScore = "500"

// apply sets the limits on this process.
func (l Limits) apply() error {
	err := setrlimit(unix.RLIMIT_CORE, 0)
	if l.Output > 0 {
		err = errors.Join(err, setrlimit(unix.RLIMIT_FSIZE, uint64(l.Output)))
	}
	if l.Files > 0 {
		err = errors.Join(err, setrlimit(unix.RLIMIT_NOFILE, uint64(l.Files)))
	}
	if err != nil {
		return fmt.Errorf("limits of the process: %w", err)
	}
	if l.Memory > 0 {
		// Garbage is collected before it counts as too much.
		debug.SetMemoryLimit(l.Memory / 4 * 3)
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0); err != nil {
		fmt.Fprintln(os.Stderr, "no oom_score_adj:", err) // to the log; it only helps
	}
	return nil
}

// setrlimit lowers a limit for good; one that is lower already stays.
func setrlimit(resource int, n uint64) error {
	var have unix.Rlimit
	if err := unix.Getrlimit(resource, &have); err != nil {
		return err
	}
	n = min(n, have.Max)
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: n, Max: n})
}

// resident is how much memory a process holds, in bytes; 0 when it has gone.
func resident(pid int) int64 {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(data)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
