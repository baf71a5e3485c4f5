package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"restored/daemon"
)

// asMain makes the test binary be the command, see TestMain.
const asMain = "TEST_AS_RESTORED"

// serveLog is what a daemon logs, to be read at any time.
type serveLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes what the daemon prints.
func (l *serveLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *serveLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startServe starts the daemon as a process of its own.
func startServe(t *testing.T, config string) (*exec.Cmd, *serveLog) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var log serveLog
	cmd := exec.Command(exe, "serve", "--config", config)
	cmd.Env = append(os.Environ(), asMain+"=1",
		"RESTORED_PATHS_LIBRARIES="+filepath.Join(deps(t), "onnxruntime"),
		"RESTORED_PATHS_MODELS="+filepath.Join(deps(t), "models"))
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, &log
}

// until polls for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	within(t, 3*time.Minute, what, ok)
}

func within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// copySlowly writes a file in pieces, each after the one before has been seen.
func copySlowly(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(data) > 0 {
		n := min(len(data), 3000)
		if _, err := f.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
		<-tick.C
	}
	return f.Close()
}

// Thirty photos are copied in slowly, the daemon is killed in the middle and
// started again: thirty whole outputs, each made once.
func TestServeSurvivesAKill(t *testing.T) {
	const photos = 30
	dir := t.TempDir()
	in, out, state := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "state")
	if err := samplePhotos(deps(t), dir); err != nil {
		t.Fatal(err)
	}
	photo, err := os.ReadFile(filepath.Join(in, "face.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"face.jpg", "sub/noface.png", "cut.jpg"} {
		if err := os.Remove(filepath.Join(in, name)); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "restored.yaml")
	text := fmt.Sprintf("watch:\n  - {in: %s, out: %s, originals: keep}\nstate: %s\nsettle: {quiet: 300ms}\nrescan: 1s\n", in, out, state)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	first, _ := startServe(t, config)
	copied := make(chan error, 1)
	go func() {
		for i := range photos {
			if err := copySlowly(filepath.Join(in, "sub", fmt.Sprintf("%02d.jpg", i)), numbered(photo, i)); err != nil {
				copied <- err
				return
			}
		}
		copied <- nil
	}()
	outputs := func() []string {
		names, err := filepath.Glob(filepath.Join(out, "sub", "*.jpg"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	until(t, "the first five outputs", func() bool { return len(outputs()) >= 5 })
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // "signal: killed"
	if n := len(outputs()); n >= photos {
		t.Fatalf("all %d were done before the kill: it tests nothing", n)
	}
	if err := <-copied; err != nil {
		t.Fatal(err)
	}

	// The abort by a watchdog is a signal's end, which systemd starts again.
	aborted, log := startServe(t, config)
	until(t, "the second start", func() bool { return strings.Contains(log.String(), "restored is ready") })
	if err := aborted.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := aborted.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Errorf("after SIGABRT: %v", err)
	}

	second, log := startServe(t, config)
	until(t, "thirty outputs", func() bool { return len(outputs()) == photos })
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Fatalf("after SIGTERM: %v; log:\n%s", err, log)
	}
	checkOutputs(t, in, state, outputs())
}

// numbered is a JPEG file with a comment, so that its content is its own.
func numbered(photo []byte, n int) []byte {
	return append([]byte{0xff, 0xd8, 0xff, 0xfe, 0, 3, byte(n)}, photo[2:]...)
}

// An original is moved once its output is there and was decoded.
func TestServeMovesOriginals(t *testing.T) {
	dir := t.TempDir()
	if err := samplePhotos(deps(t), dir); err != nil {
		t.Fatal(err)
	}
	in, away := filepath.Join(dir, "in"), filepath.Join(dir, "away")
	photo, err := os.ReadFile(filepath.Join(in, "face.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "restored.yaml")
	text := fmt.Sprintf("watch:\n  - {in: %s, out: %s, originals: move, originals_to: %s}\nstate: %s\nsettle: {quiet: 300ms}\n",
		in, filepath.Join(dir, "out"), away, filepath.Join(dir, "state"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	serve, log := startServe(t, config)
	until(t, "the original to be moved", func() bool {
		moved, err := os.ReadFile(filepath.Join(away, "face.jpg"))
		return err == nil && bytes.Equal(moved, photo)
	})
	until(t, "the other one", func() bool {
		_, err := os.Stat(filepath.Join(away, "sub", "noface.png"))
		return err == nil
	})
	if err := serve.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := serve.Wait(); err != nil {
		t.Fatalf("after SIGTERM: %v; log:\n%s", err, log)
	}
	for _, name := range []string{"in/cut.jpg", "in/text.jpg", "out/face.jpg", "out/sub/noface.png"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(in, "face.jpg")); !os.IsNotExist(err) {
		t.Errorf("the original is still there: %v", err)
	}
}

// checkOutputs looks at every output and at what the ledger says of it.
func checkOutputs(t *testing.T, in, state string, outputs []string) {
	t.Helper()
	ctx := context.Background()
	ledger, err := daemon.OpenLedger(ctx, state)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ledger.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, name := range outputs {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		img, err := jpeg.Decode(f)
		if err != nil || img.Bounds().Dx() < 200 {
			t.Errorf("%s isn't whole: %v", name, err)
		}
		f.Close()
		rec, ok, err := ledger.Lookup(ctx, filepath.Join(in, "sub", filepath.Base(name)))
		if err != nil || !ok || rec.State != daemon.Done || rec.Completed != 1 || rec.Out != name ||
			!strings.Contains(string(rec.Report), `"status":"restored"`) {
			t.Errorf("%s: ledger says %+v, %v", name, rec, err)
		}
	}
	rec, ok, err := ledger.Lookup(ctx, filepath.Join(in, "text.jpg"))
	if err != nil || !ok || rec.State != daemon.Failed || !strings.Contains(rec.Reason, "text.jpg") {
		t.Errorf("the text named .jpg: ledger says %+v, %v", rec, err)
	}
	entries, err := os.ReadDir(filepath.Dir(outputs[0]))
	if err != nil || len(entries) != len(outputs) {
		t.Errorf("%d entries beside %d outputs: %v", len(entries), len(outputs), err)
	}
}
