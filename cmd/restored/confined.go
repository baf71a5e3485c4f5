package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"restored/config"
	"restored/confine"
	"restored/daemon"
	"restored/media"
	"restored/pipeline"
	"restored/restore"
)

// maxCalls is how many calls a child serves: what native libraries leak
// goes with it. A new one costs about a second.
const maxCalls = 1000

// openFiles is how many files a child may have open. A GPU's driver takes some
// dozens, a video a few.
const openFiles = 1024

// confined is an engine in child processes, so that a file that crashes a
// native library costs itself only. This process holds nothing native.
type confined struct {
	pool    *confine.Pool
	hello   jobHello // the first child's
	log     *slog.Logger
	profile string // "" = none
}

// of is the engine for a profile, in the same children.
func (e *confined) of(profile string) engine {
	return &confined{e.pool, e.hello, e.log, profile}
}

// openConfined starts the first child, which tells what it works with. The
// error has the exit code of a faulty set-up.
func openConfined(ctx context.Context, cfg *config.Config, log *slog.Logger) (*confined, error) {
	memory := int64(cfg.Limits.Memory)
	if memory == 0 {
		memory = memoryShare(cfg.WorkerCount())
	}
	start := *cfg
	// What works on strangers' files needs no secret.
	start.HTTP, start.Notify, start.Queue.URL = config.HTTP{}, config.Notify{}, ""
	pool, err := confine.Open(ctx, confine.Options{
		Command:  []string{confine.Self, "restored", "job"},
		Env:      jobEnv(os.Environ()),
		Start:    start,
		Limits:   confine.Limits{Memory: memory, Output: int64(cfg.Limits.Output), Files: openFiles},
		Children: cfg.WorkerCount(),
		Calls:    maxCalls,
		Known:    jobErrors,
		Log:      log,
	})
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, startErr(err)
	}
	var hello jobHello
	if err := json.Unmarshal(pool.Hello(), &hello); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	log.Info("model loaded", "model", hello.Model, "sha256", hello.SHA256[:12], "provider", hello.Provider)
	if hello.Fallback != "" {
		log.Info("no GPU is used", "reason", hello.Fallback)
	}
	return &confined{pool: pool, hello: hello, log: log}, nil
}

// allocator makes glibc give memory back: without it each of dozens of threads
// has a heap of its own, and pictures leave holes in them, so that a child
// grows for a quarter of an hour. From a megabyte on, memory is mapped and
// unmapped by itself; what is used again lies in pools anyway.
var allocator = []string{"MALLOC_ARENA_MAX=2", "MALLOC_MMAP_THRESHOLD_=1048576", "MALLOC_TRIM_THRESHOLD_=4194304"}

// jobEnv is the environment of the children: this process's, whose own
// settings of the allocator hold, without secrets.
func jobEnv(own []string) []string {
	secret := func(pair string) bool {
		return strings.HasPrefix(pair, "RESTORED_HTTP_TOKEN=") || strings.HasPrefix(pair, "RESTORED_NOTIFY_") ||
			strings.HasPrefix(pair, "RESTORED_QUEUE_URL=") || strings.HasPrefix(pair, "PGPASSWORD=")
	}
	return append(slices.Clone(allocator), slices.DeleteFunc(slices.Clone(own), secret)...)
}

func (e *confined) close() error { return e.pool.Close() }

// do has a child do a call on the file name. What it leaves behind where it is
// killed lies in the work folder and in that of the output.
func (e *confined) do(ctx context.Context, kind, name string, a jobArgs, claim pipeline.Claim, tell pipeline.Tell) (r jobResult, err error) {
	a.Profile = e.profile
	call := confine.Call{Kind: kind, Name: name, Args: a}
	if tell != nil {
		call.Tell = func(body json.RawMessage) {
			var p pipeline.VideoProgress
			if json.Unmarshal(body, &p) == nil {
				tell(p)
			}
		}
	}
	if claim != nil {
		call.Ask = func(ctx context.Context, body json.RawMessage) (any, error) {
			var out []byte
			if err := json.Unmarshal(body, &out); err != nil {
				return nil, err
			}
			return claim(ctx, string(out))
		}
	}
	call.Left = func(tag string) {
		var err error
		if len(a.Work) > 0 {
			err = media.RemoveTemps(string(a.Work), tag)
		}
		if len(a.Out) > 0 {
			err = errors.Join(err, media.RemoveTemps(filepath.Dir(string(a.Out)), tag))
		}
		if err != nil {
			e.log.WarnContext(ctx, "temporaries not removed", "file", name, "error", err)
		}
	}
	body, err := e.pool.Do(ctx, call)
	if err != nil {
		in := string(a.In)
		if kind == jobAnalyse || kind == jobRender || kind == jobJoin {
			in = "" // the caller knows the file
		}
		return r, ofJob(in, err)
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("%s: result: %w", name, err)
	}
	r.Report.Output = string(r.Output)
	return r, nil
}

// killed tells whether a child was killed by the kernel, for want of memory, or by somebody.
func killed(err error) bool {
	var crash *confine.CrashError
	return errors.As(err, &crash) && crash.Signal == syscall.SIGKILL && crash.Memory == 0 && crash.Reason == ""
}

// startErr is the error of the first child's start: a faulty set-up, which the service
// manager doesn't start again, unless the child was killed.
func startErr(err error) error {
	if killed(err) {
		return err
	}
	return setupErr(err)
}

// ofJob adds what an error of a child doesn't say: the file, where the child
// could not tell it any more, and the setting behind a limit. in is "" for a step of
// a video, whose caller knows the file.
func ofJob(in string, err error) error {
	var crash *confine.CrashError
	failed := errors.Is(err, confine.ErrStart)
	crashed := errors.As(err, &crash)
	switch {
	case crashed && !failed && crash.Memory > 0:
		err = fmt.Errorf("%w (limits.memory)", err)
	case errors.Is(err, syscall.EFBIG):
		err = fmt.Errorf("%w (limits.output)", err)
	}
	if in != "" && (failed || crashed) {
		err = fmt.Errorf("%s: %w", in, err)
	}
	// What the machine lacked, or somebody did, another try may not meet.
	if failed || killed(err) || errors.Is(err, restore.ErrDevice) {
		return daemon.Transient(err)
	}
	return err
}

// Photo implements engine.
func (e *confined) Photo(ctx context.Context, in, out string, claim pipeline.Claim) (pipeline.Report, error) {
	r, err := e.do(ctx, jobPhoto, in, jobArgs{In: []byte(in), Out: []byte(out)}, claim, nil)
	return r.Report, err
}

// DryPlan implements engine.
func (e *confined) DryPlan(ctx context.Context, in string) (pipeline.Plan, error) {
	r, err := e.do(ctx, jobDryPlan, in, jobArgs{In: []byte(in)}, nil, nil)
	return r.Plan, err
}

// check decodes an output.
func (e *confined) check(ctx context.Context, out string) error {
	_, err := e.do(ctx, jobCheck, out, jobArgs{In: []byte(out)}, nil, nil)
	return err
}

// PlanVideo implements engine.
func (e *confined) PlanVideo(ctx context.Context, in, work string, tell pipeline.Tell) (pipeline.Plan, error) {
	r, err := e.do(ctx, jobPlan, in, jobArgs{In: []byte(in), Work: []byte(work)}, nil, tell)
	return r.Plan, err
}

// AnalyseSegment implements engine.
func (e *confined) AnalyseSegment(ctx context.Context, in, work string, segment int, careful bool, tell pipeline.Tell) error {
	_, err := e.do(ctx, jobAnalyse, work, jobArgs{In: []byte(in), Work: []byte(work), Segment: segment, Careful: careful}, nil, tell)
	return err
}

// RenderSegment implements engine.
func (e *confined) RenderSegment(ctx context.Context, in, work string, segment int, careful bool, tell pipeline.Tell) error {
	_, err := e.do(ctx, jobRender, work, jobArgs{In: []byte(in), Work: []byte(work), Segment: segment, Careful: careful}, nil, tell)
	return err
}

// JoinVideo implements engine.
func (e *confined) JoinVideo(ctx context.Context, in, out, work string, claim pipeline.Claim, tell pipeline.Tell) (pipeline.Report, error) {
	r, err := e.do(ctx, jobJoin, out, jobArgs{In: []byte(in), Out: []byte(out), Work: []byte(work)}, claim, tell)
	return r.Report, err
}
