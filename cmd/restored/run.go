package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/daemon"
	"restored/media"
)

func newRun() *cobra.Command {
	var r runner
	cmd := &cobra.Command{
		Use:   "run --out DIR PATH...",
		Short: "Restore photos and videos now",
		Long: `Restores the photos and videos that are named, and those in the folders that are named, and
writes them to --out: a file under its name, a folder's files under their paths in it. A file that
fails is told and the others go on. What is done already isn't done again, unless its
output is gone, --force is given, or --redo and it was made with other settings or
another model; a copy or a renamed file gets a copy of the output that is there. A file
in --out that restored didn't write is never replaced without --force.

` + exitHelp,
		Example: "  restored run --out restored/ album/\n  restored run --json --out /tmp/o a.jpg b.png",
		RunE: func(cmd *cobra.Command, paths []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			if len(paths) == 0 || r.out == "" {
				return usageErr("name the photos, videos or folders to restore, and --out, the folder for the results")
			}
			r.paths, r.stdout, r.stderr = paths, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return r.run(cmd.Context(), cfg)
		},
	}
	addSettings(cmd)
	cmd.Flags().StringVar(&r.out, "out", "", "`folder` for the results")
	cmd.Flags().BoolVar(&r.json, "json", false, "print a JSON report a file, one a line")
	cmd.Flags().BoolVar(&r.dry, "dry-run", false, "say what would be done to each video and how many results are of other settings, and write nothing")
	cmd.Flags().BoolVar(&r.redo, "redo", false, "do finished files again that were made with other settings or another model")
	cmd.Flags().BoolVar(&r.force, "force", false, "do everything again and replace whatever lies at an output")
	return cmd
}

// A runner is one `restored run`.
type runner struct {
	paths          []string
	out            string
	json, force    bool
	dry, redo      bool
	settings       func(profile string, video bool) string
	stdout, stderr io.Writer

	mu     sync.Mutex // guards what follows, and printing
	bar    *progress
	failed int
	done   int
}

func (r *runner) run(ctx context.Context, cfg *config.Config) error {
	if err := checkInputs(r.paths, r.out); err != nil {
		return err
	}
	total, err := countInputs(ctx, r.paths, r.out)
	if err != nil {
		return err
	}
	if total == 0 {
		return usageErr("no photos or videos in %q", r.paths)
	}
	if r.settings, err = settingsOf(cfg); err != nil {
		return err
	}
	e, err := openConfined(ctx, cfg, newLogger(r.stderr, slog.LevelWarn))
	if err == nil {
		if r.dry {
			err = errors.Join(r.plans(ctx, e), r.stale(ctx))
		} else {
			err = r.process(ctx, cfg, e, total)
		}
		err = errors.Join(err, e.close())
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(r.stderr, "restored: stopped; %d of %d files are done, the same command goes on\n", r.done, total)
		return &codedError{exitInterrupted, errReported}
	case err == nil && r.failed > 0:
		fmt.Fprintf(r.stderr, "restored: %d of %d files failed\n", r.failed, total)
		return errReported
	case err == nil && !r.dry:
		fmt.Fprintf(r.stderr, "restored: %d files are done\n", r.done)
	}
	return err
}

// process restores every input.
func (r *runner) process(ctx context.Context, cfg *config.Config, e engine, total int) error {
	state, err := runState(r.out)
	if err != nil {
		return err
	}
	ledger, err := daemon.OpenLedger(ctx, state)
	if err != nil {
		return setupErr(err)
	}
	if _, err := ledger.Recover(ctx); err != nil {
		return errors.Join(err, ledger.Close())
	}
	r.bar = newProgress(r.stderr, total)
	p := runProcessor{e, filepath.Join(state, "work"), r.bar, daemon.RunOptions{
		Stall: cfg.Video.Stall, Reserve: int64(cfg.Disk.Reserve), Log: newLogger(r.bar.lines(), slog.LevelWarn),
	}}
	targets := make(chan target)
	var wg sync.WaitGroup
	var walkErr error
	wg.Go(func() { walkErr = walkInputs(ctx, r.paths, r.out, targets) })
	for range cfg.WorkerCount() {
		wg.Go(func() {
			for t := range targets {
				o := daemon.ProcessOptions{Force: r.force, Redo: r.redo, Settings: r.settings("", media.IsVideoName(t.in))}
				rec, skipped, err := ledger.Process(ctx, p, t.in, t.out, o)
				if ctx.Err() == nil || err == nil {
					r.tell(t, rec, skipped, err)
				}
			}
		})
	}
	wg.Wait()
	r.bar.close()
	if ctx.Err() != nil {
		walkErr = nil
	}
	return errors.Join(walkErr, ledger.Close())
}

// plans prints the plan of each video.
func (r *runner) plans(ctx context.Context, e engine) error {
	targets := make(chan target)
	var wg sync.WaitGroup
	var walkErr, encodeErr error
	wg.Go(func() { walkErr = walkInputs(ctx, r.paths, r.out, targets) })
	for t := range targets {
		if !media.IsVideoName(t.in) {
			continue
		}
		p, err := e.DryPlan(ctx, t.in)
		switch {
		case err != nil:
			r.failed++
			fmt.Fprintln(r.stderr, printable(fmt.Sprintf("failed: %v", err)))
		case r.json:
			encodeErr = errors.Join(encodeErr, json.NewEncoder(r.stdout).Encode(p))
		default:
			printPlan(r.stdout, p)
		}
	}
	wg.Wait()
	return errors.Join(walkErr, encodeErr)
}

// stale says how many results of earlier runs were made with other settings.
func (r *runner) stale(ctx context.Context) error {
	state, err := runState(r.out)
	if err != nil {
		return err
	}
	if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was done yet
	}
	ledger, err := daemon.OpenLedger(ctx, state)
	if err != nil {
		return setupErr(err)
	}
	n, err := ledger.Stale(ctx, func(path string) string { return r.settings("", media.IsVideoName(path)) })
	if err == nil && n > 0 {
		fmt.Fprintf(r.stderr, "restored: %d files that are done were made with other settings; --redo does them again\n", n)
	}
	return errors.Join(err, ledger.Close())
}

// tell prints what became of one file and moves the bar.
func (r *runner) tell(t target, rec daemon.Record, skipped bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := struct {
		Input  string `json:"input"`
		Output string `json:"output,omitempty"`
		Status string `json:"status"`
		Error  string `json:"error,omitempty"`
	}{Input: t.in, Output: rec.Out}
	switch {
	case err != nil:
		r.failed++
		line.Status, line.Error, line.Output = "failed", err.Error(), ""
		r.bar.println(fmt.Sprintf("failed: %v", err))
	case skipped:
		r.done++
		line.Status = "done before"
	default:
		r.done++
	}
	r.bar.step(filepath.Base(t.in))
	if !r.json {
		return
	}
	out := []byte(rec.Report)
	if line.Status != "" {
		if out, err = json.Marshal(line); err != nil {
			panic(err) // strings always marshal
		}
	}
	fmt.Fprintf(r.stdout, "%s\n", out)
}

// runState is the folder of the ledger of an output folder: what was done
// there, and which files there are ours. It lies apart from both photos and results.
func runState(out string) (string, error) {
	abs, err := filepath.Abs(out)
	if err != nil {
		return "", err
	}
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no place for the state: %w; set XDG_STATE_HOME", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(base, "restored", "run-"+hex.EncodeToString(sum[:8])), nil
}
