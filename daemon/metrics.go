package daemon

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// The values of the label kind.
const (
	kindPhoto = "photo"
	kindVideo = "video"
)

// results are what can become of a file. All but the last three are a
// [Tally]'s; "done" is one without a tally, "known" one that has got the output
// of the same content.
var results = []string{"restored", "copied", "skipped", "done", "known", "failed", "cancelled"}

// seconds are buckets from 10 ms to three hours, each three times the one before.
var seconds = prometheus.ExponentialBuckets(0.01, 3, 13)

// metrics are the daemon's figures since its start, for Prometheus. Nothing that
// a file brings along becomes a label. nil counts nothing.
type metrics struct {
	registry *prometheus.Registry
	files    *prometheus.CounterVec   // kind, result
	took     *prometheus.HistogramVec // kind
	faces    *prometheus.CounterVec   // kind, decision
	stages   *prometheus.HistogramVec // kind, stage
	jobs     *prometheus.HistogramVec // step
	frames   *prometheus.CounterVec   // pass
	notices  *prometheus.CounterVec   // target, result
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: seconds}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		files:    counter("restored_files_ended_total", "Files whose work has ended, by what became of them.", "kind", "result"),
		took:     histogram("restored_file_seconds", "Time from the first step of the work on a file until it was done.", "kind"),
		faces:    counter("restored_faces_total", "Faces of photos and tracks of videos in finished files, by what was decided.", "kind", "decision"),
		stages:   histogram("restored_stage_seconds", "Time that a finished file took in a stage; segments of a video add up.", "kind", "stage"),
		jobs:     histogram("restored_job_seconds", "Time that one try of a job took: a photo, or a step of a video.", "step"),
		frames:   counter("restored_video_frames_total", "Pictures of videos that were gone through, by the pass.", "pass"),
		notices:  counter("restored_notices_total", "Tries to tell of a file's end, by whom was told and how it went.", "target", "result"),
	}
	m.registry.MustRegister(m.files, m.took, m.faces, m.stages, m.jobs, m.frames, m.notices,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, kind := range []string{kindPhoto, kindVideo} { // a rate needs a 0 to begin with
		for _, result := range results {
			m.files.WithLabelValues(kind, result)
		}
		m.took.WithLabelValues(kind)
	}
	for _, pass := range []stage{stageAnalyse, stageRender} {
		m.frames.WithLabelValues(string(pass))
	}
	for _, target := range []string{targetURL, targetCommand} {
		for _, result := range []string{"told", "failed", "given up"} {
			m.notices.WithLabelValues(target, result)
		}
	}
	return m
}

// ended counts a file whose work has ended, after so long. One that is put back
// or aside doesn't count.
func (m *metrics) ended(kind string, state State, res Result, err error, took time.Duration) {
	result := resultOf(state, res, err)
	if m == nil || result == "" {
		return
	}
	m.files.WithLabelValues(kind, result).Inc()
	if state != Done {
		return
	}
	m.took.WithLabelValues(kind).Observe(took.Seconds())
	for decision, n := range res.Tally.Faces {
		m.faces.WithLabelValues(kind, decision).Add(float64(n))
	}
	for stage, s := range res.Tally.Seconds {
		m.stages.WithLabelValues(kind, stage).Observe(s)
	}
}

// resultOf is one of results, or "" where the file's work hasn't ended.
func resultOf(state State, res Result, err error) string {
	var unread *errUnread
	switch {
	case state == Done && res.sameAs != "":
		return "known"
	case state == Done && res.Tally.Result != "":
		return res.Tally.Result
	case state == Done:
		return "done"
	case state != Failed, errors.As(err, &unread):
		return ""
	case errors.Is(err, errCancelled):
		return "cancelled"
	}
	return "failed"
}

// worked counts one try of a job.
func (m *metrics) worked(job string, took time.Duration) {
	if m != nil {
		m.jobs.WithLabelValues(job).Observe(took.Seconds())
	}
}

// through counts pictures that a pass has gone through.
func (m *metrics) through(of stage, pictures int64) {
	if m != nil && pictures > 0 && of.segmented() {
		m.frames.WithLabelValues(string(of)).Add(float64(pictures))
	}
}

// noticed counts a try to tell of a file's end.
func (m *metrics) noticed(target, result string) {
	if m != nil {
		m.notices.WithLabelValues(target, result).Inc()
	}
}
