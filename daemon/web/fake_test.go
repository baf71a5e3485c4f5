package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"restored/config"
	"restored/daemon"
)

// worker stands in for the engine: no model, and work that ends when the test
// says so. The daemon and its queue are the real ones.
type worker struct {
	photo  chan struct{} // a photo ends for each
	frames chan int64    // a film is so far; it ends at 100
	whole  chan struct{} // closed: what was broken is whole
}

const frames = 100

func newWorker() *worker {
	return &worker{photo: make(chan struct{}), frames: make(chan int64), whole: make(chan struct{})}
}

func (w *worker) Process(ctx context.Context, job daemon.Job) (daemon.Result, error) {
	if strings.Contains(job.In, "broken") {
		select {
		case <-w.whole:
		default:
			return daemon.Result{}, errors.New("not a PNG file: it ends after 3 bytes")
		}
	} else {
		select {
		case <-w.photo:
		case <-ctx.Done():
			return daemon.Result{}, ctx.Err()
		}
	}
	report, err := json.Marshal(map[string]any{
		"format": "png", "width": 64, "height": 48, "model": "none", "provider": "cpu",
		"faces": []map[string]any{{
			"box": map[string]int{"x": 16, "y": 12, "width": 20, "height": 24}, "size": 20,
			"degradation": 2.25, "steps": 3, "identity": 0.31, "blend": 1, "decision": "restored",
		}},
	})
	if err == nil {
		err = os.WriteFile(job.Out, picture(color.White), 0o644)
	}
	return daemon.Result{Out: job.Out, Report: report}, err
}

func (w *worker) Plan(context.Context, daemon.VideoJob, func(daemon.Progress)) (daemon.VideoPlan, error) {
	return daemon.VideoPlan{Segments: 1, Frames: frames}, nil
}

func (w *worker) Analyse(context.Context, daemon.VideoJob, int, func(daemon.Progress)) error {
	return nil
}

func (w *worker) Render(ctx context.Context, _ daemon.VideoJob, _ int, tell func(daemon.Progress)) error {
	for {
		select {
		case n := <-w.frames:
			tell(daemon.Progress{Frames: n, Total: frames, Faces: 2})
			if n == frames {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *worker) Join(ctx context.Context, job daemon.VideoJob, _ func(daemon.Progress)) (daemon.Result, error) {
	_, err := job.Claim(ctx, job.Out)
	if err == nil {
		err = os.WriteFile(job.Out, []byte("a film"), 0o644)
	}
	report := `{"format":"mp4","width":64,"height":48,"faces":[],"video":{"tracks":[
		{"decision":"restored","identity":0.27,"degradation":1.5,"steps":2,"blend":1,"size":20,"shots":[
			{"at":1.5,"left":0.25,"top":0.25,"width":0.3,"height":0.5},{"at":62.25,"left":0.5,"top":0.25,"width":0.3,"height":0.5}]},
		{"decision":"left: already sharp","degradation":0.1,"size":30,"shots":[{"at":2,"left":0,"top":0,"width":0.5,"height":0.5}]}]}}`
	return daemon.Result{Out: job.Out, Report: json.RawMessage(report)}, err
}

// preview stands in for the process that makes small pictures: black before and
// white after, one pixel wider for each second.
func (w *worker) preview(_ context.Context, in string, side int, at float64) ([]byte, error) {
	if strings.Contains(in, "broken") {
		return nil, errors.New("not a PNG file")
	}
	img := image.NewGray(image.Rect(0, 0, side/10+max(0, int(at)), side/20))
	if filepath.Base(filepath.Dir(in)) == "out" {
		for i := range img.Pix {
			img.Pix[i] = 255
		}
	}
	var b bytes.Buffer
	err := jpeg.Encode(&b, img, nil)
	return b.Bytes(), err
}

// picture is a PNG of 64 × 48 pixels.
func picture(c color.Color) []byte {
	img := image.NewGray(image.Rect(0, 0, 64, 48))
	for i := range 64 * 48 {
		img.Set(i%64, i/64, c)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err) // nothing can go wrong in memory
	}
	return b.Bytes()
}

// logs gathers the daemon's log, from several goroutines.
type logs struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String()
}

// serve runs a daemon until the test's end, and returns its address.
func serve(t *testing.T, w *worker, token string) string {
	t.Helper()
	dir := t.TempDir()
	cfg := config.Default()
	cfg.State = filepath.Join(dir, "state")
	cfg.Watch = []config.Watch{{In: filepath.Join(dir, "in"), Out: filepath.Join(dir, "out"), Originals: "keep"}}
	cfg.HTTP.Listen, cfg.HTTP.Token = "127.0.0.1:0", token
	cfg.Settle.Quiet, cfg.Rescan = 100*time.Millisecond, time.Second
	cfg.Workers, cfg.Disk.Reserve = 1, 0
	if err := os.Mkdir(cfg.Watch[0].In, 0o755); err != nil {
		t.Fatal(err)
	}
	var log logs
	d, err := daemon.New(&cfg, daemon.Deps{
		Processor: w, IsPhoto: func(name string) bool { return strings.HasSuffix(name, ".png") },
		Videos: w, IsVideo: func(name string) bool { return strings.HasSuffix(name, ".mp4") },
		Preview: w.preview,
		Log:     slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", log.text())
		}
	})
	address := regexp.MustCompile(`address=(http://\S+)`)
	var found []string
	until(t, func() string { return "the page's address" }, func() bool {
		found = address.FindStringSubmatch(log.text())
		return found != nil && strings.Contains(log.text(), "restored is ready") || len(ended) > 0
	})
	if found == nil {
		t.Fatal("the daemon has ended")
	}
	return found[1]
}

// until polls until ok holds. The deadline is for a machine that has much else
// to do.
func until(t *testing.T, what func() string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute in vain for: %s", what())
		}
		<-time.After(50 * time.Millisecond)
	}
}
