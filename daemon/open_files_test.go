package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// opener is another process that has a file open until close is called.
func opener(t *testing.T, redirection, path string) (release func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `exec 3`+redirection+`"$1"; echo open; read end`, "sh", path)
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := said.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	release = func() {
		if err := hold.Close(); err == nil {
			_ = cmd.Wait() // its read has failed
		}
	}
	t.Cleanup(release)
	return release
}

// TestOpenForWritingWaits: a file that is quiet but still open for writing by
// another process is taken when that has closed it; one open for reading, at
// once.
func TestOpenForWritingWaits(t *testing.T) {
	r := newRig(t)
	r.w.settle.max = 50 * time.Millisecond
	written, read := r.put("written.jpg", "x"), r.put("read.jpg", "x")
	release := opener(t, ">>", written)
	opener(t, "<", read)
	r.run(true)
	wait(t, "the warning", func() bool { return strings.Contains(r.logged(), "open for writing: still waiting") })
	wait(t, "the file that is read", func() bool { return slices.Contains(r.names(), "read.jpg") })
	if slices.Contains(r.names(), "written.jpg") {
		t.Error("a file was taken that is open for writing")
	}
	release()
	wait(t, "the file that was written", func() bool { return slices.Contains(r.names(), "written.jpg") })
	if n := strings.Count(r.logged(), "still waiting"); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
}

// TestOpenFilesAreBounded: a pass ends at its bound, what can't be read claims
// nothing, and passes take at most a twentieth of the time.
func TestOpenFilesAreBounded(t *testing.T) {
	proc := t.TempDir()
	process := func(pid string, fds int, path, flags string) {
		for _, dir := range []string{"fd", "fdinfo"} {
			if err := os.MkdirAll(filepath.Join(proc, pid, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for fd := range fds {
			name := fmt.Sprint(fd)
			if err := os.Symlink(path, filepath.Join(proc, pid, "fd", name)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(proc, pid, "fdinfo", name), []byte("pos:\t0\nflags:\t"+flags+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	process("1", 3, "/in/read.jpg", "0100000")
	process("2", 1, "/in/written.jpg", "0100001")
	process("3", 1, "/in/both.jpg", "02")
	process("4", 1, "/in/odd.jpg", "x")
	process("5", 1, "socket:[7]", "02")
	process("self", 1, "/in/self.jpg", "02")
	process(fmt.Sprint(os.Getpid()), 1, "/in/own.jpg", "02")
	if err := os.Mkdir(filepath.Join(proc, "6"), 0o755); err != nil { // has ended
		t.Fatal(err)
	}
	clock := time.Unix(0, 0)
	w := &writers{proc: proc, now: func() time.Time { clock = clock.Add(time.Second); return clock }}
	if !w.due() {
		t.Fatal("the first pass is not due")
	}
	got := w.of([]string{"/in/read.jpg", "/in/written.jpg", "/in/both.jpg", "/in/odd.jpg", "/in/self.jpg", "/in/own.jpg", "/in/none.jpg"})
	for path, want := range map[string]bool{"/in/written.jpg": true, "/in/both.jpg": true, "/in/read.jpg": false, "/in/odd.jpg": false,
		"/in/self.jpg": false, "/in/own.jpg": false, "/in/none.jpg": false} {
		if got[path] != want {
			t.Errorf("%s: %v", path, got[path])
		}
	}
	if w.due() || w.next.Sub(clock) < (openFilesShare-2)*time.Second {
		t.Errorf("after a pass of a second the next is due at %s, now %s", w.next, clock)
	}
	if left := w.process(filepath.Join(proc, "1"), map[string]bool{}, 10); left != 7 {
		t.Errorf("%d left of 10 after 3 open files", left)
	}
	if left := w.process(filepath.Join(proc, "1"), map[string]bool{}, 2); left > 0 {
		t.Errorf("%d left of 2 after 3 open files", left)
	}
	w.proc = filepath.Join(proc, "none")
	if w.of([]string{"/a"})["/a"] {
		t.Error("without /proc something was claimed")
	}
}
