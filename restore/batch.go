package restore

import (
	"context"
	"sync"
	"time"
)

// A Batcher lets many goroutines restore single faces. On a GPU those that wait
// at the same time are run together, up to 8. On a CPU batching gains nothing,
// and each run is one face: several go on at the same time, each on a core of
// its own, which takes 0.8 of the time of one after the other on all cores.
type Batcher struct {
	session *Session                 // the caller's
	open    func() (*Session, error) // the session that runs the faces
	own     *Session                 // what open has opened; nil = nothing
	runs    int
	queue   chan *request
	stop    context.CancelFunc
	runners sync.WaitGroup
}

type request struct {
	ctx  context.Context
	face Face
	out  []float32
	took time.Duration
	err  error
	done chan struct{}
}

const (
	// gpuRuns are how many runs go on at the same time on a GPU: while one
	// computes, the other's faces are packed and unpacked.
	gpuRuns = 2
	// cpuRuns bounds them on a CPU: each holds some 100 MB.
	cpuRuns = 4
)

// NewBatcher starts the Batcher's goroutines, which Close ends. The session
// stays the caller's. On a CPU the Batcher takes so many cores. Unless
// the session's runs take what each run may, a second session of the same model is opened when it is first needed.
func NewBatcher(s *Session, cores int) *Batcher {
	ctx, stop := context.WithCancel(context.Background())
	runs := gpuRuns
	if s.provider == "cpu" {
		runs = min(max(cores, 1), cpuRuns)
	}
	b := &Batcher{session: s, runs: runs, queue: make(chan *request, runs*maxBatch), stop: stop}
	b.open = sync.OnceValues(func() (*Session, error) {
		threads := max(cores, 1) / runs
		if s.provider != "cpu" || s.threads == threads {
			return s, nil
		}
		var err error
		b.own, err = Open(s.model, Options{Provider: s.provider, Threads: threads})
		return b.own, err
	})
	for range runs {
		b.runners.Go(func() { b.run(ctx) })
	}
	return b
}

// Runs is how many runs go on at the same time.
func (b *Batcher) Runs() int { return b.runs }

// Close ends the goroutines and frees the second session. No Restore may be running.
func (b *Batcher) Close() error {
	b.stop()
	b.runners.Wait()
	if b.own == nil {
		return nil
	}
	return b.own.Close()
}

// Restore is Session.Restore of one face, with its share of the run's time. When
// ctx ends it returns at once; a run that others share goes on for them.
func (b *Batcher) Restore(ctx context.Context, f Face) ([]float32, time.Duration, error) {
	r := &request{ctx: ctx, face: f, done: make(chan struct{})}
	select {
	case b.queue <- r:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	select {
	case <-r.done:
		return r.out, r.took, r.err
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

func (b *Batcher) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-b.queue:
			b.serve(ctx, b.gather(r))
		}
	}
}

// gather adds what waits already to a request.
func (b *Batcher) gather(first *request) []*request {
	batch := []*request{first}
	for len(batch) < b.session.batch() {
		select {
		case r := <-b.queue:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// serve runs the requests whose callers still wait. If a run of several fails,
// each is tried alone, so that one face's error is its own.
func (b *Batcher) serve(ctx context.Context, batch []*request) {
	waiting := batch[:0]
	var faces []Face
	for _, r := range batch {
		if r.err = r.ctx.Err(); r.err != nil {
			close(r.done)
			continue
		}
		waiting = append(waiting, r)
		faces = append(faces, r.face)
	}
	switch len(waiting) {
	case 0:
		return
	case 1:
		ctx = waiting[0].ctx // a run of its own ends with its caller
	}
	session, err := b.open()
	start := time.Now()
	var out [][]float32
	if err == nil {
		out, err = session.Restore(ctx, faces)
	}
	switch {
	case err == nil:
		for i, r := range waiting {
			r.out, r.took = out[i], time.Since(start)/time.Duration(len(waiting))
			close(r.done)
		}
	case len(waiting) == 1:
		waiting[0].err = err
		close(waiting[0].done)
	default:
		for _, r := range waiting {
			b.serve(ctx, []*request{r})
		}
	}
}
