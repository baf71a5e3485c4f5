package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
)

// BenchmarkQueue says what the queue costs a job, and how that grows with the
// jobs that wait: go test ./daemon -run - -bench Queue -benchtime 1x
func BenchmarkQueue(b *testing.B) {
	for _, database := range []string{"sqlite", "postgres"} {
		for _, waiting := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", database, waiting), func(b *testing.B) {
				for range b.N {
					benchQueue(b, database == "postgres", waiting)
				}
			})
		}
	}
}

func benchQueue(b *testing.B, shared bool, waiting int) {
	s := newSite(b)
	if shared {
		s.cfg.Queue.URL = postgresOf(b).Database(b)
	}
	l := s.ledger()
	defer l.Close()
	w := &worker{ledger: l, timeout: time.Minute, attempts: 1, log: slog.New(slog.DiscardHandler)}
	var m *member
	if shared {
		m = s.daemon(&proc{}).member(l, time.Minute)
	}
	q, err := openQueue(b.Context(), l, w, nil, nil, m, 1, w.log)
	if err != nil {
		b.Fatal(err)
	}
	did := func(what string, n int, f func() error) {
		b.Helper()
		began := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Microseconds())/1000/float64(n), "ms/"+what)
	}
	did("enqueue", waiting, func() error {
		for i := 0; i < waiting; i += enqueueBatch {
			var files []foundFile
			for j := i; j < min(i+enqueueBatch, waiting); j++ {
				files = append(files, foundFile{fmt.Sprintf("/in/%06d.jpg", j), Version{1, int64(j)}})
			}
			if _, err := q.enqueue(b.Context(), files); err != nil {
				return err
			}
		}
		return nil
	})
	const fetches = 100
	did("fetch", fetches, func() error {
		for range fetches {
			found, err := q.client.Driver().GetExecutor().JobGetAvailable(b.Context(), &riverdriver.JobGetAvailableParams{
				ClientID: "bench", MaxAttemptedBy: 100, MaxToLock: 1, Queue: river.QueueDefault,
			})
			if err != nil || len(found.Jobs) != 1 {
				return fmt.Errorf("fetched %+v, %w", found, err)
			}
		}
		return nil
	})
	control := &Control{queue: q}
	did("list", 10, func() error {
		for range 10 {
			if _, err := control.List(b.Context(), Queued, int64(waiting-DefaultPage), 0); err != nil {
				return err
			}
		}
		return nil
	})
	did("status", 10, func() error {
		for range 10 {
			if _, err := control.Status(b.Context()); err != nil {
				return err
			}
		}
		return nil
	})
}

// BenchmarkWorkers says how much more two workers do than one, of jobs that take
// a tenth of a second and no processor, so that the queue alone is measured.
func BenchmarkWorkers(b *testing.B) {
	const photos, each = 100, 100 * time.Millisecond
	took := map[int]time.Duration{}
	for range b.N {
		for n := 1; n <= 2; n++ {
			c := &cluster{newSite(b)}
			c.cfg.Queue.URL, c.cfg.Queue.Take, c.cfg.Queue.Lease = postgresOf(b).Database(b), "none", 10*time.Second
			stop := c.start(&proc{})
			for i := range photos {
				c.put(fmt.Sprintf("%d.jpg", i), fmt.Sprint(i))
			}
			wait(b, "the jobs", func() bool { return countsOf(b, c.site)[Queued] == photos })
			began := time.Now()
			slow := &proc{before: func(context.Context, Job) error {
				<-time.After(each)
				return nil
			}}
			stops := []func() error{}
			for range n {
				stops = append(stops, c.worker(slow, nil, nil))
			}
			wait(b, "all", c.done(photos))
			took[n] += time.Since(began)
			for _, stop := range stops {
				_ = stop() // they were asked to
			}
			stop()
		}
	}
	b.ReportMetric(took[1].Seconds()/took[2].Seconds(), "speedup")
	b.ReportMetric((took[1]/photos/time.Duration(b.N)-each).Seconds()*1000, "ms-over/job")
}
