package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

const (
	// lookEvery is the longest pause between two looks at a step in work: at
	// its progress, its input and the disks.
	lookEvery = 5 * time.Second
	// stallTries is how often a step is tried that tells no progress, the
	// first time in the usual way and then carefully.
	stallTries = 2
)

// step is one piece of work on a video: its stage is that of the row.
type step struct {
	rec     Record
	video   videoRow
	segment int    // of the stages analyse and render
	work    string // folder of the run
	try     int    // the first is 1
	out     string // where the output should go, by the name of the input
	top     string // the folder below which missing folders may be made
	force   bool   // an existing output may be replaced whosever it is

	lane     string // River's queue of the segments that the plan makes
	profile  string
	settings string // what it is worked on with, see Deps.Settings
}

// stalledError is a step that told no progress for too long.
type stalledError struct{ after time.Duration }

func (e *stalledError) Error() string {
	return fmt.Sprintf("no progress for %s (video.stall)", e.after)
}

// deafError is a step that was stopped and did not return. What it does goes
// on somewhere, so that it is not tried again.
type deafError struct{ why error }

func (e *deafError) Error() string { return e.why.Error() + "; and it does not stop" }

// Unwrap returns why it was stopped.
func (e *deafError) Unwrap() error { return e.why }

// videoRunner does steps and watches over them.
type videoRunner struct {
	ledger *Ledger
	videos Videos
	room   room
	stall  time.Duration
	grace  time.Duration // how long a step that was stopped may take to return
	log    *slog.Logger
	active activity
}

// do does one step. How it ended is for the caller to note, before it calls
// leave. The error is an *errUnread if the input is not the one that was
// planned, a *noRoomError if the step has to wait, errGone if the video is not
// in work any more.
func (r *videoRunner) do(ctx context.Context, st step) (end outcome, leave func(), err error) {
	ctx, stop := context.WithCancelCause(ctx)
	p := r.active.enter(st, stop)
	leave = func() {
		stop(nil)
		r.warn(ctx, st, r.active.leave(p))
	}
	job, err := r.begin(ctx, st)
	if err != nil {
		return outcome{}, leave, err
	}
	if st.video.stage == stagePlan {
		if end, err = r.known(ctx, st); end.known || err != nil {
			return end, leave, err
		}
	}
	end, err = r.attempt(ctx, st, p, job)
	return end, leave, err
}

// attempt runs the step, twice if it stalls.
func (r *videoRunner) attempt(ctx context.Context, st step, p *pulse, job VideoJob) (end outcome, err error) {
	for try := 1; ; try++ {
		p.revive()
		end, err = r.watched(ctx, st, p, job)
		var stalled *stalledError
		var deaf *deafError
		if !errors.As(err, &stalled) || errors.As(err, &deaf) || try == stallTries {
			break
		}
		r.logStep(st).WarnContext(ctx, "video got no further: tried once more, carefully", "after", stalled.after.String())
		job.Careful = true
	}
	if err != nil && ctx.Err() == nil {
		// An input that was replaced or vanished meanwhile explains any error, and
		// so does a work folder that has gone.
		if changed := unchanged(st.rec); changed != nil {
			return outcome{}, changed
		}
		if lost := isFolder(job.Work); lost != nil {
			return outcome{}, fmt.Errorf("%w: %w", errLost, lost)
		}
	}
	return end, err
}

// begin checks what must hold before the step, and makes its job.
func (r *videoRunner) begin(ctx context.Context, st step) (VideoJob, error) {
	if err := unchanged(st.rec); err != nil {
		return VideoJob{}, err
	}
	needs, err := r.ledger.needs(ctx, st.video.run)
	if err != nil {
		return VideoJob{}, Transient(err)
	}
	if err := r.room.check(append(needs, need{st.outDir(), 0})...); err != nil {
		return VideoJob{}, err
	}
	if err := r.ledger.startStep(ctx, st); err != nil {
		if errors.Is(err, errGone) {
			return VideoJob{}, err
		}
		return VideoJob{}, Transient(err)
	}
	job := VideoJob{ID: st.rec.ID, In: st.rec.Path, Out: st.out, Work: st.work, Profile: st.profile}
	if st.video.stage == stagePlan {
		if err := os.MkdirAll(job.Work, 0o750); err != nil {
			return VideoJob{}, fmt.Errorf("work folder: %w", err)
		}
	} else if err := isFolder(job.Work); err != nil {
		return VideoJob{}, fmt.Errorf("%w: %w", errLost, err)
	}
	if st.video.stage == stageJoin {
		if err := makeDirs(st.top, filepath.Dir(job.Out)); err != nil {
			return VideoJob{}, err
		}
		job.Claim = func(ctx context.Context, out string) (bool, error) {
			return r.ledger.claim(ctx, st.rec.ID, out, st.force)
		}
		// Kept for the file since the plan. What lies there now is refused before
		// the work.
		if err := r.ledger.reserve(ctx, st.rec.ID, st.target(), st.force); err != nil {
			return VideoJob{}, err
		}
	}
	return job, nil
}

// known identifies the video, and provides the output that is there for the
// same content.
func (r *videoRunner) known(ctx context.Context, st step) (outcome, error) {
	if err := identify(ctx, &st.rec, st.settings); err != nil {
		return outcome{}, err
	}
	if err := r.ledger.describe(ctx, &st.rec, st.rec.Content, st.settings); err != nil {
		return outcome{}, err
	}
	found, err := r.ledger.twin(ctx, st.rec, st.out)
	if err != nil || found == nil {
		return outcome{}, Transient(err)
	}
	if found.ID != st.rec.ID {
		if err := r.room.check(need{filepath.Dir(found.target), found.size}); err != nil {
			return outcome{}, err
		}
	}
	res, err := r.ledger.provide(ctx, &st.rec, found, st.top)
	if errors.Is(err, errNoTwin) {
		return outcome{}, nil
	}
	return outcome{result: res, known: err == nil}, err
}

// errLost is work that somebody has removed: the video is planned anew.
var errLost = errors.New("the work so far is lost")

// target is the path of the output.
func (st step) target() string {
	if st.video.out != "" {
		return st.video.out
	}
	return st.out
}

func (st step) outDir() string { return filepath.Dir(st.target()) }

// watched runs the step and stops it where something is in its way. The error
// then is the reason for that.
func (r *videoRunner) watched(ctx context.Context, st step, p *pulse, job VideoJob) (outcome, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	type ended struct {
		outcome
		err error
	}
	done := make(chan ended, 1)
	r.active.hold(st.video.run)
	go func() {
		end, err := callStep(ctx, r.videos, st, job, p.tell)
		end.told, _ = p.look()
		r.warn(ctx, st, r.active.drop(st.video.run))
		done <- ended{end, err}
	}()
	look := time.NewTicker(min(lookEvery, max(r.stall/4, time.Millisecond)))
	defer look.Stop()
	stopped := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case e := <-done:
			if why := context.Cause(ctx); e.err != nil && ours(why) {
				return outcome{}, why
			}
			return e.outcome, e.err
		case <-stopped:
			stopped = nil
			// The stop of the whole daemon has its own patience.
			if ours(context.Cause(ctx)) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
				timer := time.NewTimer(r.grace)
				defer timer.Stop()
				late = timer.C
			}
		case <-late:
			var unread *errUnread
			why := context.Cause(ctx)
			if errors.Is(why, errGone) || errors.As(why, &unread) {
				return outcome{}, why
			}
			return outcome{}, &deafError{why}
		case <-look.C:
			if why := r.trouble(st, p); why != nil {
				stop(why)
			}
		}
	}
}

// ours tells whether a step was stopped by us, and not with the daemon or by
// its timeout.
func ours(why error) bool {
	var stalled *stalledError
	var unread *errUnread
	var none *noRoomError
	return errors.Is(why, errGone) || errors.Is(why, errCancelled) || errors.As(why, &stalled) || errors.As(why, &unread) || errors.As(why, &none)
}

// trouble looks for what is in the way of a step in work.
func (r *videoRunner) trouble(st step, p *pulse) error {
	told, silent := p.look()
	if silent > r.stall {
		return &stalledError{after: r.stall}
	}
	var unread *errUnread
	if err := unchanged(st.rec); errors.As(err, &unread) {
		return err
	}
	var none *noRoomError
	if err := r.room.check(st.needs(told)...); errors.As(err, &none) {
		return err
	}
	return nil
}

// needs is what a step in work will still write itself. It is less than what
// the whole video needs, so that a step that had room when it began is not
// stopped because an estimate was a little wrong.
func (st step) needs(told Progress) []need {
	inWork, inOut := need{st.work, 0}, need{st.outDir(), 0}
	rest := 1 - told.share()
	switch st.video.stage {
	case stageRender:
		inWork.bytes = int64(rest * float64(st.video.workBytes) / float64(max(st.video.segments, 1)))
	case stageJoin:
		inOut.bytes = int64(rest * float64(st.video.outBytes))
	}
	return []need{inWork, inOut}
}

func (r *videoRunner) logStep(st step) *slog.Logger {
	log := r.log.With("file", st.rec.Path, "stage", string(st.video.stage))
	if st.video.stage.segmented() {
		log = log.With("segment", st.segment)
	}
	return log
}

// warn tells of a work folder that could not be removed; the next start does.
func (r *videoRunner) warn(ctx context.Context, st step, err error) {
	if err != nil {
		r.logStep(st).WarnContext(ctx, "work folder not removed", "error", err)
	}
}
