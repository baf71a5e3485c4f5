package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/daemon"
	"restored/daemon/web"
	"restored/media"
)

func newServe() *cobra.Command {
	var redo, deleteOriginals bool
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Watch folders and restore what is dropped in",
		Long: `Watches the folders that the configuration names, restores each photo once it is
complete, and mirrors the results under the output folders. The queue survives a crash.
On SIGTERM or Ctrl-C the photos in work are finished, then it stops; a second signal
stops it at once, and what was in work is done again at the next start. On SIGHUP it reads
its configuration anew: disk.reserve and log.level count at once, of every other change the log
says that it counts from the next start.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			// A panic, and the abort by the service manager's watchdog, end the process by
			// a signal: Go's own exit code 2 would look like a faulty configuration,
			// which isn't started again.
			debug.SetTraceback("crash")
			return serve(cmd.Context(), cfg, cmd, daemon.Deps{Redo: redo, DeleteOriginals: deleteOriginals})
		},
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&redo, "redo", false, "do finished files again that were made with other settings or another model")
	cmd.Flags().BoolVar(&deleteOriginals, "delete-originals", false, "the second yes for watched folders with originals: delete")
	return cmd
}

// serve runs the daemon; asked holds what the flags ask for.
func serve(ctx context.Context, cfg *config.Config, cmd *cobra.Command, asked daemon.Deps) error {
	var level slog.LevelVar
	level.Set(logLevel(cfg.Log.Level))
	log := newLogger(cmd.ErrOrStderr(), &level)
	if len(cfg.Watch) == 0 {
		return usageErr("no folder to watch: set watch in the file given by --config")
	}
	if err := daemon.CheckOriginals(cfg, asked.DeleteOriginals); err != nil {
		return usageErr("%w", err)
	}
	settings, err := settingsOf(cfg)
	if err != nil {
		return err
	}
	e, err := openConfined(ctx, cfg, log)
	if err != nil {
		return err
	}
	p, err := openPreviews(ctx, cfg, log)
	if err != nil {
		return errors.Join(err, e.close())
	}
	deps := daemon.Deps{
		Processor: processor{e.of}, IsPhoto: media.IsPhotoName, Videos: videos{engine: e.of}, IsVideo: media.IsVideoName, Log: log,
		Settings: settings, Check: e.check, Redo: asked.Redo, DeleteOriginals: asked.DeleteOriginals,
		Children: e.children, Machine: e.machine(), About: web.About{Version: version, Model: e.hello.Model, Provider: e.hello.Provider},
	}
	if p != nil {
		deps.Preview = p.make
	}
	d, err := daemon.New(cfg, deps)
	if err == nil {
		err = reloaded(ctx, d, cmd, log, &level)
	}
	return errors.Join(err, p.close(), e.close())
}

// reloaded runs the daemon, which reads its configuration anew on SIGHUP.
func reloaded(ctx context.Context, d *daemon.Daemon, cmd *cobra.Command, log *slog.Logger, level *slog.LevelVar) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	ended := make(chan struct{})
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for {
			select {
			case <-hangups:
			case <-ended:
				return
			}
			cfg, err := loadConfig(cmd)
			if err == nil {
				err = d.Reload(ctx, cfg)
			}
			if err != nil {
				log.ErrorContext(ctx, "configuration not reloaded: the one so far stays", "error", err)
				continue
			}
			level.Set(logLevel(cfg.Log.Level))
		}
	})
	err := skewed(d.Run(ctx))
	close(ended)
	reloading.Wait()
	return err
}

// processor lets the daemon and the ledger work by the pipeline.
type processor struct{ engine engineOf }

// engineOf gives the engine for a profile, "" = none.
type engineOf func(profile string) engine

// always is one engine for all profiles.
func always(e engine) engineOf { return func(string) engine { return e } }

// Process restores one photo.
func (p processor) Process(ctx context.Context, job daemon.Job) (daemon.Result, error) {
	r, err := p.engine(job.Profile).Photo(ctx, job.In, job.Out, claimOf(job))
	if err != nil {
		return daemon.Result{}, err
	}
	return resultOf(job.In, r)
}
