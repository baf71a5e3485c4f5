package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// figures are the metrics by their names with labels, as they are scraped.
func (s *pageSite) figures() map[string]float64 {
	s.t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(s.want(200, "GET", "/metrics", nil)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if at := strings.LastIndex(line, "} "); at >= 0 { // a label may hold a blank
			name, value = line[:at+1], strings.TrimSpace(line[at+2:])
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		all[name] = n
	}
	return all
}

// measured is a site with a page where photos and a film were worked on, one
// of the photos failed, and the queue is paused with one more in it.
func measured(t *testing.T) *pageSite {
	p := processorFunc(func(ctx context.Context, job Job) (Result, error) {
		if strings.HasSuffix(job.In, "bad.jpg") {
			return Result{}, errors.New("no photo")
		}
		r, err := copyPhoto(ctx, job)
		r.Tally = Tally{Result: "restored", Faces: map[string]int{"restored": 2, "sharp": 1}, Seconds: map[string]float64{"model": 0.5}}
		return r, err
	})
	s := newPageSite(t, p, func(s *site) {
		s.with = "m" // what is the same is known
		s.films = &films{segments: 2, plan: VideoPlan{Frames: 20}}
	})
	for name, content := range map[string]string{"a.jpg": "a", "b.mp4": "film", "bad.jpg": "bad"} {
		s.put(name, content)
	}
	s.done("a.jpg")
	s.done("b.mp4")
	s.put("again.jpg", "a") // the same content
	s.done("again.jpg")
	wait(t, "the failure", func() bool { return strings.Contains(s.want(200, "GET", "/v1/queue", nil), `"failed":1`) })
	s.want(200, "POST", "/v1/queue/pause", nil)
	s.put("later.jpg", "later")
	wait(t, "the photo that waits", func() bool { return strings.Contains(s.want(200, "GET", "/v1/queue", nil), `"queued":1`) })
	return s
}

func TestMetrics(t *testing.T) {
	s := measured(t)
	got := s.figures()
	for name, want := range map[string]float64{
		`restored_files{state="done"}`:                                        3,
		`restored_files{state="failed"}`:                                      1,
		`restored_files{state="queued"}`:                                      1,
		`restored_files{state="running"}`:                                     0,
		`restored_files_ended_total{kind="photo",result="restored"}`:          1,
		`restored_files_ended_total{kind="photo",result="known"}`:             1,
		`restored_files_ended_total{kind="photo",result="failed"}`:            1,
		`restored_files_ended_total{kind="video",result="done"}`:              1,
		`restored_files_ended_total{kind="video",result="failed"}`:            0,
		`restored_faces_total{decision="restored",kind="photo"}`:              2,
		`restored_faces_total{decision="sharp",kind="photo"}`:                 1,
		`restored_stage_seconds_sum{kind="photo",stage="model"}`:              0.5,
		`restored_stage_seconds_bucket{kind="photo",stage="model",le="0.27"}`: 0,
		`restored_stage_seconds_bucket{kind="photo",stage="model",le="0.81"}`: 1,
		`restored_file_seconds_count{kind="video"}`:                           1,
		`restored_job_seconds_count{step="photo"}`:                            3,
		`restored_job_seconds_count{step="plan"}`:                             1,
		`restored_job_seconds_count{step="analyse"}`:                          2,
		`restored_job_seconds_count{step="render"}`:                           2,
		`restored_job_seconds_count{step="join"}`:                             1,
		`restored_video_frames_total{pass="render"}`:                          20,
		`restored_queue_paused`:                                               1,
		`restored_queue_due_jobs`:                                             1,
		`restored_notices_waiting`:                                            0,
		`restored_children{state="busy"}`:                                     1,
		`restored_children_resident_memory_bytes`:                             1e6,
		`restored_folder_up{folder=` + strconv.Quote(s.in) + `}`:              1,
		`restored_info{model="m",provider="cpu",version="v"}`:                 1,
	} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s is %v (there: %v), want %v", name, n, ok, want)
		}
	}
	for _, name := range []string{`restored_folder_free_bytes{folder=` + strconv.Quote(s.in) + `}`, "restored_state_free_bytes",
		"restored_queue_oldest_seconds", "process_resident_memory_bytes", "go_goroutines"} {
		if got[name] <= 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
}

// The names and texts are as Prometheus's own linter wants them.
func TestMetricsLint(t *testing.T) {
	s := measured(t)
	problems, err := promlint.New(strings.NewReader(s.want(200, "GET", "/metrics", nil))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Who may not see the page may not see the metrics; a scraper sends the token.
func TestMetricsNeedToken(t *testing.T) {
	s := newPageSite(t, &proc{}, func(s *site) { s.cfg.HTTP.Token = testToken })
	s.want(http.StatusUnauthorized, "GET", "/metrics", nil)
	s.want(http.StatusUnauthorized, "GET", "/metrics", nil, "Authorization: Bearer x")
	s.want(http.StatusMisdirectedRequest, "GET", "/metrics", nil, "Authorization: Bearer "+testToken, "Host: evil.example")
	s.want(http.StatusOK, "GET", "/metrics", nil, "Authorization: Bearer "+testToken)
}

// docs/notify.md lists the daemon's metrics, and no others.
func TestMetricsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/notify.md")
	if err != nil {
		t.Fatal(err)
	}
	metric := regexp.MustCompile("`(restored_[a-z_]+)[{`]")
	documented := map[string]bool{}
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "|") {
			for _, m := range metric.FindAllStringSubmatch(line, -1) {
				documented[m[1]] = true
			}
		}
	}
	there := map[string]bool{}
	for name := range measured(t).figures() {
		name, _, _ = strings.Cut(name, "{")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(name, suffix); strings.HasSuffix(base, "_seconds") {
				name = base
			}
		}
		if strings.HasPrefix(name, "restored_") && !documented[name] {
			t.Errorf("%s isn't documented", name)
		}
		there[name] = true
	}
	for name := range documented {
		if !there[name] {
			t.Errorf("there is no metric %s", name)
		}
	}
}

// Each expression of the dashboard is of metrics that there are.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile("../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for name := range measured(t).figures() {
		name, _, _ = strings.Cut(name, "{")
		known[name] = true
	}
	metric := regexp.MustCompile(`\b(restored|process|go)_[a-z_]+`)
	panels := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			panels++
			names := metric.FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s: no metric in %q", p.Title, target.Expr)
			}
			for _, name := range names {
				if !known[name] {
					t.Errorf("%s: there is no metric %s", p.Title, name)
				}
			}
		}
	}
	if panels < 10 {
		t.Errorf("%d expressions", panels)
	}
}
