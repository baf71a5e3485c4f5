package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/daemon"
	"restored/media"
)

func newWorker() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker --config FILE",
		Short: "Work for a daemon on another machine",
		Long: `Takes jobs from the shared queue (queue.url) of a daemon on another machine, which needs to see
the same storage, and watches nothing. It takes only what it does as all others do: the model and the
settings of restore, detect, identity, photo, video and profiles must be the daemon's, and the segments of a
video go to machines with the same provider and encoders. On SIGTERM or Ctrl-C what is in work is finished,
then it stops; a second signal stops it at once. What a lost worker had in work is taken over after
queue.lease.`,
		Example: "  restored worker --config /etc/restored/restored.yaml --queues segment --concurrency 2",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			if cfg.Queue.URL == "" {
				return usageErr("no queue to work for: set queue.url to that of the daemon")
			}
			if len(cfg.Queue.Takes()) == 0 {
				return usageErr("nothing to take: name photo, segment or join by --queues")
			}
			return work(cmd.Context(), cfg, cmd.ErrOrStderr())
		},
	}
	addSettings(cmd)
	cmd.Flags().String("queues", "", "`queue.take`: photo, segment and join, separated by commas (default all)")
	cmd.Flags().String("concurrency", "", "`workers`: jobs in work at the same time")
	return cmd
}

// work runs a worker.
func work(ctx context.Context, cfg *config.Config, stderr io.Writer) error {
	log := newLogger(stderr, logLevel(cfg.Log.Level))
	settings, err := settingsOf(cfg)
	if err != nil {
		return err
	}
	e, err := openConfined(ctx, cfg, log)
	if err != nil {
		return err
	}
	err = daemon.RunWorker(ctx, cfg, daemon.Deps{
		Processor: processor{e.of}, IsPhoto: media.IsPhotoName, Videos: videos{engine: e.of}, IsVideo: media.IsVideoName, Log: log,
		Settings: settings, Machine: e.machine(),
	})
	return errors.Join(skewed(err), e.close())
}

// skewed is a faulty set-up where versions don't fit, which no restart mends.
func skewed(err error) error {
	if errors.Is(err, daemon.ErrSkew) {
		return setupErr(err)
	}
	return err
}

// machine is what this process tells the others of its cluster.
func (e *confined) machine() daemon.Machine {
	return daemon.Machine{
		Version: version, Model: e.hello.Model, SHA256: e.hello.SHA256, Provider: e.hello.Provider, Encoders: encoderBuild(),
	}
}

// encoderLibraries are those whose builds decide what an encoder makes.
var encoderLibraries = regexp.MustCompile(`/(libavcodec|libx264|libx265|libSvtAv1Enc|libvpx|libaom)\.so[^/]*$`)

// encoderBuild names the builds of FFmpeg and its encoders: the names of the
// libraries that this process has loaded, and a hash of what is in them.
func encoderBuild() string {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return "unknown: " + err.Error()
	}
	var files []string
	for line := range strings.Lines(string(maps)) {
		if at := strings.IndexByte(line, '/'); at >= 0 {
			files = append(files, strings.TrimSpace(line[at:]))
		}
	}
	slices.Sort(files)
	h := sha256.New()
	var names []string
	for _, file := range slices.Compact(files) {
		if !encoderLibraries.MatchString(file) {
			continue
		}
		names = append(names, strings.Replace(filepath.Base(file), ".so.", " ", 1))
		f, err := os.Open(file)
		if err != nil {
			return "unknown: " + err.Error()
		}
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return "unknown: " + err.Error()
		}
	}
	return strings.Join(names, ", ") + " (" + hex.EncodeToString(h.Sum(nil)[:6]) + ")"
}

func newMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate --config FILE",
		Short: "Prepare or upgrade the tables of a shared queue",
		Long: `Makes the tables in the database of queue.url, or brings them to this version. It refuses while daemons or
workers of another version run. A daemon does the same at its start, unless queue.migrate is false.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			if cfg.Queue.URL == "" {
				return usageErr("queue.url isn't set: SQLite's tables are prepared by the daemon")
			}
			return skewed(daemon.Migrate(cmd.Context(), cfg.Queue.URL, version, newLogger(cmd.ErrOrStderr(), slog.LevelInfo)))
		},
	}
	addSettings(cmd)
	return cmd
}

func newWorkers() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "workers",
		Short: "See the machines that share the queue",
		Long: `Lists the daemon and the workers that share its queue (queue.url): provider, model, jobs in work and done,
pictures and faces of videos a second, and when each was last seen.`,
		Args: cobra.NoArgs,
	}
	return jobsCommand(cmd, func(ctx context.Context, q queueControl, _ []string) (any, func(io.Writer), error) {
		list, err := q.Workers(ctx)
		if err != nil {
			return nil, nil, err
		}
		return list, func(w io.Writer) { printWorkers(w, list) }, nil
	})
}

func printWorkers(w io.Writer, list daemon.WorkerList) {
	if len(list.Workers) == 0 {
		fmt.Fprintln(w, "no machine shares the queue")
		return
	}
	fmt.Fprintf(w, "%-32s %-6s %-9s %-14s %5s %6s %8s %8s  %s\n", "worker", "role", "provider", "model", "jobs", "done", "frames/s", "faces/s", "last seen")
	for _, m := range list.Workers {
		seen := m.Seen.Local().Format("15:04:05")
		switch {
		case m.Silent:
			seen += ", silent: its work is taken over"
		case m.Differs:
			seen += ", other settings than the daemon's"
		}
		fmt.Fprintf(w, "%-32s %-6s %-9s %-14s %2d/%-2d %6d %8.1f %8.1f  %s\n", printable(m.ID), m.Role, m.Provider, printable(m.Model),
			m.Jobs, m.Workers, m.Done, m.FPS, m.Faces, seen)
	}
}
