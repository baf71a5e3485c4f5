package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scrapePatience is how long the ledger may take to answer a scrape.
const scrapePatience = 5 * time.Second

// Children are the processes that work on files.
type Children struct {
	Idle, Busy       int
	Started, Crashed int64 // since the start
	Memory           int64 // bytes that they hold together
}

// The figures that are looked up when they are asked for.
var (
	filesDesc    = prometheus.NewDesc("restored_files", "Files that the ledger knows, by their state.", []string{"state"}, nil)
	oldestDesc   = prometheus.NewDesc("restored_queue_oldest_seconds", "How long the file waits that waits for longest; 0 = none waits.", nil, nil)
	pausedDesc   = prometheus.NewDesc("restored_queue_paused", "1 while nothing new is begun.", nil, nil)
	dueDesc      = prometheus.NewDesc("restored_queue_due_jobs", "Jobs (photos and steps of videos) that could be begun now.", nil, nil)
	waitingDesc  = prometheus.NewDesc("restored_notices_waiting", "Notices of files' ends that are still to be told.", nil, nil)
	infoDesc     = prometheus.NewDesc("restored_info", "With what the daemon works.", []string{"version", "model", "provider"}, nil)
	childrenDesc = prometheus.NewDesc("restored_children", "Processes that work on files.", []string{"state"}, nil)
	startedDesc  = prometheus.NewDesc("restored_children_started_total", "Processes that were started to work on files.", nil, nil)
	crashedDesc  = prometheus.NewDesc("restored_children_crashed_total", "Processes that ended in the middle of their work.", nil, nil)
	memoryDesc   = prometheus.NewDesc("restored_children_resident_memory_bytes", "Memory that the processes hold that work on files.", nil, nil)
	stateDesc    = prometheus.NewDesc("restored_state_free_bytes", "Free space on the disk of the state folder.", nil, nil)
)

// queueMetrics looks up what the metrics tell of the queue and the machine.
type queueMetrics struct {
	control  *Control
	deps     *Deps
	free     func(dir string) (space, error)
	stateDir string
}

// Describe implements prometheus.Collector.
func (q queueMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{filesDesc, oldestDesc, pausedDesc, dueDesc, waitingDesc, infoDesc, childrenDesc, startedDesc, crashedDesc, memoryDesc, stateDesc} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (q queueMetrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if err := q.ledger(gauge); err != nil {
		out <- prometheus.NewInvalidMetric(filesDesc, err)
	}
	about := q.deps.About
	gauge(infoDesc, 1, about.Version, strings.ToValidUTF8(about.Model, "\uFFFD"), about.Provider)
	if s, err := q.free(q.stateDir); err == nil {
		gauge(stateDesc, float64(s.free))
	}
	if q.deps.Children == nil {
		return
	}
	c := q.deps.Children()
	gauge(childrenDesc, float64(c.Idle), "idle")
	gauge(childrenDesc, float64(c.Busy), "busy")
	gauge(memoryDesc, float64(c.Memory))
	out <- prometheus.MustNewConstMetric(startedDesc, prometheus.CounterValue, float64(c.Started))
	out <- prometheus.MustNewConstMetric(crashedDesc, prometheus.CounterValue, float64(c.Crashed))
}

// ledger tells what stands in the database.
func (q queueMetrics) ledger(gauge func(d *prometheus.Desc, value float64, labels ...string)) error {
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	info, err := q.control.Status(ctx)
	if err != nil {
		return err
	}
	oldest, err := q.control.queue.ledger.oldest(ctx)
	if err != nil {
		return err
	}
	due, err := q.control.queue.due(ctx)
	if err != nil {
		return err
	}
	notices, err := noticesWaiting(ctx, q.control.queue.ledger.db)
	if err != nil {
		return err
	}
	for state, n := range map[State]int{Queued: info.Queued, Running: info.Running, Done: info.Done, Failed: info.Failed} {
		gauge(filesDesc, float64(n), string(state))
	}
	paused := 0.0
	if info.Paused {
		paused = 1
	}
	gauge(pausedDesc, paused)
	gauge(oldestDesc, oldest.Seconds())
	gauge(dueDesc, float64(due))
	gauge(waitingDesc, float64(notices))
	return nil
}

// oldest is how long the file waits that waits for longest; 0 = none does.
func (l *Ledger) oldest(ctx context.Context) (time.Duration, error) {
	var since *int64
	if err := l.db.QueryRowContext(ctx, "SELECT min(queued_ms) FROM files WHERE state = 'queued'").Scan(&since); err != nil {
		return 0, fmt.Errorf("ledger: oldest: %w", err)
	}
	if since == nil {
		return 0, nil
	}
	return max(time.Since(time.UnixMilli(*since)), 0), nil
}
