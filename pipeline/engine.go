package pipeline

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"restored/align"
	"restored/detect"
	"restored/media"
	"restored/restore"
)

// AutoSteps lets each face's degradation decide its number of diffusion steps.
const AutoSteps = -1

// Options of an Engine: the thresholds of the guards and what is written.
type Options struct {
	Workers    int            // files at the same time; at least 1
	Cores      int            // that they share for the faces of videos, where a CPU runs the model
	Detect     detect.Options // MinFace and Threshold are those of the guards
	Steps      int            // diffusion steps, or AutoSteps
	Blend      float64        // 0..1: how much of the restored face is pasted
	SharpBelow float64        // octaves: a face degraded by less is left alone
	Limit      float64        // largest identity distance between a face and its restoration
	Unverified bool           // paste also where the identity can't be checked
	CopyNoFace bool           // a photo with nothing to restore is copied, not skipped
	Provenance bool           // mark outputs as partly machine-made
	MaxPixels  int            // larger photos are refused
	Video      VideoOptions
}

// An Engine restores files. It is safe for many goroutines; at most
// Options.Workers of them work at a time and the others wait.
type Engine struct {
	o       Options
	session *restore.Session
	batcher *restore.Batcher // of the faces of videos
	pool    chan *worker
}

// A worker is what one file needs for itself while it is worked on.
type worker struct {
	detector   *detect.Detector
	recognizer *detect.Recognizer
}

// New makes an Engine. Errors name the model file that can't be used.
func New(session *restore.Session, o Options) (*Engine, error) {
	spec := session.Spec()
	if _, err := align.Template("dlib_"+spec.Template, spec.Size); err != nil {
		return nil, err
	}
	e := &Engine{o: o, session: session, batcher: restore.NewBatcher(session, o.Cores), pool: make(chan *worker, o.Workers)}
	search := o.Detect
	// What lies a little under a guard's limit is searched for too, so that the
	// report can say that it was left.
	search.MinFace = o.Detect.MinFace * 3 / 4
	search.Threshold = min(o.Detect.Threshold, 0)
	for range o.Workers {
		w, err := openWorker(search)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.pool <- w
	}
	return e, nil
}

// openWorker reads dlib's models, which takes most of the time of a start, for
// detector and recognizer at the same time.
func openWorker(o detect.Options) (*worker, error) {
	w := &worker{}
	var reading sync.WaitGroup
	var detectorErr, recognizerErr error
	reading.Go(func() { w.detector, detectorErr = detect.New(o) })
	reading.Go(func() { w.recognizer, recognizerErr = detect.NewRecognizer(o.Models) })
	reading.Wait()
	if err := cmp.Or(detectorErr, recognizerErr); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// Close frees the workers. It must not be called while a file is worked on.
func (e *Engine) Close() error {
	errs := []error{e.batcher.Close()}
	for {
		select {
		case w := <-e.pool:
			errs = append(errs, w.close())
		default:
			return errors.Join(errs...)
		}
	}
}

func (w *worker) close() error {
	var errs []error
	if w.detector != nil {
		errs = append(errs, w.detector.Close())
	}
	if w.recognizer != nil {
		errs = append(errs, w.recognizer.Close())
	}
	return errors.Join(errs...)
}

// acquire waits for a free worker.
func (e *Engine) acquire(ctx context.Context) (*worker, error) {
	select {
	case w := <-e.pool:
		return w, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// photoOptions are the limits of reading a photo.
func (o Options) photoOptions() media.Options {
	return media.Options{MaxPixels: int64(o.MaxPixels)}
}

// window is how many pictures of a segment are in work at a time: enough to fill
// two of a GPU's batches; on a CPU to align and paste while each core runs the model.
func (e *Engine) window() int {
	if e.session.Provider() == "cpu" {
		return e.batcher.Runs() + 1
	}
	return 16
}
