package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/confine"
	"restored/media"
	"restored/pipeline"
)

const (
	// previewMemory is what the process that makes previews may hold, where
	// limits.memory doesn't say less.
	previewMemory = 2 << 30
	// previewTime is how long one may take.
	previewTime = 30 * time.Second
	// previewCalls is how many a process makes before a fresh one takes its place.
	previewCalls = 200
)

// previewArgs are the arguments of a call for a preview.
type previewArgs struct {
	In   []byte  `json:"in"`
	Side int     `json:"side"` // pixels
	At   float64 `json:"at"`   // seconds, of a video
}

// newPreviews is the command that serve starts to make the pictures of its page.
func newPreviews() *cobra.Command {
	return &cobra.Command{
		Use:    "previews",
		Short:  "Make small pictures for a parent process",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return confine.Serve(jobErrors, func(context.Context, confine.Start) (confine.Service, any, error) {
				return previewService{}, struct{}{}, media.Startup(1)
			})
		},
	}
}

// previewService makes previews in a child. It has libvips and FFmpeg, no model.
type previewService struct{}

// Do implements confine.Service.
func (previewService) Do(ctx context.Context, _ string, args json.RawMessage, _ *confine.Parent) (any, error) {
	var a previewArgs
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, err
	}
	return pipeline.Preview(ctx, string(a.In), a.Side, a.At)
}

// Close implements confine.Service.
func (previewService) Close() error {
	media.Shutdown()
	return nil
}

// previews makes the pictures of the page in a process beside those that work, so
// that they wait for no film and share nothing with it.
type previews struct{ pool *confine.Pool }

// openPreviews starts the process; nil without a page.
func openPreviews(ctx context.Context, cfg *config.Config, log *slog.Logger) (*previews, error) {
	if cfg.HTTP.Listen == "" {
		return nil, nil
	}
	memory := int64(previewMemory)
	if own := int64(cfg.Limits.Memory); own > 0 {
		memory = min(memory, own)
	}
	pool, err := confine.Open(ctx, confine.Options{
		Command: []string{confine.Self, "restored", "previews"}, Env: jobEnv(os.Environ()),
		Limits: confine.Limits{Memory: memory, Output: 1, Files: 64}, Children: 1, Calls: previewCalls, Known: jobErrors, Log: log,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("previews: %w", err), ctx.Err())
	}
	return &previews{pool}, nil
}

// make makes one.
func (p *previews) make(ctx context.Context, in string, side int, at float64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, previewTime)
	defer cancel()
	body, err := p.pool.Do(ctx, confine.Call{Kind: "preview", Name: in, Args: previewArgs{[]byte(in), side, at}})
	if err != nil {
		return nil, err
	}
	var data []byte
	return data, json.Unmarshal(body, &data)
}

func (p *previews) close() error {
	if p == nil {
		return nil
	}
	return p.pool.Close()
}
