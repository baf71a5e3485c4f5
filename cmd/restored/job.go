package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/confine"
	"restored/media"
	"restored/pipeline"
	"restored/restore"
)

// An engine works on files: pipeline.Engine in this process, confined in others.
type engine interface {
	Photo(ctx context.Context, in, out string, claim pipeline.Claim) (pipeline.Report, error)
	DryPlan(ctx context.Context, in string) (pipeline.Plan, error)
	PlanVideo(ctx context.Context, in, work string, tell pipeline.Tell) (pipeline.Plan, error)
	AnalyseSegment(ctx context.Context, in, work string, segment int, careful bool, tell pipeline.Tell) error
	RenderSegment(ctx context.Context, in, work string, segment int, careful bool, tell pipeline.Tell) error
	JoinVideo(ctx context.Context, in, out, work string, claim pipeline.Claim, tell pipeline.Tell) (pipeline.Report, error)
}

// The kinds of calls of a child, named as the engine's methods, and jobCheck, which
// is pipeline.Check.
const (
	jobPhoto   = "photo"
	jobDryPlan = "dry plan"
	jobPlan    = "plan"
	jobAnalyse = "analyse"
	jobRender  = "render"
	jobJoin    = "join"
	jobCheck   = "check"
)

// jobArgs are the arguments of a call. Paths are bytes: they needn't be UTF-8.
type jobArgs struct {
	In      []byte `json:"in,omitempty"`
	Out     []byte `json:"out,omitempty"`
	Work    []byte `json:"work,omitempty"`
	Segment int    `json:"segment,omitempty"`
	Careful bool   `json:"careful,omitempty"`
	Profile string `json:"profile,omitempty"` // "" = none
}

// jobResult is the result of a call, as far as its kind has one.
type jobResult struct {
	Report pipeline.Report `json:"report"`
	Output []byte          `json:"output,omitempty"` // the report's, as bytes
	Plan   pipeline.Plan   `json:"plan"`
}

// jobHello is what a child says of itself.
type jobHello struct {
	Model    string `json:"model"`
	SHA256   string `json:"sha256"`
	Provider string `json:"provider"`
	Fallback string `json:"fallback,omitempty"` // why no GPU is used
}

// jobErrors are those that the parent tells apart.
var jobErrors = confine.Known{
	"verify":      media.ErrVerify,
	"stale":       pipeline.ErrStale,
	"changed":     pipeline.ErrChanged,
	"exists":      media.ErrExists,
	"damaged":     media.ErrDamaged,
	"large":       media.ErrTooLarge,
	"device":      restore.ErrDevice,
	"unsupported": media.ErrUnsupported,
	"no photo":    media.ErrNotPhoto,
	"no video":    media.ErrNotVideo,
}

// newJob is the command that serve and run start as their children.
func newJob() *cobra.Command {
	return &cobra.Command{
		Use:    "job",
		Short:  "Work on files for a parent process",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return confine.Serve(jobErrors, openJob)
		},
	}
}

// openJob opens the engine of a child. Its context is that of its parent's
// life, and no signal's.
func openJob(_ context.Context, start confine.Start) (confine.Service, any, error) {
	var cfg config.Config
	if err := json.Unmarshal(start.Body, &cfg); err != nil {
		return nil, nil, err
	}
	media.TagTemps(start.Tag)
	n, err := openNativeFor(&cfg, newLogger(os.Stderr, logLevel(cfg.Log.Level)), ofChild(&cfg))
	if err != nil {
		return nil, nil, err
	}
	hello := jobHello{Model: n.session.Model().Name, SHA256: n.session.Model().SHA256, Provider: n.session.Provider()}
	if err := n.session.Fallback(); err != nil {
		hello.Fallback = err.Error()
	}
	return &jobService{native: n, cfg: &cfg, profiles: map[string]*native{}}, hello, nil
}

// ofChild makes of an engine's options those of one child: the parent has as many as
// workers, and the cores are shared among them.
func ofChild(cfg *config.Config) func(*pipeline.Options) {
	return func(o *pipeline.Options) { o.Workers, o.Cores = 1, coresEach(cfg) }
}

// jobService does a parent's calls by the engines of this process: one for the
// configuration, and one for each profile, made when it is asked for first.
type jobService struct {
	*native
	cfg      *config.Config
	profiles map[string]*native // calls come one after the other
}

// Close implements confine.Service.
func (s *jobService) Close() error {
	var err error
	for _, n := range s.profiles {
		err = errors.Join(err, n.engine.Close())
		if n.session != s.session {
			err = errors.Join(err, n.session.Close())
		}
	}
	return errors.Join(err, s.close())
}

// engineOf is the engine for a profile.
func (s *jobService) engineOf(profile string) (*pipeline.Engine, error) {
	if profile == "" {
		return s.engine, nil
	}
	if n, ok := s.profiles[profile]; ok {
		return n.engine, nil
	}
	n, err := s.openProfile(s.cfg, profile, ofChild(s.cfg))
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", profile, err)
	}
	s.profiles[profile] = n
	return n.engine, nil
}

// Do implements confine.Service.
func (s *jobService) Do(ctx context.Context, kind string, args json.RawMessage, parent *confine.Parent) (any, error) {
	var a jobArgs
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, err
	}
	in, out, work := string(a.In), string(a.Out), string(a.Work)
	engine, err := s.engineOf(a.Profile)
	if err != nil {
		return nil, err
	}
	claim := func(ctx context.Context, out string) (overwrite bool, err error) {
		answer, err := parent.Ask(ctx, []byte(out))
		if err != nil {
			return false, err
		}
		return overwrite, json.Unmarshal(answer, &overwrite)
	}
	var t teller
	tell := func(p pipeline.VideoProgress) { t.tell(parent, p) }
	var r jobResult
	switch kind {
	case jobPhoto:
		r.Report, err = engine.Photo(ctx, in, out, claim)
	case jobDryPlan:
		r.Plan, err = engine.DryPlan(ctx, in)
	case jobPlan:
		r.Plan, err = engine.PlanVideo(ctx, in, work, tell)
	case jobAnalyse:
		err = engine.AnalyseSegment(ctx, in, work, a.Segment, a.Careful, tell)
	case jobRender:
		err = engine.RenderSegment(ctx, in, work, a.Segment, a.Careful, tell)
	case jobJoin:
		r.Report, err = engine.JoinVideo(ctx, in, out, work, claim, tell)
	case jobCheck:
		err = pipeline.Check(ctx, in)
	default:
		err = fmt.Errorf("a call of the unknown kind %q", kind)
	}
	r.Output = []byte(r.Report.Output)
	if errors.Is(err, restore.ErrDevice) {
		err = confine.Unfit(err) // a fresh process opens the GPU anew, if it is there
	}
	return r, errors.Join(err, t.flush(parent))
}

// jobTellEvery is the least time between two messages about progress.
const jobTellEvery = 100 * time.Millisecond

// A teller thins out the progress of a call. What was told last is never lost.
type teller struct {
	mu      sync.Mutex
	last    time.Time
	waiting *pipeline.VideoProgress
}

func (t *teller) tell(parent *confine.Parent, p pipeline.VideoProgress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = &p
	if now := time.Now(); now.Sub(t.last) >= jobTellEvery {
		t.last = now
		_ = t.send(parent) // a parent that has gone ends the call
	}
}

func (t *teller) send(parent *confine.Parent) error {
	if t.waiting == nil {
		return nil
	}
	p := t.waiting
	t.waiting = nil
	return parent.Tell(p)
}

// flush tells what is still to be told.
func (t *teller) flush(parent *confine.Parent) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.send(parent)
}
