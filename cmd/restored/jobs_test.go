package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"restored/daemon"
)

// jobs runs a subcommand of jobs and decodes what it prints.
func jobs(t *testing.T, into any, args ...string) (code int, stderr string) {
	t.Helper()
	var out, told bytes.Buffer
	code = execute(t.Context(), append([]string{"jobs"}, args...), &out, &told)
	if into != nil && out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), into); err != nil {
			t.Fatalf("%v in %s", err, &out)
		}
	}
	return code, told.String()
}

// firstEvent is what watch tells at once.
func firstEvent(t *testing.T, config string) (e daemon.Event) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	ended := make(chan int)
	go func() { ended <- execute(ctx, []string{"jobs", "watch", "--json", "--config", config}, in, in) }()
	if err := json.NewDecoder(out).Decode(&e); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := out.Close(); err != nil { // a further event finds nobody
		t.Fatal(err)
	}
	<-ended
	return e
}

func TestWorkNote(t *testing.T) {
	for want, w := range map[string]daemon.Work{
		"":           {},
		": plan 25%": {Stage: "plan", Frames: 250, Total: 1000},
		": render, segment 2 of 3, frame 40 of 90, 7 faces, 12.5 fps, 1m4s left": {
			Stage: "render", Segments: 3, SegmentsDone: 1, Frames: 40, Total: 90, Faces: 7, FPS: 12.5, ETA: 64,
		},
		": render, segment 3 of 3, frame 90 of 90, 7 faces": {Stage: "render", Segments: 3, SegmentsDone: 3, Frames: 90, Total: 90, Faces: 7},
	} {
		if got := workNote(w); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The queue is seen and controlled while the daemon runs, and without it.
func TestJobs(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	text := filepath.Join(in, "text.jpg")
	touch(t, text)
	if err := os.WriteFile(text, []byte("not a photo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "restored.yaml")
	yaml := fmt.Sprintf("watch:\n  - {in: %s, out: %s/out, originals: keep}\nstate: %s/state\nsettle: {quiet: 100ms}\n", in, dir, dir)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stderr := jobs(t, nil, "list", "--config", config); code != exitFailed || !strings.Contains(stderr, "no daemon has worked") {
		t.Errorf("before the first start: %d, %s", code, stderr)
	}
	cmd, log := startServe(t, config)
	var list struct {
		Queue daemon.QueueInfo
		Jobs  []daemon.JobInfo
	}
	until(t, "the failure", func() bool {
		jobs(t, &list, "list", "--json", "--config", config, "--status", "failed")
		return len(list.Jobs) == 1 && list.Queue.Failed == 1 // they are asked for one after the other
	})
	if j := list.Jobs[0]; list.Queue.Failed != 1 || j.Path != text || !strings.Contains(j.Reason, "text.jpg") {
		t.Errorf("%+v", list)
	}
	var queue daemon.QueueInfo
	if code, stderr := jobs(t, &queue, "pause", "--json", "--config", config); code != exitOK || !queue.Paused {
		t.Errorf("pause: %d, %s", code, stderr)
	}
	var one []daemon.JobInfo
	if code, stderr := jobs(t, &one, "retry", "--json", "--config", config, text, "99"); code != exitFailed ||
		!strings.Contains(stderr, "99") || len(one) != 1 || one[0].State != daemon.Queued {
		t.Errorf("retry: %d, %s, %+v", code, stderr, one)
	}
	if e := firstEvent(t, config); !e.Queue.Paused || e.Queue.Queued != 1 || len(e.Work) != 0 {
		t.Errorf("watch: %+v", e)
	}
	// SIGHUP: what can be taken over is, and the rest is told.
	for text, want := range map[string]string{
		yaml + "workers: 3\ndisk: {reserve: 2GiB}\n": `"setting changed: it counts from the next start" key=workers`,
		yaml + "wrokers: 3\n":                        `"configuration not reloaded: the one so far stays"`,
	} {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		until(t, want, func() bool { return strings.Contains(log.String(), want) })
	}
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("after SIGTERM: %v; log:\n%s", err, log)
	}
	if code, _ := jobs(t, &queue, "resume", "--json", "--config", config); code != exitOK || queue.Paused || queue.Queued != 1 {
		t.Errorf("resume without the daemon: %d, %+v", code, queue)
	}
	if code, stderr := jobs(t, &one, "cancel", "--json", "--config", config, "1"); code != exitOK || one[0].Reason != "cancelled on request" {
		t.Errorf("cancel: %d, %s, %+v", code, stderr, one)
	}
	var out, told bytes.Buffer
	code := execute(t.Context(), []string{"jobs", "show", "--config", config, text}, &out, &told)
	if code != exitOK || !strings.Contains(out.String(), "failed  "+text+": cancelled on request\n") {
		t.Errorf("show: %d, %s%s", code, &out, &told)
	}
	if code, stderr := jobs(t, nil, "watch", "--config", config); code != exitFailed || !strings.Contains(stderr, "no daemon answers") {
		t.Errorf("watch without the daemon: %d, %s", code, stderr)
	}
	for _, args := range [][]string{{"list", "--status", "lost"}, {"list", "--limit", "0"}, {"show"}} {
		if code, stderr := jobs(t, nil, args...); code != exitUsage {
			t.Errorf("%q: %d, %s", args, code, stderr)
		}
	}
}
