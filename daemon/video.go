package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Videos does the work on videos, in steps of which each can be repeated:
// Plan once, Analyse and Render for every segment, Join once. Steps of one
// video may run at the same time, those of a later kind only when all of the
// kind before are done. A step whose result lies in the work folder already
// returns at once.
//
// A step calls tell when it has got on, from any goroutine, and at least once
// in config's video.stall; a step that tells nothing for so long is stopped.
// It must return soon after ctx is done, with its temporaries removed. An
// error is final for this version of the file unless [IsTransient] holds for
// it or it is [ErrStale].
type Videos interface {
	// Plan cuts the video into segments and says what the work will need.
	Plan(ctx context.Context, job VideoJob, tell func(Progress)) (VideoPlan, error)
	// Analyse is the first pass over a segment, counted from 0.
	Analyse(ctx context.Context, job VideoJob, segment int, tell func(Progress)) error
	// Render is the second pass over a segment.
	Render(ctx context.Context, job VideoJob, segment int, tell func(Progress)) error
	// Join writes the output, whole or not at all, by rename.
	Join(ctx context.Context, job VideoJob, tell func(Progress)) (Result, error)
}

// VideoJob is the work on one video.
type VideoJob struct {
	ID   int64  // of the file in the ledger; the same for later versions of it
	In   string // absolute path of the original; never written
	Out  string // absolute path of the output by the name of the input
	Work string // folder for what the steps leave for each other; exists

	Profile string // of the watched folder, "" = none

	// Careful is set when a step is tried again because it got no further: one
	// decoder thread, and whatever else may help.
	Careful bool

	// Claim must be asked by Join before it writes any path, Out too, and tells
	// whether what may lie there can be replaced. The path is the plan's, or
	// another in the same folder, which exists. Its error is to be returned as
	// it is. For the other steps it is nil.
	Claim func(ctx context.Context, out string) (overwrite bool, err error)
}

// VideoPlan is what Plan has found.
type VideoPlan struct {
	Segments  int    // at least 1
	Frames    int64  // pictures in all; 0 = unknown
	WorkBytes int64  // that all segments will take in the work folder
	OutBytes  int64  // that the output will take
	Out       string // path that Join will write (in Out's folder, with another extension); "" = VideoJob.Out
}

// Progress is how far a step is. All is counted within the step.
type Progress struct {
	Frames int64 // pictures that are done
	Total  int64 // pictures that there are; 0 = unknown
	Faces  int64 // faces that were found (Analyse) or restored (Render) in them
}

// share is the part that is done, 0 where it is not known.
func (p Progress) share() float64 {
	if p.Total <= 0 {
		return 0
	}
	return min(max(float64(p.Frames)/float64(p.Total), 0), 1)
}

// ErrStale is returned by a step that finds the video planned for other
// settings, models or another version of the program than now. If that was
// done by an earlier process the video is planned anew, else it has failed.
var ErrStale = errors.New("the work was begun with other settings")

// KeptError marks an error after which the work folder is kept for a look,
// until the file changes or is done.
type KeptError struct{ Err error }

func (e *KeptError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *KeptError) Unwrap() error { return e.Err }

// KeepWork marks err as one to look into: an output that failed its
// verification. It returns nil for nil.
func KeepWork(err error) error {
	if err == nil {
		return nil
	}
	return &KeptError{err}
}

// stage is what is done next with a video.
type stage string

const (
	stagePlan    stage = "plan"
	stageAnalyse stage = "analyse"
	stageRender  stage = "render"
	stageJoin    stage = "join"
)

// segmented tells whether the stage has one step for each segment.
func (s stage) segmented() bool { return s == stageAnalyse || s == stageRender }

// outcome is what a step that went well has given.
type outcome struct {
	plan   VideoPlan // of stagePlan
	result Result    // of stageJoin, or of stagePlan where known is set
	known  bool      // the output was there for the same content
	told   Progress  // the last
}

// callStep runs one step; a panic becomes an error.
func callStep(ctx context.Context, v Videos, st step, job VideoJob, tell func(Progress)) (end outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{p, stack()}
		}
	}()
	switch st.video.stage {
	case stagePlan:
		end.plan, err = v.Plan(ctx, job, tell)
		if err == nil && end.plan.Segments < 1 {
			err = fmt.Errorf("the plan of %s has %d segments", job.In, end.plan.Segments)
		}
	case stageAnalyse:
		err = v.Analyse(ctx, job, st.segment, tell)
	case stageRender:
		err = v.Render(ctx, job, st.segment, tell)
	case stageJoin:
		end.result, err = v.Join(ctx, job, tell)
		if report := end.result.Report; err == nil && len(report) > 0 && !json.Valid(report) {
			err = fmt.Errorf("the report on %s is not JSON", job.In)
		}
	}
	return end, err
}
